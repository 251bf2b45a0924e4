package backup

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Target says what to bring back, and where to.
type Target struct {
	// File is the backup.
	File string
	// DataDir is the data directory to make. It must not exist, or be empty.
	DataDir string
	// ConfigTo is a folder for the configuration files, which must not be there
	// yet. Empty to leave them in the backup.
	ConfigTo string
	// Progress is told how many bytes were read, often. Default: nobody is.
	Progress func(bytes int64)
}

// staging is the folder beside a data directory in which it is put together.
func staging(dataDir string) string { return filepath.Clean(dataDir) + ".restoring" }

// Verify reads a whole backup and compares every sum. It writes nothing. An error
// that wraps ErrDamaged says what is wrong with it.
func Verify(ctx context.Context, file string, progress func(bytes int64)) (Summary, error) {
	m, err := read(ctx, file, progress, func(entry) error { return nil })
	if err != nil {
		return Summary{}, err
	}
	return summary(m, file, ""), nil
}

// Restore verifies a backup, and then makes a data directory of it. The directory
// is there completely, or not at all: what is left of a restore that was killed
// is in a folder beside it and is removed by the next one.
func Restore(ctx context.Context, p Platform, t Target) (Summary, error) {
	if err := vacant(t.DataDir); err != nil {
		return Summary{}, err
	}
	m, err := read(ctx, t.File, t.Progress, func(e entry) error {
		if name, ok := strings.CutPrefix(e.path, dataFolder+"/"); ok && p.Transient(filepath.FromSlash(name)) {
			return damaged("%s belongs to a running broker and has no place in it", e.path)
		}
		return nil
	})
	if err != nil {
		return Summary{}, err
	}
	parent := filepath.Dir(filepath.Clean(t.DataDir))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return Summary{}, fmt.Errorf("make the folder of the data directory: %w", err)
	}
	if free, err := p.Free(parent); err == nil && free < m.bytes() {
		return Summary{}, &Error{
			Err:    fmt.Errorf("the backup holds %d bytes, and the disk of %s has %d free", m.bytes(), parent, free),
			Remedy: "make room, or name a folder on another disk with --data-dir",
		}
	}
	if err := putTogether(ctx, p, t, m); err != nil {
		return Summary{}, err
	}
	return summary(m, t.File, t.DataDir), nil
}

// vacant refuses a data directory that has something in it.
func vacant(dataDir string) error {
	entries, err := os.ReadDir(dataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("data directory: %w", err)
	case len(entries) > 0:
		return &Error{
			Err:    fmt.Errorf("the data directory %s is not empty, and was not changed", dataDir),
			Remedy: "move it away, or name a new folder with --data-dir",
		}
	}
	return nil
}

// putTogether writes the data directory beside its place and moves it there.
func putTogether(ctx context.Context, p Platform, t Target, m Manifest) (err error) {
	folder := staging(t.DataDir)
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("restore: %w", err)
	}
	release, err := p.Hold(folder)
	if err != nil {
		return &Error{Err: fmt.Errorf("another restore is at work in %s: %w", folder, err), Remedy: "let it end, or name another folder with --data-dir"}
	}
	released := false
	letGo := func() error {
		if released {
			return nil
		}
		released = true
		return release()
	}
	defer func() { err = errors.Join(err, letGo()) }()
	err = fill(ctx, p, t, folder, m)
	if err == nil && runtime.GOOS == "windows" {
		// A folder with an open file cannot be renamed there.
		err = letGo()
	}
	if err == nil {
		err = move(folder, t.DataDir)
	}
	if err != nil {
		// The lock is the last to go: without it another restore may be in there.
		return errors.Join(err, discard(p, folder))
	}
	return nil
}

// fill writes what is in the backup to an empty folder and to the disk.
func fill(ctx context.Context, p Platform, t Target, folder string, want Manifest) (err error) {
	if err := empty(p, folder); err != nil {
		return fmt.Errorf("remove what an earlier restore left: %w", err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	var config *os.Root
	if t.ConfigTo != "" {
		if err := os.MkdirAll(t.ConfigTo, 0o700); err != nil {
			return fmt.Errorf("make the folder for the configuration: %w", err)
		}
		if config, err = os.OpenRoot(t.ConfigTo); err != nil {
			return fmt.Errorf("restore the configuration: %w", err)
		}
		defer func() { err = errors.Join(err, config.Close()) }()
	}
	got, err := read(ctx, t.File, t.Progress, func(e entry) error {
		if name, ok := strings.CutPrefix(e.path, dataFolder+"/"); ok {
			return write(root, name, e)
		}
		if name, ok := strings.CutPrefix(e.path, configFolder+"/"); ok && config != nil {
			return write(config, name, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if got.Header != want.Header || len(got.Files) != len(want.Files) {
		return damaged("it changed while it was read")
	}
	return syncFolders(folder)
}

// write writes one entry below a root, out of which no name leads.
func write(root *os.Root, name string, e entry) error {
	name = filepath.FromSlash(name)
	if e.folder {
		return root.MkdirAll(name, 0o700)
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &Error{Err: fmt.Errorf("%s exists already, and was not changed", filepath.Join(root.Name(), name)), Remedy: "move it away, or name another folder"}
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(f, e.content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("restore %s: %w", name, err)
	}
	return nil
}

// move puts the finished folder in the place of the data directory.
func move(folder, dataDir string) error {
	err := os.Remove(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = os.Rename(folder, dataDir)
	}
	if err != nil {
		return &Error{
			Err:    fmt.Errorf("put the data directory in its place: %w", err),
			Remedy: "if it is a mount point, name a folder inside of it with --data-dir",
		}
	}
	return syncFolder(filepath.Dir(filepath.Clean(dataDir)))
}

// empty removes everything but the lock.
func empty(p Platform, folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !p.Transient(e.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(folder, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// discard removes the folder of a restore that failed.
func discard(p Platform, folder string) error {
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(empty(p, folder), os.RemoveAll(folder))
}

// read reads a whole backup.
func read(ctx context.Context, file string, progress func(int64), visit func(entry) error) (_ Manifest, err error) {
	if progress == nil {
		progress = func(int64) {}
	}
	f, err := os.Open(file) //nolint:gosec // The operator names it.
	if err != nil {
		return Manifest{}, fmt.Errorf("read the backup: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return Manifest{}, fmt.Errorf("read the backup: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Manifest{}, &Error{Err: fmt.Errorf("%s is not a file", file), Remedy: "a backup is read twice, first to check it: write it to a file"}
	}
	total := int64(0)
	m, err := scan(&counted{ctx: ctx, from: f, total: &total, told: progress}, visit)
	if ctx.Err() != nil {
		return Manifest{}, context.Cause(ctx)
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

func uncompressed(r io.Reader) (io.Reader, error) {
	reader, err := gzip.NewReader(bufio.NewReaderSize(r, 1<<20))
	if err != nil {
		return nil, damaged("it does not begin as a backup of redrive does")
	}
	reader.Multistream(false)
	return reader, nil
}

// syncFolders makes the names in a tree durable.
func syncFolders(folder string) error {
	return filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncFolder(name)
	})
}

// syncFolder makes the names in a folder durable.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		// Folders cannot be synced there, and need not be.
		return nil
	}
	f, err := os.Open(folder) //nolint:gosec // The operator names it.
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

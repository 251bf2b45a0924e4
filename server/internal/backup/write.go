package backup

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Platform is what a backup needs to know of the data directory.
type Platform struct {
	// Hold takes the lock of a data directory until release is called. A directory
	// in use is an error.
	Hold func(dataDir string) (release func() error, err error)
	// Transient reports whether a file, by its name in the data directory, is not
	// part of the data.
	Transient func(name string) bool
	// CopyDatabase writes a consistent copy of an SQLite database to a new file.
	CopyDatabase func(ctx context.Context, from, to string) error
	// Free returns the free bytes of the disk of a folder. An error means that they
	// are not known.
	Free func(folder string) (int64, error)
}

// Source says what to write, and where to.
type Source struct {
	// DataDir is the data directory.
	DataDir string
	// Config are the configuration files, the weaker first.
	Config []string
	// File is where the backup goes. It must not exist. Empty for Stream.
	File string
	// Stream receives the backup if there is no File. A backup of which Write
	// returned an error has no manifest, and Restore refuses it.
	Stream io.Writer
	// Version is that of the running program.
	Version string
	// Now is the time.
	Now time.Time
	// Progress is told how many bytes were copied, often. Default: nobody is.
	Progress func(bytes int64)
}

// Summary says what was done.
type Summary struct {
	// File is the backup, empty for a stream, and DataDir the data directory.
	File    string `json:"file,omitempty"`
	DataDir string `json:"data_dir,omitempty"`

	Header

	// Files and Bytes are what the backup holds.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Config are the names of the configuration files in it.
	Config []string `json:"config_files"`
}

func summary(m Manifest, file, dataDir string) Summary {
	return Summary{File: file, DataDir: dataDir, Header: m.Header, Files: len(m.Files), Bytes: m.bytes(), Config: m.config()}
}

// Write writes a backup. The File appears under its name when it is complete and
// on the disk, or not at all. While it runs nobody else can have the data
// directory.
func Write(ctx context.Context, p Platform, s Source) (_ Summary, err error) {
	if s.Progress == nil {
		s.Progress = func(int64) {}
	}
	switch info, err := os.Stat(s.DataDir); {
	case errors.Is(err, fs.ErrNotExist):
		return Summary{}, &Error{Err: fmt.Errorf("there is no data directory %s", s.DataDir), Remedy: "name the right folder with --data-dir"}
	case err != nil:
		return Summary{}, fmt.Errorf("data directory: %w", err)
	case !info.IsDir():
		return Summary{}, &Error{Err: fmt.Errorf("the data directory %s is a file", s.DataDir), Remedy: "name the right folder with --data-dir"}
	}
	if err := outside(s.File, s.DataDir); err != nil {
		return Summary{}, err
	}
	release, err := p.Hold(s.DataDir)
	if err != nil {
		return Summary{}, err
	}
	defer func() { err = errors.Join(err, release()) }()
	work, err := os.MkdirTemp(temporaryFolder(s.File), ".redrive-backup-")
	if err != nil {
		return Summary{}, fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	w := &writer{platform: p, source: s, work: work}
	if s.File == "" {
		m, err := w.archive(ctx, s.Stream)
		return summary(m, "", s.DataDir), err
	}
	m, err := w.file(ctx)
	return summary(m, s.File, s.DataDir), err
}

func temporaryFolder(file string) string {
	if file == "" {
		return ""
	}
	return filepath.Dir(file)
}

// outside refuses a backup inside of what it is a backup of, and one that exists.
func outside(file, dataDir string) error {
	if file == "" {
		return nil
	}
	if _, err := os.Lstat(file); err == nil {
		return exists(file)
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("the folder of the backup: %w", err)
	}
	data, err := filepath.EvalSymlinks(dataDir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	folder, folderErr := filepath.Abs(folder)
	data, dataErr := filepath.Abs(data)
	if err := errors.Join(folderErr, dataErr); err != nil {
		return err
	}
	if rel, err := filepath.Rel(data, folder); err == nil && filepath.IsLocal(rel) {
		return &Error{Err: fmt.Errorf("%s is inside of the data directory", file), Remedy: "write the backup to another folder, on another disk if there is one"}
	}
	return nil
}

func exists(file string) error {
	return &Error{Err: fmt.Errorf("%s exists already, and was not changed", file), Remedy: "choose another name, such as one with the date"}
}

// writer is one backup that is being written.
type writer struct {
	platform Platform
	source   Source
	// work is a folder for what is not ready yet.
	work string

	tar    *tar.Writer
	files  []File
	copied int64
}

// file writes the backup and gives it its name when it is on the disk.
func (w *writer) file(ctx context.Context) (Manifest, error) {
	part, err := os.OpenFile(filepath.Join(w.work, "backup"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Manifest{}, fmt.Errorf("write the backup: %w", err)
	}
	m, err := w.archive(ctx, part)
	if err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return Manifest{}, fmt.Errorf("write the backup: %w", err)
	}
	return m, publish(part.Name(), w.source.File)
}

// publish gives a complete file its name, which nobody may have taken meanwhile.
func publish(part, file string) error {
	err := os.Link(part, file)
	switch {
	case errors.Is(err, fs.ErrExist):
		return exists(file)
	case err != nil:
		// Some file systems have no links.
		if _, serr := os.Lstat(file); serr == nil {
			return exists(file)
		}
		if err := os.Rename(part, file); err != nil {
			return fmt.Errorf("name the backup: %w", err)
		}
	}
	return syncFolder(filepath.Dir(file))
}

// archive writes everything. The manifest is last: what has none is no backup.
func (w *writer) archive(ctx context.Context, to io.Writer) (Manifest, error) {
	buffered := bufio.NewWriterSize(to, 1<<20)
	compressed, err := gzip.NewWriterLevel(buffered, gzip.BestSpeed)
	if err != nil {
		return Manifest{}, err
	}
	w.tar = tar.NewWriter(compressed)
	m := Manifest{Header: Header{Format: Format, Created: w.source.Now.UTC().Truncate(time.Second), RedriveVersion: w.source.Version}}
	if err := w.json(headerName, m.Header); err != nil {
		return m, err
	}
	if err := w.data(ctx); err != nil {
		return m, err
	}
	if err := w.config(ctx); err != nil {
		return m, err
	}
	m.Files = w.files
	return m, errors.Join(w.json(manifestName, m), w.tar.Close(), compressed.Close(), buffered.Flush())
}

// data copies the data directory: the databases after everything else.
func (w *writer) data(ctx context.Context) error {
	var databases []string
	err := filepath.WalkDir(w.source.DataDir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		rel, err := filepath.Rel(w.source.DataDir, name)
		if err != nil {
			return err
		}
		switch {
		case rel == ".":
			return nil
		case w.platform.Transient(rel), databaseCompanion(name):
			return nil
		case d.IsDir():
			return w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: inArchive(rel) + "/", Mode: 0o700, Format: tar.FormatPAX})
		case !d.Type().IsRegular():
			return &Error{
				Err:    fmt.Errorf("%s is neither a file nor a folder", name),
				Remedy: "move it away; if the data is behind a symbolic link, name the real folder with --data-dir",
			}
		}
		if isDatabase(name) {
			databases = append(databases, rel)
			return nil
		}
		return w.copy(ctx, name, inArchive(rel))
	})
	if err != nil {
		return fmt.Errorf("copy the data directory: %w", err)
	}
	for i, rel := range databases {
		clean := filepath.Join(w.work, "database-"+strconv.Itoa(i))
		if err := w.platform.CopyDatabase(ctx, filepath.Join(w.source.DataDir, rel), clean); err != nil {
			return err
		}
		if err := w.copy(ctx, clean, inArchive(rel)); err != nil {
			return err
		}
		if err := os.Remove(clean); err != nil {
			return err
		}
	}
	return nil
}

func inArchive(rel string) string { return path.Join(dataFolder, filepath.ToSlash(rel)) }

const databaseMagic = "SQLite format 3\x00"

// isDatabase tells a database of SQLite by how it begins.
func isDatabase(name string) bool {
	f, err := os.Open(name) //nolint:gosec // It is in the operator's data directory.
	if err != nil {
		return false
	}
	start := make([]byte, len(databaseMagic))
	_, err = io.ReadFull(f, start)
	_ = f.Close() // Nothing was written.
	return err == nil && string(start) == databaseMagic
}

// databaseCompanion reports whether a file belongs to a database beside it, whose
// copy has what is in it.
func databaseCompanion(name string) bool {
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if main, ok := strings.CutSuffix(name, suffix); ok && isDatabase(main) {
			return true
		}
	}
	return false
}

// config copies the configuration files, each under its own name.
func (w *writer) config(ctx context.Context) error {
	var taken []string
	for i, file := range w.source.Config {
		name := filepath.Base(file)
		if slices.Contains(taken, name) {
			name = strconv.Itoa(i+1) + "-" + name
		}
		taken = append(taken, name)
		if err := w.copy(ctx, file, path.Join(configFolder, name)); err != nil {
			return fmt.Errorf("copy the configuration: %w", err)
		}
	}
	return nil
}

// copy adds one file, with its sum.
func (w *writer) copy(ctx context.Context, from, name string) (err error) {
	f, err := os.Open(from) //nolint:gosec // It is in the operator's data directory.
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !legalName(name) {
		return &Error{Err: fmt.Errorf("the name %q cannot be in a backup", from), Remedy: "rename the file, or move it away"}
	}
	if err := w.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime().Truncate(time.Second), Format: tar.FormatPAX,
	}); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w.tar, sum), &counted{ctx: ctx, from: io.LimitReader(f, info.Size()), total: &w.copied, told: w.source.Progress})
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if n != info.Size() {
		return &Error{Err: fmt.Errorf("%s became shorter while it was read", from), Remedy: "see what else writes to the data directory, and stop it"}
	}
	w.files = append(w.files, File{Path: name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))})
	return nil
}

func (w *writer) json(name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(raw)), Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = w.tar.Write(raw)
	return err
}

// counted tells how far a copy is, and ends it with its context.
type counted struct {
	ctx   context.Context //nolint:containedctx // A reader has no other way to be told.
	from  io.Reader
	total *int64
	told  func(int64)
}

// Read implements io.Reader.
func (c *counted) Read(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.from.Read(b)
	*c.total += int64(n)
	c.told(*c.total)
	return n, err
}

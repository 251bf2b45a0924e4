package embednats

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// errLocked says that another process, or another server in this one, has the
// lock.
var errLocked = errors.New("locked")

// LockedError says that the data directory belongs to a running process.
type LockedError struct {
	// DataDir is the directory and PID the process that holds it, 0 if it did not
	// write its id yet.
	DataDir string
	PID     int
}

// Error implements error.
func (e *LockedError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("data directory %s is in use by %s: stop it, or choose another directory", e.DataDir, holder)
}

// lockFile is a held lock. The operating system gives it up with the process.
type lockFile struct{ f *os.File }

// acquire takes the lock of a data directory and writes this process's id
// into it, for the message that the next one gets.
func acquire(dataDir string) (*lockFile, error) {
	path := filepath.Join(dataDir, lockFileName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // The data directory is the operator's setting.
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := lock(f); err != nil {
		pid := readPID(f)
		_ = f.Close() // Nothing was written.
		if errors.Is(err, errLocked) {
			return nil, &LockedError{DataDir: dataDir, PID: pid}
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	l := &lockFile{f}
	if err := l.writePID(); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), l.release())
	}
	return l, nil
}

func (l *lockFile) writePID() error {
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err := l.f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// release gives the lock up. The file stays: removing it would let two processes
// lock two files of one name.
func (l *lockFile) release() error { return l.f.Close() }

func readPID(f *os.File) int {
	b := make([]byte, 32)
	n, _ := f.ReadAt(b, 0) // Reading to the end of the file is an error too.
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}

// Hold takes the lock of an existing data directory, as a running server has it,
// so that its files stand still until release is called. A directory in use is
// refused with a *LockedError.
func Hold(dataDir string) (release func() error, err error) {
	l, err := acquire(dataDir)
	if err != nil {
		return nil, fmt.Errorf("embednats: %w", err)
	}
	return l.release, nil
}

// Holder tells which process has a data directory: held is false if none has.
// The id is 0 if the holder did not write it yet. It writes nothing; where nobody
// has the lock it is had for an instant, shared, to find that out.
func Holder(dataDir string) (pid int, held bool, err error) {
	f, err := os.Open(filepath.Join(dataDir, lockFileName)) //nolint:gosec // The data directory is the operator's setting.
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("embednats: %w", err)
	}
	pid = readPID(f)
	err = lockShared(f)
	// Closing gives up what was taken.
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	switch {
	case errors.Is(err, errLocked):
		return pid, true, nil
	case err != nil:
		return 0, false, fmt.Errorf("embednats: look at the lock of %s: %w", dataDir, err)
	}
	return 0, false, nil
}

// Transient reports whether a file of a data directory, by its name in there,
// belongs to a running server and not to the data: the lock, the token, the URL,
// and copies of them that a crash left.
func Transient(name string) bool {
	return name == lockFileName ||
		name == TokenFile || strings.HasPrefix(name, TokenFile+".") ||
		name == urlFile || strings.HasPrefix(name, urlFile+".")
}

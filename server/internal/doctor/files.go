package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/redrive-dev/redrive/server/internal/config"
)

// Below these, the disk is told to be nearly full, and full.
const (
	littleSpace = 2 << 30
	noSpace     = 64 << 20
)

// files looks at what is on this machine.
func (e *examination) files(ctx context.Context) {
	dir := string(e.config.DataDir)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.ok("data directory", "%s is not there yet: the first start makes it", dir)
	case err != nil:
		e.fail("data directory", "let this user read the folders above it, or name another one with --data-dir", "%v", err)
	case !info.IsDir():
		e.fail("data directory", "move the file away, or name another folder with --data-dir", "%s is a file", dir)
		return
	default:
		e.permissions(dir, info)
		e.lock(dir)
	}
	existing := nearest(dir)
	e.disk(existing)
	e.fileSystem(existing)
	e.descriptors()
	e.inbox(ctx, dir)
}

// nearest returns a folder, or the first one above that exists.
func nearest(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "."
	}
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() || filepath.Dir(dir) == dir {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// permissions looks at who can read and write the data directory and the token.
func (e *examination) permissions(dir string, info fs.FileInfo) {
	const name = "data directory"
	sound := true
	if why := notOwner(info); why != "" {
		sound = false
		e.fail(name, "run redrive as its owner, or give it away with chown -R", "%s %s", dir, why)
	} else if err := writable(dir); err != nil {
		sound = false
		e.fail(name, "let this user write to it", "%s cannot be written to: %v", dir, err)
	}
	if mode := info.Mode().Perm(); readableByOthers(mode) {
		sound = false
		e.warn(name, "chmod 700 "+dir, "%s has mode %04o: other users can look into it", dir, mode)
	}
	token := filepath.Join(dir, e.platform.TokenFile)
	switch info, err := os.Stat(token); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		sound = false
		e.fail("token", "let this user read the data directory", "%v", err)
	case readableByOthers(info.Mode().Perm()):
		sound = false
		e.warn("token", "start redrive up again: it makes a new one", "%s has mode %04o: others may know it", token, info.Mode().Perm())
	}
	if sound {
		e.ok(name, "%s belongs to this user alone", dir)
	}
}

// lock tells who has the data directory.
func (e *examination) lock(dir string) {
	pid, held, err := e.platform.Holder(dir)
	e.held, e.unsure = held, err != nil
	switch {
	case err != nil:
		e.fail("lock", "let this user read the data directory", "%v", err)
	case held && pid != 0:
		e.ok("lock", "process %d has the data directory", pid)
	case held:
		e.ok("lock", "another process has the data directory")
	default:
		e.ok("lock", "nobody has the data directory")
	}
}

// disk looks at the room that is left, also for what the broker may store.
func (e *examination) disk(folder string) {
	free, err := e.platform.Free(folder)
	if err != nil {
		e.warn("disk", "look at it by hand", "%v", err)
		return
	}
	remedy := "make room, or name a folder on another disk with --data-dir"
	switch {
	case free < noSpace:
		e.fail("disk", remedy, "%s free at %s", size(free), folder)
		return
	case free < littleSpace:
		e.warn("disk", remedy, "%s free at %s", size(free), folder)
		return
	}
	for _, b := range e.config.Brokers {
		if b.Type == config.BrokerEmbedded && free < int64(b.MaxStore) {
			e.warn("disk", "make room, or lower max_store: a full disk stops the broker, a full store only refuses",
				"%s free at %s, and the embedded broker may store %s", size(free), folder, size(int64(b.MaxStore)))
			return
		}
	}
	e.ok("disk", "%s free at %s", size(free), folder)
}

// fileSystem warns about file systems on which locks and databases are not
// dependable.
func (e *examination) fileSystem(folder string) {
	network, err := e.platform.Network(folder)
	switch {
	case err != nil:
		e.warn("file system", "see that the folder is on a disk of this machine", "%v", err)
	case network != "":
		e.fail("file system", "name a folder on a disk of this machine with --data-dir", "%s is on %s, where locks and the inbox are not dependable", folder, network)
	default:
		e.ok("file system", "%s is on a disk of this machine", folder)
	}
}

// descriptors looks at how many files a process may open.
func (e *examination) descriptors() {
	const few = 4096
	limit, err := openFiles()
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		e.warn("open files", "look at it with ulimit -n", "%v", err)
	case limit < few:
		e.warn("open files", "raise it, with ulimit -n 65536 or LimitNOFILE= of systemd", "at most %d for a process", limit)
	default:
		e.ok("open files", "at most %d for a process", limit)
	}
}

// inbox opens the database, if a subscription uses it.
func (e *examination) inbox(ctx context.Context, dir string) {
	used := false
	for _, s := range e.config.Subscriptions {
		used = used || s.Inbox.Store == "sqlite"
	}
	if !used {
		return
	}
	switch err := e.platform.Inbox(ctx, dir); {
	case errors.Is(err, fs.ErrNotExist):
		e.ok("inbox", "is not there yet: the first start makes it")
	case err != nil:
		e.fail("inbox", "restore it from a backup, or move it away: then messages that come twice are handled twice", "%s", fmt.Sprint(err))
	default:
		e.ok("inbox", "can be read")
	}
}

package disk

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Available reports whether this machine should be able to mount a Disk: it has
// the device, and this process may open it and mount.
func Available() bool {
	if os.Geteuid() != 0 {
		return false
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	return err == nil && f.Close() == nil
}

// Mounted is a disk in the machine's tree.
type Mounted struct {
	server *fuse.Server
	dir    string
}

// Mount shows the disk in an existing, empty directory. ErrUnsupported, with the
// reason, if the machine cannot.
func Mount(d *Disk, dir string) (*Mounted, error) {
	if !Available() {
		return nil, ErrUnsupported
	}
	second := time.Second
	s, err := fs.Mount(dir, &node{disk: d, file: d.root}, &fs.Options{
		MountOptions: fuse.MountOptions{FsName: "redrive-torture", Name: "redrive-torture", DirectMountStrict: true, DisableXAttrs: true},
		AttrTimeout:  &second, EntryTimeout: &second,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return &Mounted{s, dir}, nil
}

// unmountTries bounds how often Unmount waits for somebody to close a file.
const unmountTries = 50

// Unmount takes the disk out of the tree. Files that are still open keep it busy
// for a moment; after that the name is taken away from them.
func (m *Mounted) Unmount() error {
	for range unmountTries {
		err := m.server.Unmount()
		if err == nil {
			return nil
		}
		<-time.After(10 * time.Millisecond) //nolint:forbidigo // there is nothing that would tell
	}
	if err := syscall.Unmount(m.dir, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", m.dir, err)
	}
	return nil
}

// node is a File as FUSE sees it.
type node struct {
	fs.Inode
	disk *Disk
	file *File
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeFlusher   = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

// handle is an open file.
type handle struct{ durable bool }

func opened(flags uint32) *handle {
	return &handle{flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0}
}

func errno(err error) syscall.Errno {
	switch {
	case err == nil:
		return fs.OK
	case errors.Is(err, iofs.ErrNotExist):
		return syscall.ENOENT
	case errors.Is(err, iofs.ErrExist):
		return syscall.EEXIST
	case errors.Is(err, ErrNotEmpty):
		return syscall.ENOTEMPTY
	}
	return syscall.EIO
}

func (n *node) child(ctx context.Context, f *File) *fs.Inode {
	mode := uint32(syscall.S_IFREG)
	if f.dir {
		mode = syscall.S_IFDIR
	}
	return n.NewInode(ctx, &node{disk: n.disk, file: f}, fs.StableAttr{Mode: mode, Ino: f.serial})
}

func (n *node) attributes(f *File, to *fuse.Attr) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	to.Ino, to.Size, to.Mode = f.serial, uint64(len(f.live)), f.mode&0o777
	if f.dir {
		to.Mode |= syscall.S_IFDIR
	} else {
		to.Mode |= syscall.S_IFREG
	}
	to.Nlink, to.Blocks = 1, (to.Size+511)/512
	to.SetTimes(&f.time, &f.time, &f.time)
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	f, err := n.disk.Lookup(n.file, name)
	if err != nil {
		return nil, errno(err)
	}
	n.attributes(f, &out.Attr)
	return n.child(ctx, f), fs.OK
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	names := n.disk.Names(n.file)
	entries := make([]fuse.DirEntry, 0, len(names))
	for name, f := range names {
		mode := uint32(syscall.S_IFREG)
		if f.dir {
			mode = syscall.S_IFDIR
		}
		entries = append(entries, fuse.DirEntry{Name: name, Mode: mode, Ino: f.serial})
	}
	return fs.NewListDirStream(entries), fs.OK
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.attributes(n.file, &out.Attr)
	return fs.OK
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		n.disk.Truncate(n.file, int64(size))
	}
	if mode, ok := in.GetMode(); ok {
		n.disk.mu.Lock()
		n.file.mode = mode & 0o777
		n.disk.mu.Unlock()
	}
	n.attributes(n.file, &out.Attr)
	return fs.OK
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_TRUNC != 0 {
		n.disk.Truncate(n.file, 0)
	}
	return opened(flags), 0, fs.OK
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	f, err := n.disk.Create(n.file, name, false, mode)
	if err != nil {
		return nil, nil, 0, errno(err)
	}
	n.attributes(f, &out.Attr)
	return n.child(ctx, f), opened(flags), 0, fs.OK
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	f, err := n.disk.Create(n.file, name, true, mode)
	if err != nil {
		return nil, errno(err)
	}
	n.attributes(f, &out.Attr)
	return n.child(ctx, f), fs.OK
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, to []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	return fuse.ReadResultData(to[:n.disk.Read(n.file, to, at)]), fs.OK
}

func (n *node) Write(_ context.Context, open fs.FileHandle, data []byte, at int64) (uint32, syscall.Errno) {
	n.disk.Write(n.file, data, at)
	if h, ok := open.(*handle); ok && h.durable {
		n.disk.Sync(n.file)
	}
	return uint32(len(data)), fs.OK
}

func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	n.disk.Sync(n.file)
	return fs.OK
}

func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno { return fs.OK }

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	return errno(n.disk.Remove(n.file, name))
}

func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	return errno(n.disk.Remove(n.file, name))
}

func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	target, ok := to.(*node)
	if !ok || flags != 0 {
		return syscall.EINVAL
	}
	return errno(n.disk.Rename(n.file, name, target.file, newName))
}

// Statfs says that there is room: what a program finds too small it refuses to use.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	const block, blocks = 4096, 16 << 20
	out.Bsize, out.Frsize, out.Blocks, out.Bfree, out.Bavail = block, block, blocks, blocks, blocks
	out.Files, out.Ffree, out.NameLen = 1<<20, 1<<20, 255
	return fs.OK
}

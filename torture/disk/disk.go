package disk

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"
)

// ErrUnsupported says that this machine cannot mount a Disk.
var ErrUnsupported = errors.New("a disk whose power can be cut needs Linux, /dev/fuse and the right to mount")

// Disk is a tree of files with a live and a durable image. It is safe for
// concurrent use. The zero value is not usable; see New.
type Disk struct {
	mu     sync.Mutex
	root   *File
	serial uint64
	syncs  int
}

// Loss says what a cut took away.
type Loss struct {
	// Files is the number of files of which bytes or length were not durable, and
	// Bytes the number of bytes in the writes to them.
	Files int
	Bytes int64
}

// File is a file or a directory. Its methods are those of its Disk.
type File struct {
	serial uint64
	dir    bool
	mode   uint32
	time   time.Time

	live, durable []byte
	// dirty lists what of live is not durable. The length may not be either.
	dirty []extent

	// names are the entries of a directory, kept those that are durable.
	names, kept map[string]*File
	// parent and name are where a file lies in the live image, nil if it was removed,
	// and keptIn and keptAs where in the durable one.
	parent, keptIn *File
	name, keptAs   string
}

// extent is a range of bytes.
type extent struct{ from, to int64 }

// New returns an empty disk.
func New() *Disk {
	d := &Disk{}
	d.root = d.file(true, 0o700)
	return d
}

func (d *Disk) file(dir bool, mode uint32) *File {
	d.serial++
	f := &File{serial: d.serial, dir: dir, mode: mode, time: time.Now()}
	if dir {
		f.names, f.kept = map[string]*File{}, map[string]*File{}
	}
	return f
}

// Root returns the directory at the top.
func (d *Disk) Root() *File { return d.root }

// Syncs returns how often something was made durable.
func (d *Disk) Syncs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

// Lookup finds an entry of a directory.
func (d *Disk) Lookup(in *File, name string) (*File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := in.names[name]; f != nil {
		return f, nil
	}
	return nil, fs.ErrNotExist
}

// Names lists a directory.
func (d *Disk) Names(in *File) map[string]*File {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(in.names)
}

// Create makes a file, or a directory. fs.ErrExist if there is one of this name.
func (d *Disk) Create(in *File, name string, dir bool, mode uint32) (*File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if in.names[name] != nil {
		return nil, fs.ErrExist
	}
	f := d.file(dir, mode)
	in.put(name, f)
	return f, nil
}

func (f *File) put(name string, child *File) {
	f.names[name], f.time = child, time.Now()
	child.parent, child.name = f, name
}

// Remove takes an entry out of a directory. Whoever has the file open can go on
// using it. ErrNotEmpty for a directory that has entries.
func (d *Disk) Remove(in *File, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := in.names[name]
	if f == nil {
		return fs.ErrNotExist
	}
	if len(f.names) > 0 {
		return ErrNotEmpty
	}
	delete(in.names, name)
	f.parent, in.time = nil, time.Now()
	return nil
}

// ErrNotEmpty refuses to remove a directory that has entries.
var ErrNotEmpty = errors.New("the directory is not empty")

// Rename moves an entry, and replaces what has the new name.
func (d *Disk) Rename(from *File, name string, to *File, newName string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := from.names[name]
	old := to.names[newName]
	switch {
	case f == nil:
		return fs.ErrNotExist
	case f == old:
		return nil
	case old != nil && len(old.names) > 0:
		return ErrNotEmpty
	case old != nil:
		old.parent = nil
	}
	delete(from.names, name)
	from.time = time.Now()
	to.put(newName, f)
	return nil
}

// Read copies bytes of a file and returns how many there were.
func (d *Disk) Read(f *File, to []byte, at int64) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at >= int64(len(f.live)) {
		return 0
	}
	return copy(to, f.live[at:])
}

// Write puts bytes into a file.
func (d *Disk) Write(f *File, data []byte, at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if end := at + int64(len(data)); end > int64(len(f.live)) {
		f.resize(end)
	}
	copy(f.live[at:], data)
	f.soil(extent{at, at + int64(len(data))})
	f.time = time.Now()
}

// Truncate sets the length of a file.
func (d *Disk) Truncate(f *File, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.resize(size)
	f.time = time.Now()
}

func (f *File) resize(size int64) {
	before := int64(len(f.live))
	if size <= before {
		// What is written here later must not find the old bytes behind the end.
		f.live = slices.Clip(f.live[:size])
		return
	}
	f.live = append(f.live, make([]byte, size-before)...)
	f.soil(extent{before, size})
}

// soil notes that a range is not durable.
func (f *File) soil(e extent) {
	if n := len(f.dirty); n > 0 && f.dirty[n-1].from <= e.from && e.from <= f.dirty[n-1].to {
		f.dirty[n-1].to = max(f.dirty[n-1].to, e.to)
		return
	}
	f.dirty = append(f.dirty, e)
}

// Size returns the length of a file.
func (d *Disk) Size(f *File) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int64(len(f.live))
}

// Sync makes a file durable with its name and the folders that lead to it, or the
// names in a directory.
func (d *Disk) Sync(f *File) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs++
	if f.dir {
		for name, child := range f.kept {
			if f.names[name] != child {
				child.forget()
			}
		}
		for name, child := range f.names {
			child.keep(f, name)
		}
	} else {
		f.flush()
	}
	for at := f; at.parent != nil; at = at.parent {
		at.keep(at.parent, at.name)
	}
}

// flush brings the bytes into the durable image.
func (f *File) flush() {
	size := len(f.live)
	if len(f.durable) > size {
		f.durable = f.durable[:size]
	}
	f.durable = append(f.durable, make([]byte, size-len(f.durable))...)
	for _, e := range f.dirty {
		if to := min(e.to, int64(size)); e.from < to {
			copy(f.durable[e.from:to], f.live[e.from:to])
		}
	}
	f.dirty = nil
}

// keep makes a name of a file durable, in place of the one that it had.
func (f *File) keep(in *File, name string) {
	if f.keptIn == in && f.keptAs == name {
		return
	}
	f.forget()
	if old := in.kept[name]; old != nil {
		old.forget()
	}
	in.kept[name] = f
	f.keptIn, f.keptAs = in, name
}

func (f *File) forget() {
	if f.keptIn != nil {
		delete(f.keptIn.kept, f.keptAs)
		f.keptIn = nil
	}
}

// Cut returns the disk as it is found after a power failure, and what it lost. The
// old one goes on as if nothing had happened; nobody should use it.
func (d *Disk) Cut() (*Disk, Loss) {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := &Disk{syncs: d.syncs}
	var lost Loss
	d.root.count(&lost)
	after.root = after.revive(d.root)
	return after, lost
}

// count adds up what is not durable in the live image.
func (f *File) count(to *Loss) {
	bytes := int64(0)
	for _, e := range f.dirty {
		bytes += e.to - e.from
	}
	if !f.dir && (bytes > 0 || len(f.live) != len(f.durable)) {
		to.Files++
		to.Bytes += bytes
	}
	for _, child := range f.names {
		child.count(to)
	}
}

// revive copies the durable image.
func (d *Disk) revive(f *File) *File {
	c := d.file(f.dir, f.mode)
	c.live, c.durable = slices.Clone(f.durable), slices.Clone(f.durable)
	for name, child := range f.kept {
		k := d.revive(child)
		c.put(name, k)
		k.keep(c, name)
	}
	return c
}

//go:build !linux

package disk

// Available reports false: there is no FUSE that we know of.
func Available() bool { return false }

// Mounted is a disk in the machine's tree.
type Mounted struct{}

// Mount returns ErrUnsupported.
func Mount(*Disk, string) (*Mounted, error) { return nil, ErrUnsupported }

// Unmount does nothing.
func (*Mounted) Unmount() error { return nil }

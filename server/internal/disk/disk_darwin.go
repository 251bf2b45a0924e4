package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Free returns how many bytes this user can still write to the disk of a folder.
func Free(folder string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", folder, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:gosec // no disk has 8 EiB
}

// Network returns the name of the network file system that a folder is on, empty
// if it is on a local one.
func Network(folder string) (string, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return "", fmt.Errorf("file system of %s: %w", folder, err)
	}
	if s.Flags&unix.MNT_LOCAL != 0 {
		return "", nil
	}
	return unix.ByteSliceToString(s.Fstypename[:]), nil
}

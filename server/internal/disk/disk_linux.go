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
	return int64(s.Bavail) * s.Bsize, nil
}

// Network returns the name of the network file system that a folder is on, empty
// if it is on a local one.
func Network(folder string) (string, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return "", fmt.Errorf("file system of %s: %w", folder, err)
	}
	switch uint32(s.Type) {
	case unix.NFS_SUPER_MAGIC:
		return "nfs", nil
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "smb", nil
	case unix.AFS_SUPER_MAGIC:
		return "afs", nil
	case unix.CEPH_SUPER_MAGIC:
		return "ceph", nil
	case unix.V9FS_MAGIC:
		return "9p", nil
	}
	return "", nil
}

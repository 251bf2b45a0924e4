package disk

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// Free returns how many bytes this user can still write to the disk of a folder.
func Free(folder string) (int64, error) {
	name, err := windows.UTF16PtrFromString(folder)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", folder, err)
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", folder, err)
	}
	return int64(free), nil //nolint:gosec // no disk has 8 EiB
}

// Network returns the name of the network file system that a folder is on, empty
// if it is on a local one.
func Network(folder string) (string, error) {
	full, err := filepath.Abs(folder)
	if err != nil {
		return "", fmt.Errorf("file system of %s: %w", folder, err)
	}
	name, err := windows.UTF16PtrFromString(filepath.VolumeName(full) + `\`)
	if err != nil {
		return "", fmt.Errorf("file system of %s: %w", folder, err)
	}
	if windows.GetDriveType(name) == windows.DRIVE_REMOTE {
		return "smb", nil
	}
	return "", nil
}

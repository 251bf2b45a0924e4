package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// tiny mounts a disk of 1 MiB.
func tiny(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		if os.Getenv("REDRIVE_REQUIRE_SERVERS") == "1" && os.Geteuid() == 0 {
			t.Fatalf("a small disk cannot be mounted: %v", err)
		}
		t.Skipf("a small disk cannot be mounted: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

// A full disk is told as what it is, and nothing is left on it.
func TestBackupAndRestoreOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := tiny(t)
	dir := folder(t, sinkConfig)
	data := filepath.Join(dir, "redrive-data")
	require.NoError(t, os.Mkdir(data, 0o700))
	bulk := make([]byte, 4<<20)
	_, _ = rand.Read(bulk) // It never fails.
	require.NoError(t, os.WriteFile(filepath.Join(data, "bulk"), bulk, 0o600))

	require.Contains(t, refused(t, dir, 1, "backup", filepath.Join(disk, "b.tar.gz")), "no space left on device")
	empty(t, disk)
	command(t, dir, "backup", "b.tar.gz")
	said := refused(t, dir, 1, "restore", "b.tar.gz", "--data-dir", filepath.Join(disk, "data"))
	require.Contains(t, said, "free")
	require.Contains(t, said, "hint: make room, or name a folder on another disk with --data-dir")
	empty(t, disk)
	require.Contains(t, refused(t, dir, 7, "doctor", "--data-dir", filepath.Join(disk, "data")), "FAIL  disk ")
	// A mount point cannot be replaced by a folder.
	require.NoError(t, os.Remove(filepath.Join(data, "bulk")))
	command(t, dir, "backup", "small.tar.gz")
	require.Contains(t, refused(t, dir, 1, "restore", "small.tar.gz", "--data-dir", disk), "hint: if it is a mount point, name a folder inside of it with --data-dir")
	command(t, dir, "restore", "small.tar.gz", "--data-dir", filepath.Join(disk, "data"))
}

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

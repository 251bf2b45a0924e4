//go:build unix

package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// notOwner says whose a folder is, if it is not this user's. Root may use it too,
// but what root writes into it the owner cannot read.
func notOwner(info fs.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == os.Geteuid() {
		return ""
	}
	return fmt.Sprintf("belongs to user %d, and this is user %d", stat.Uid, os.Geteuid())
}

func writable(dir string) error { return unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK) }

func readableByOthers(mode fs.FileMode) bool { return mode&0o077 != 0 }

// openFiles returns how many files this process may have open.
func openFiles() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	return uint64(limit.Cur), nil //nolint:unconvert // some platforms sign it
}

//go:build !windows

package embednats

import "os"

// private reports whether only the owner can read a file.
func private(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o077 == 0
}

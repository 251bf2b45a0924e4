//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package embednats

import (
	"errors"
	"os"
	"syscall"
)

// lock takes an exclusive lock without waiting.
func lock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errLocked
		}
		return err
	}
}

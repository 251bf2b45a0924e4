//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package embednats

import (
	"errors"
	"os"
	"syscall"
)

// lock takes an exclusive lock without waiting.
func lock(f *os.File) error { return flock(f, syscall.LOCK_EX) }

// lockShared takes a lock that excludes only an exclusive one, without waiting.
func lockShared(f *os.File) error { return flock(f, syscall.LOCK_SH) }

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errLocked
		}
		return err
	}
}

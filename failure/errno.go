//go:build !plan9

package failure

import "syscall"

// errnoTransient reports whether the error is one of the system's, and whether
// it may go away by itself.
func errnoTransient(err error) (transient, isErrno bool) {
	errno, ok := err.(syscall.Errno)
	if !ok {
		return false, false
	}
	switch errno {
	case syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE,
		syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN,
		syscall.ENETRESET, syscall.ENOTCONN, syscall.EAGAIN, syscall.EINTR, syscall.EBUSY,
		syscall.ENOBUFS, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE:
		return true, true
	}
	return errno.Timeout(), true
}

// errnoName returns the name of a well-known system error, empty for others.
func errnoName(err error) string {
	errno, ok := err.(syscall.Errno)
	if !ok {
		return ""
	}
	switch errno {
	case syscall.ECONNREFUSED:
		return "syscall.ECONNREFUSED"
	case syscall.ECONNRESET:
		return "syscall.ECONNRESET"
	case syscall.ECONNABORTED:
		return "syscall.ECONNABORTED"
	case syscall.EPIPE:
		return "syscall.EPIPE"
	case syscall.ETIMEDOUT:
		return "syscall.ETIMEDOUT"
	case syscall.EHOSTUNREACH:
		return "syscall.EHOSTUNREACH"
	case syscall.ENETUNREACH:
		return "syscall.ENETUNREACH"
	case syscall.ENETDOWN:
		return "syscall.ENETDOWN"
	case syscall.ENETRESET:
		return "syscall.ENETRESET"
	case syscall.ENOTCONN:
		return "syscall.ENOTCONN"
	case syscall.EAGAIN:
		return "syscall.EAGAIN"
	case syscall.EINTR:
		return "syscall.EINTR"
	case syscall.EBUSY:
		return "syscall.EBUSY"
	case syscall.ENOBUFS:
		return "syscall.ENOBUFS"
	case syscall.ENOMEM:
		return "syscall.ENOMEM"
	case syscall.EMFILE:
		return "syscall.EMFILE"
	case syscall.ENFILE:
		return "syscall.ENFILE"
	case syscall.ENOENT:
		return "syscall.ENOENT"
	case syscall.EACCES:
		return "syscall.EACCES"
	case syscall.EPERM:
		return "syscall.EPERM"
	case syscall.EEXIST:
		return "syscall.EEXIST"
	case syscall.ENOSPC:
		return "syscall.ENOSPC"
	case syscall.EROFS:
		return "syscall.EROFS"
	case syscall.EADDRINUSE:
		return "syscall.EADDRINUSE"
	case syscall.EINVAL:
		return "syscall.EINVAL"
	case syscall.EIO:
		return "syscall.EIO"
	}
	return ""
}

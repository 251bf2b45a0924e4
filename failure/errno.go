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
	return errnoNames[errno]
}

var errnoNames = map[syscall.Errno]string{
	syscall.ECONNREFUSED: "syscall.ECONNREFUSED",
	syscall.ECONNRESET:   "syscall.ECONNRESET",
	syscall.ECONNABORTED: "syscall.ECONNABORTED",
	syscall.EPIPE:        "syscall.EPIPE",
	syscall.ETIMEDOUT:    "syscall.ETIMEDOUT",
	syscall.EHOSTUNREACH: "syscall.EHOSTUNREACH",
	syscall.ENETUNREACH:  "syscall.ENETUNREACH",
	syscall.ENETDOWN:     "syscall.ENETDOWN",
	syscall.ENETRESET:    "syscall.ENETRESET",
	syscall.ENOTCONN:     "syscall.ENOTCONN",
	syscall.EAGAIN:       "syscall.EAGAIN",
	syscall.EINTR:        "syscall.EINTR",
	syscall.EBUSY:        "syscall.EBUSY",
	syscall.ENOBUFS:      "syscall.ENOBUFS",
	syscall.ENOMEM:       "syscall.ENOMEM",
	syscall.EMFILE:       "syscall.EMFILE",
	syscall.ENFILE:       "syscall.ENFILE",
	syscall.ENOENT:       "syscall.ENOENT",
	syscall.EACCES:       "syscall.EACCES",
	syscall.EPERM:        "syscall.EPERM",
	syscall.EEXIST:       "syscall.EEXIST",
	syscall.ENOSPC:       "syscall.ENOSPC",
	syscall.EROFS:        "syscall.EROFS",
	syscall.EADDRINUSE:   "syscall.EADDRINUSE",
	syscall.EINVAL:       "syscall.EINVAL",
	syscall.EIO:          "syscall.EIO",
}

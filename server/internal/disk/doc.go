// Package disk tells about the disk that a folder is on. Asking changes nothing.
package disk

import "errors"

// ErrUnsupported says that this platform does not tell.
var ErrUnsupported = errors.New("not known on this platform")

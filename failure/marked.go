package failure

import "errors"

// Marked reports whether somebody stated what the error means, with a marker of
// this package.
func Marked(err error) bool {
	var m *markedError
	return errors.As(err, &m)
}

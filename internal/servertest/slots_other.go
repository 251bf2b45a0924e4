//go:build !unix

package servertest

import (
	"errors"
	"os"
)

// lockFile is not there: without a Unix the servers are not either.
func lockFile(string) (*os.File, error) { return nil, errors.ErrUnsupported }

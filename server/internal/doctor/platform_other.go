//go:build !unix

package doctor

import (
	"errors"
	"io/fs"
)

func notOwner(fs.FileInfo) string { return "" }

func writable(string) error { return nil }

func readableByOthers(fs.FileMode) bool { return false }

func openFiles() (uint64, error) { return 0, errors.ErrUnsupported }

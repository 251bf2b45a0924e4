//go:build !linux && !darwin && !windows

package disk

// Free returns ErrUnsupported.
func Free(string) (int64, error) { return 0, ErrUnsupported }

// Network returns ErrUnsupported.
func Network(string) (string, error) { return "", ErrUnsupported }

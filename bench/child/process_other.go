//go:build !linux

package child

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// attributes: children of ours end when the pipe to them does.
func attributes() *syscall.SysProcAttr { return nil }

func terminate(p *os.Process) error { return p.Signal(os.Interrupt) }

// Memory is known on Linux alone.
func Memory(int) (now, peak float64, err error) {
	return 0, 0, errors.New("resident memory is read from /proc, which only Linux has")
}

// ProcessorTime is known on Linux alone.
func ProcessorTime(int) (time.Duration, error) {
	return 0, errors.New("processor time is read from /proc, which only Linux has")
}

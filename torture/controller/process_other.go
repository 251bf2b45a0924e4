//go:build !linux

package controller

import (
	"os"
	"syscall"
)

// attributes: workers end when the pipe to them does, so nothing is needed.
func attributes() *syscall.SysProcAttr { return nil }

func interrupt(p *os.Process) error { return p.Signal(os.Interrupt) }

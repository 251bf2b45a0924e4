package controller

import (
	"os"
	"syscall"
)

// attributes put a child into a group of its own, so that an interrupt at the
// terminal reaches only us, and let it die with us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func interrupt(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

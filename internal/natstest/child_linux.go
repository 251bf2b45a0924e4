package natstest

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel kill the child when the test process dies, so
// that a crashed or interrupted test leaves no server behind.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

package realinput_test

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel kill the child when the test process dies. The
// children also end with their standard input, which works everywhere and may
// come too late for one that is busy.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

package child

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// attributes let a child die with us, however we die.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// Memory returns the resident memory of a process in MiB, now and at most.
func Memory(pid int) (now, peak float64, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		if err != nil {
			continue
		}
		switch name {
		case "VmRSS":
			now = kib / 1024
		case "VmHWM":
			peak = kib / 1024
		}
	}
	if now == 0 || peak == 0 {
		return 0, 0, fmt.Errorf("memory of process %d: it has ended", pid)
	}
	return now, peak, nil
}

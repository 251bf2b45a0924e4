package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// children lists the processes that a process started.
func children(t *testing.T, pid int) []string {
	t.Helper()
	var out []string
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // It has ended.
		}
		// The name is in parentheses and can hold anything; state and parent follow.
		fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
		if string(fields[1]) == strconv.Itoa(pid) && string(fields[0]) != "Z" {
			out = append(out, filepath.Dir(path))
		}
	}
	return out
}

// Nothing outlives the controller, not even when it is killed itself.
func TestAKilledControllerLeavesNoProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-server", serverBinary, "-messages", "100000", "-kills", "10000")
	cmd.Env = append(os.Environ(), asCommand+"=1", "TMPDIR="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var started []string
	for len(started) < 3 {
		select {
		case <-tick.C:
			started = children(t, cmd.Process.Pid)
		case <-t.Context().Done():
			t.Fatal("a broker and two workers did not start")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // It says that it was killed.
	for deadline := time.Now().Add(10 * time.Second); len(started) > 0; {
		<-tick.C
		if _, err := os.Stat(started[0]); err != nil {
			started = started[1:]
		} else if time.Now().After(deadline) {
			t.Fatalf("still running: %v", started)
		}
	}
}

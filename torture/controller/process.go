package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// launcher starts processes that die with this one. On Linux the system sees to
// that, and takes the end of the thread that started a process for the end of its
// parent: so one thread starts them all and stays.
type launcher struct {
	requests chan func()
}

func newLauncher() *launcher {
	l := &launcher{requests: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for start := range l.requests {
			start()
		}
	}()
	return l
}

// close ends the thread and with it every process that still runs.
func (l *launcher) close() { close(l.requests) }

// process is a child. Its standard input is a pipe of ours: the end of it asks
// the child to stop.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	log   *os.File
	// done is closed when the process has ended, and err then says how.
	done chan struct{}
	err  error
}

// start runs a program with the environment of this one and one variable more.
// What it prints goes to the end of the log file.
func (l *launcher) start(logPath, variable, name string, args ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // in our own folder
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	// The process outlives the call on purpose: whoever started it ends it.
	cmd := exec.Command(name, args...) //nolint:gosec,noctx // our own programs
	cmd.Env = append(os.Environ(), variable)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	started := make(chan error)
	l.requests <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	p := &process{cmd: cmd, stdin: stdin, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = errors.Join(cmd.Wait(), log.Close())
	}()
	return p, nil
}

// kill ends the process without any warning and waits until it has gone.
func (p *process) kill() {
	// An error means that it has ended by itself.
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop asks the process to end, and kills it if it does not in time.
func (p *process) stop(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// An error means that it has ended by itself.
	_ = p.stdin.Close()
	_ = interrupt(p.cmd.Process)
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("%s did not stop within %s and was killed", p.cmd.Path, patience)
	}
}

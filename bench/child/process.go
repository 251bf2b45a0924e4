package child

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// Command says what to run.
type Command struct {
	// Program and Args are the command line, Dir the working directory.
	Program string
	Args    []string
	Dir     string
	// Env is added to the environment of this process.
	Env []string
	// Signal says that the child is asked to end by a signal. Else the end of its
	// standard input does.
	Signal bool
}

// Process is a child. Its standard input is a pipe that is empty and ends with
// this process or with Stop.
type Process struct {
	cmd    *exec.Cmd
	signal bool
	stdin  io.Closer
	lines  chan string
	stderr tail
	done   chan struct{}
	err    error
}

// Start starts a child. The context ends it at once when it ends.
func Start(ctx context.Context, c Command) (*Process, error) {
	p := &Process{cmd: exec.CommandContext(ctx, c.Program, c.Args...), signal: c.Signal, lines: make(chan string, 16), done: make(chan struct{})} //nolint:gosec // our own programs
	p.cmd.Dir, p.cmd.Env = c.Dir, append(os.Environ(), c.Env...)
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = attributes()
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Program, err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Program, err)
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Program, err)
	}
	go p.watch(stdout)
	return p, nil
}

// watch reads what the child prints, then waits for its end.
func (p *Process) watch(stdout io.Reader) {
	defer close(p.done)
	scan := bufio.NewScanner(stdout)
	for scan.Scan() {
		select {
		case p.lines <- scan.Text():
		default: // nobody wants to read that much
		}
	}
	close(p.lines)
	_, _ = io.Copy(io.Discard, stdout) // a line that was too long must not block the child
	p.err = p.cmd.Wait()
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Line waits for the next line that the child prints.
func (p *Process) Line(ctx context.Context) (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			<-p.done
			return "", errors.Join(fmt.Errorf("%s ended: %s", p.name(), p.stderr.String()), p.err)
		}
		return line, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s says nothing: %w", p.name(), context.Cause(ctx))
	}
}

// name is the program's name without its folder, for pages that others read.
func (p *Process) name() string { return filepath.Base(p.cmd.Path) }

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Said returns the end of what the child wrote to standard error.
func (p *Process) Said() string { return p.stderr.String() }

// Stop asks the child to end, and kills it if it does not within the patience.
func (p *Process) Stop(patience time.Duration) error {
	// Errors mean that it has ended by itself.
	_ = p.stdin.Close()
	if p.signal {
		_ = terminate(p.cmd.Process)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s: %w: %s", p.name(), p.err, p.stderr.String())
		}
		return nil
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("%s did not stop within %v and was killed", p.name(), patience)
	}
}

// Kill ends the child and waits until it has gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // An error means that it has ended by itself.
	<-p.done
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if extra := len(t.b) - tailSize; extra > 0 {
		t.b = append(t.b[:0], t.b[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}

package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// supervisor keeps a worker process running, and kills it in the middle of moves
// as often as it is told to.
type supervisor struct {
	command []string
	environ []string
	config  workerConfig
	events  *eventFile
	kills   int

	mu     sync.Mutex
	status workerStatus
	pid    int
	// retries are those of the processes that have died.
	retries       int64
	deaths, slain int
	struck        []uint64
}

const (
	// restartPause is the wait before a worker that died is started again.
	restartPause = 100 * time.Millisecond
	// strikePause is the least time between the start of a worker and its end by
	// this process.
	strikePause = 300 * time.Millisecond
	// maxFailedStarts is how many workers in a row may die without having worked. An
	// order that kills its worker may kill five, when nothing else is there to be done:
	// two before it is run alone, and three then.
	maxFailedStarts = 10
)

// run starts workers until the context ends; then it lets the last one stop
// cleanly. It returns an error if workers cannot be started.
func (s *supervisor) run(ctx context.Context) error {
	failed := 0
	for {
		worked, err := s.one(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // a worker that was asked to stop has stopped
		}
		s.mu.Lock()
		s.deaths++
		s.pid, s.status = 0, workerStatus{}
		s.mu.Unlock()
		s.events.add(event{At: time.Now(), Kind: eventDied, Text: fmt.Sprint(err)})
		if failed++; worked {
			failed = 0
		}
		if failed >= maxFailedStarts {
			return fmt.Errorf("the worker process died %d times without working: %w: %s", failed, err, s.lastWords())
		}
		if wait(ctx, restartPause) != nil {
			return nil //nolint:nilerr // there is nothing left to stop
		}
	}
}

// lastWords is the end of what workers wrote to their standard error.
func (s *supervisor) lastWords() string {
	raw, err := contents(s.config.Dir, workerErrFile)
	if err != nil {
		return ""
	}
	const enough = 500
	return strings.TrimSpace(string(raw[max(0, len(raw)-enough):]))
}

// one runs one worker process to its end. worked says that it reported at least
// once.
func (s *supervisor) one(ctx context.Context) (worked bool, err error) {
	log, err := appendTo(s.config.Dir, workerErrFile)
	if err != nil {
		return false, fmt.Errorf("log of the worker: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	// The process outlives the context for as long as it takes to stop cleanly.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.command[0], s.command[1:]...) //nolint:gosec // the command is this program itself
	cmd.Stderr = log
	cmd.Env = append(os.Environ(), s.environ...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return false, fmt.Errorf("start a worker: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("start a worker: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("start a worker: %w", err)
	}
	s.mu.Lock()
	s.pid = cmd.Process.Pid
	s.mu.Unlock()
	s.events.add(event{At: time.Now(), Kind: eventStarted, Text: fmt.Sprintf("process %d", cmd.Process.Pid)})

	gone := make(chan struct{})
	var attending sync.WaitGroup
	attending.Go(func() { s.attend(ctx, cmd.Process, stdin, gone) })
	worked = s.listen(stdout, cmd.Process)
	err = cmd.Wait()
	close(gone)
	attending.Wait()
	return worked, err
}

// attend tells a worker what to do and, when the context ends, to stop.
func (s *supervisor) attend(ctx context.Context, process *os.Process, stdin io.WriteCloser, gone <-chan struct{}) {
	encoder := json.NewEncoder(stdin)
	defer stdin.Close() //nolint:errcheck // a pipe to a process that may be gone
	if encoder.Encode(s.config) != nil {
		return // It died at once, which its end will tell.
	}
	strike := time.NewTimer(strikePause)
	defer strike.Stop()
	for {
		select {
		case <-gone:
			return
		case <-strike.C:
			if order, ok := s.nextStrike(); ok && encoder.Encode(command{Strike: &order}) != nil {
				return
			}
		case <-ctx.Done():
			_ = stdin.Close()
			patience := time.NewTimer(3 * stopPatience)
			defer patience.Stop()
			select {
			case <-gone:
			case <-patience.C:
				_ = process.Kill()
			}
			return
		}
	}
}

// nextStrike says when the running worker is to be killed, if it is.
func (s *supervisor) nextStrike() (strikeOrder, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slain >= s.kills {
		return strikeOrder{}, false
	}
	moments := [...]string{strikeAfter, strikeBefore, strikeDuring}
	return strikeOrder{Moment: moments[s.slain%len(moments)], Except: s.struck}, true
}

// listen reads what a worker reports until its end.
func (s *supervisor) listen(stdout io.Reader, process *os.Process) (worked bool) {
	lines := json.NewDecoder(bufio.NewReader(stdout))
	var last int64
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.retries += last
		s.status.Retries = 0
	}()
	for {
		var line report
		if lines.Decode(&line) != nil {
			_, _ = io.Copy(io.Discard, stdout) // So that the worker never blocks.
			return worked
		}
		if line.Status != nil {
			worked = true
			last = line.Status.Retries
			s.mu.Lock()
			s.status = *line.Status
			s.mu.Unlock()
		}
		if line.AtMove != 0 {
			_ = process.Kill()
			s.mu.Lock()
			s.slain++
			s.struck = append(slices.Clip(s.struck), line.AtMove)
			s.mu.Unlock()
			s.events.add(event{At: time.Now(), Kind: eventKilled, Order: line.AtMove})
		}
	}
}

// tally is what a supervisor knows.
type tally struct {
	status        workerStatus
	pid           int
	retries       int64
	deaths, slain int
}

func (s *supervisor) tally() tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return tally{s.status, s.pid, s.retries + s.status.Retries, s.deaths, s.slain}
}

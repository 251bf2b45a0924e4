package realinput_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
)

// supervisor keeps one worker process running, as systemd or Kubernetes would,
// and kills it when it is told to.
type supervisor struct {
	role role
	// failed is closed with err when a worker ends that nobody killed.
	failed chan struct{}

	mu      sync.Mutex
	current *child
	ending  bool
	kills   int
	err     error
}

// start starts the next worker. The caller holds mu.
func (s *supervisor) start() error {
	s.role.Life++
	c, err := spawn(s.role)
	if err != nil {
		return err
	}
	s.current = c
	c.watch()
	go func() {
		<-c.ended
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.current == c && !s.ending {
			s.fail(fmt.Errorf("worker %d ended by itself: %w", s.role.Life, errors.Join(c.err, errors.New("nobody killed it"))))
		}
	}()
	return nil
}

// fail keeps the first error. The caller holds mu.
func (s *supervisor) fail(err error) {
	if s.err == nil {
		s.err = err
		close(s.failed)
	}
}

// kill ends the worker of a life without warning and starts the next one at
// once. It reports false for a worker that is dead already.
func (s *supervisor) kill(life string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending || life != strconv.Itoa(s.role.Life) {
		return false
	}
	c := s.current
	s.current = nil
	if err := c.cmd.Process.Kill(); err != nil {
		s.fail(fmt.Errorf("worker %s cannot be killed: %w", life, err))
		return false
	}
	<-c.ended
	_ = c.stdin.Close()
	s.kills++
	if err := s.start(); err != nil {
		s.fail(fmt.Errorf("the worker after life %s does not start: %w", life, err))
	}
	return true
}

// stop ends the worker in order.
func (s *supervisor) stop(ctx context.Context) error {
	s.mu.Lock()
	s.ending = true
	c := s.current
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	return c.stop(ctx)
}

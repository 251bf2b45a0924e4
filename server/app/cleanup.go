package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// cleanup is a stack of things to undo, newest first. It is safe for concurrent
// use.
type cleanup struct {
	mu    sync.Mutex
	steps []step
}

type step struct {
	name string
	undo func(context.Context) error
}

// push adds a step. The name appears in errors.
func (c *cleanup) push(name string, undo func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, step{name, undo})
}

// run takes every step off the stack and runs it, the newest first, each for at
// most the limit. One that fails, panics or does not end does not keep the next
// from running. Running again does nothing.
func (c *cleanup) run(ctx context.Context, limit time.Duration) error {
	c.mu.Lock()
	steps := c.steps
	c.steps = nil
	c.mu.Unlock()
	var errs []error
	for _, s := range slices.Backward(steps) {
		if err := s.run(ctx, limit); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	return errors.Join(errs...)
}

func (s step) run(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- fmt.Errorf("panic: %v", v)
			}
		}()
		done <- s.undo(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	// A step that watches its context ends about now, and knows more than we do.
	grace := time.NewTimer(time.Second)
	defer grace.Stop()
	select {
	case err := <-done:
		return err
	case <-grace.C:
		return fmt.Errorf("did not end within %s and is left behind", limit)
	}
}

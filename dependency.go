package redrive

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/failure"
)

// DependencyError says that a call to a named dependency failed, or was not made
// because its breaker is open.
type DependencyError struct {
	// Name is the dependency's.
	Name string
	// Until is when the dependency may be tried again, zero while its breaker is
	// closed. With it the message waits without losing an attempt.
	Until time.Time
	// Err is the error of the call, or a *breaker.OpenError.
	Err error

	// worked is when the newest call that succeeded began, zero if there was none.
	worked time.Time
}

// Error implements error.
func (e *DependencyError) Error() string { return fmt.Sprintf("dependency %s: %v", e.Name, e.Err) }

// Unwrap returns the error of the call.
func (e *DependencyError) Unwrap() error { return e.Err }

// Dependency calls something that the handler depends on, behind a breaker of
// its own: one per name and worker. While that breaker is open the call is not
// made, and the message that needed it waits in the retry queue until the
// dependency recovers, without losing an attempt; messages that do not need it
// go on. A failure of the call counts for this breaker and not for the
// subscription's.
//
// The context must be the one that the handler was given, or made from it;
// outside a handler call simply runs. Return the error from the handler, wrapped
// as you like.
func Dependency(ctx context.Context, name string, call func(ctx context.Context) error) error {
	w, ok := ctx.Value(workerKey{}).(*Worker)
	if !ok {
		return call(ctx)
	}
	b, err := w.deps.get(name)
	if err != nil {
		return fmt.Errorf("dependency %s: %w", name, err)
	}
	began := w.host.Now()
	permit, err := b.Allow(began)
	if err != nil {
		return failure.Local(&DependencyError{Name: name, Until: b.Next(w.host.Now()), Err: err})
	}
	outcome := breaker.Ignored
	defer func() { b.Report(w.host.Now(), permit, outcome) }() // a panic gives the permit back
	err = call(ctx)
	if err == nil {
		outcome = breaker.Success
		b.succeeded(began)
		return nil
	}
	f := failure.Classify(err, w.cfg.Rules...)
	if !f.Downstream || interruption(context.Cause(ctx)) {
		return err
	}
	now := w.host.Now()
	failed := &DependencyError{Name: name, Err: err, worked: b.lastSuccess()}
	if f.Throttled {
		// The dependency asked for less traffic, and only those who call it wait.
		wait := min(f.RetryAfter, w.cfg.Policy.Retry.RetryAfterMax)
		if wait <= 0 {
			wait = w.cfg.Dependency.WithDefaults().Recovery
		}
		b.Report(now, permit, breaker.Ignored)
		b.Trip(now, now.Add(wait))
		failed.Until = b.Next(now)
		return failure.Local(failed)
	}
	b.Report(now, permit, breaker.Failure)
	if b.State(now) != breaker.Closed {
		failed.Until = b.Next(now)
	}
	return failure.Local(failed)
}

// dependencyBreaker is the breaker of one dependency, which also knows when a call
// last succeeded.
type dependencyBreaker struct {
	*breaker.Breaker

	mu     sync.Mutex
	worked time.Time
}

// succeeded notes a call that succeeded, by its beginning: one that began before
// an outage says nothing about it.
func (b *dependencyBreaker) succeeded(began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if began.After(b.worked) {
		b.worked = began
	}
}

func (b *dependencyBreaker) lastSuccess() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.worked
}

// dependencies are the breakers of a worker's named dependencies.
type dependencies struct {
	config breaker.Config
	seed   uint64
	mu     sync.Mutex
	byName map[string]*dependencyBreaker
}

// maxDependencies bounds the breakers of one worker: names are meant to be a
// handful of constants.
const maxDependencies = 1000

func (d *dependencies) init(c breaker.Config, seed uint64) {
	d.config, d.seed, d.byName = c, seed, map[string]*dependencyBreaker{}
}

func (d *dependencies) get(name string) (*dependencyBreaker, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b, ok := d.byName[name]; ok {
		return b, nil
	}
	if len(d.byName) >= maxDependencies {
		return nil, fmt.Errorf("more than %d names of dependencies: a name must not be made of a message", maxDependencies)
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	br, err := breaker.New(d.config, d.seed^h.Sum64())
	if err != nil {
		return nil, err
	}
	b := &dependencyBreaker{Breaker: br}
	d.byName[name] = b
	return b, nil
}

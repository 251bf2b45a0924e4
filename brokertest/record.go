package brokertest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
)

// Result is the verdict of a case.
type Result struct {
	// Case is its name.
	Case string
	// Failures are the messages of every Errorf and Fatalf, none if it passed.
	Failures []string
}

// Failed reports whether a promise was broken.
func (r Result) Failed() bool { return len(r.Failures) > 0 }

// String returns the verdict for people.
func (r Result) String() string {
	if !r.Failed() {
		return r.Case + ": passed"
	}
	return r.Case + ": " + strings.Join(r.Failures, "; ")
}

// Record runs a case against a harness and returns the verdict. A panic of the
// case or the broker is a failure. It returns when the case and its cleanups
// have ended.
func Record(ctx context.Context, c Case, h Harness) Result {
	ctx, cancel := context.WithCancel(ctx)
	r := &recorder{name: c.Name, ctx: ctx}
	done := make(chan struct{})
	go func() { //nolint:contextcheck // the case takes it from its T
		defer close(done)
		defer r.cleanup()
		defer r.recover()
		c.Run(r, h)
	}()
	<-done
	cancel()
	return Result{Case: c.Name, Failures: r.failures}
}

type recorder struct {
	name string
	ctx  context.Context //nolint:containedctx // T hands it out, as testing.T does

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) Helper()                  {}
func (r *recorder) Name() string             { return r.name }
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Logf(string, ...any)      {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) recover() {
	if p := recover(); p != nil {
		r.Errorf("panic: %v", p)
	}
}

func (r *recorder) cleanup() {
	for {
		r.mu.Lock()
		n := len(r.cleanups)
		if n == 0 {
			r.mu.Unlock()
			return
		}
		f := r.cleanups[n-1]
		r.cleanups = r.cleanups[:n-1]
		r.mu.Unlock()
		func() {
			defer r.recover()
			f()
		}()
	}
}

package simulation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/host"
)

// Launch makes the worker under test, on a host that is not the real one.
type Launch func(on host.Host, b broker.Broker, h redrive.Handler, c redrive.Config) (Worker, error)

// Options say what to run.
type Options struct {
	// Launch makes the workers. Required.
	Launch Launch
	// Mutant names a wrong worker of package redrivetest/mutant, to see it caught.
	// Default: none.
	Mutant string
}

// Result is how a seed ended.
type Result struct {
	Seed uint64
	// Violations are the laws that were broken, in the order in which it was
	// noticed.
	Violations []Violation
	// Messages were published, Deliveries handed over, and Runs of the handler made.
	Messages, Deliveries, Runs int
	// Steps of the scheduler, and the virtual time that passed.
	Steps   int
	Elapsed time.Duration
	// Deaths is the number of processes that were killed.
	Deaths int
	// Trace is what happened, one line an event. It is only valid until the next
	// Run of the same Arena.
	Trace []byte
}

// Hash identifies the trace.
func (r *Result) Hash() string {
	sum := sha256.Sum256(r.Trace)
	return hex.EncodeToString(sum[:])
}

// Arena keeps memory from one Run to the next. One goroutine at a time may use
// it.
type Arena struct{ arena }

type arena struct {
	idle     []*coroutine
	runnable []*task
	timers   timerHeap
	trace    []byte
}

// Close ends the coroutines that the arena keeps.
func (a *Arena) Close() {
	for _, c := range a.idle {
		c.stop()
	}
	a.idle = nil
}

// Limits of one seed.
const (
	mostSteps = 10_000_000     // a day of waiting for a retry that a wrong clock has put off takes 2,000,000
	mostTime  = 80 * time.Hour // of virtual time after the last fault
	mostStill = 100_000        // steps without any passing of time
)

// Run plays one seed, to its end: of the context only the values are used.
func (a *Arena) Run(ctx context.Context, seed uint64, o *Options) (*Result, error) {
	if !layout() {
		return nil, errors.New("this Go release lays out time.Time in another way: see instant.go")
	}
	w, err := newWorld(ctx, seed, draw(seed), o, &a.arena)
	if err != nil {
		return nil, err
	}
	w.schedule()
	deadline := int64(w.plan.horizon + mostTime)
	still, at := 0, w.sched.now
	for w.sched.step(deadline) {
		if still++; w.sched.now != at {
			still, at = 0, w.sched.now
		}
		if still > mostStill {
			w.books.violate("no busy loop", "%d steps at %s, in which no time passed", still, time.Duration(at))
			break
		}
		if w.sched.steps > mostSteps || w.sched.fatal != "" || len(w.books.violations) >= mostViolations {
			break
		}
	}
	if w.sched.fatal != "" {
		w.books.violate("the worker does not panic", "%s", w.sched.fatal)
	} else if len(w.books.violations) == 0 {
		w.books.check()
		for _, s := range w.seats {
			if s.proc != nil && w.drainedAt > 0 {
				w.books.violate("clean stop", "%s did not end", s.proc.name)
			}
		}
	}
	w.end()
	res := &Result{
		Seed: seed, Violations: w.books.violations, Messages: len(w.plan.messages), Deliveries: w.books.deliveries,
		Runs: w.books.handlerRuns, Steps: w.sched.steps, Elapsed: time.Duration(w.sched.now), Deaths: w.books.deaths, Trace: w.trace.buf,
	}
	a.idle, a.runnable, a.timers, a.trace = w.sched.idle, w.sched.runnable, w.sched.timers, w.trace.buf
	clear(a.runnable[:cap(a.runnable)])
	clear(a.timers[:cap(a.timers)])
	return res, nil
}

// end unwinds everything that is left.
func (w *world) end() {
	w.stopped = true
	n := len(w.trace.buf)
	for _, s := range w.seats {
		if p := s.proc; p != nil {
			p.kill("at the end")
			w.sched.unwind(p)
		}
	}
	w.self.dead = true
	w.sched.unwind(w.self)
	w.trace.buf = w.trace.buf[:n]
}

// Describe is what a seed stands for, in a few lines.
func Describe(seed uint64) string {
	p := draw(seed)
	return fmt.Sprintf("%d messages over %s, %d group(s) of %d worker(s), concurrency %d, in flight %d, lease %s, inbox %d, split %v, kills %d, fail %v lose %v hang %v slow %v, outages %v, refused %v, %d events",
		len(p.messages), p.horizon, p.groups, p.seats, p.concurrency, p.inFlight, p.lease, p.inbox, p.split, p.kills, p.fail, p.lose, p.hang, p.slow, p.outages, p.refused, len(p.events))
}

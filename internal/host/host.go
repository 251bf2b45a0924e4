// Package host is what the worker needs of the process it runs in: a clock,
// goroutines, a way to wait, timers and randomness. [Real] is the real one. A
// simulation puts its own in the place, in which one thread runs everything in an
// order that follows from a seed; so the worker must reach for nothing of this by
// any other way.
package host

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"runtime/debug"
	"time"
)

// Host is a process as the worker sees it. It is safe for concurrent use.
type Host interface {
	Clock
	Tasks
	// ID makes a random id of 32 hexadecimal digits.
	ID() string
	// Stack is the stack of the caller, as text.
	Stack() []byte
}

// Clock is the time, and what ends by it.
type Clock interface {
	// Now is the time.
	Now() time.Time
	// Timeout is context.WithTimeout.
	Timeout(parent context.Context, d time.Duration) (context.Context, context.CancelFunc)
}

// Tasks run beside each other and wait for each other.
type Tasks interface {
	// Start runs f beside the caller.
	Start(f func())
	// Gate makes a closed gate.
	Gate() Gate
	// Await returns when the context has ended.
	Await(ctx context.Context)
}

// Gate is a place where one goroutine at a time waits until another one has
// something for it.
type Gate interface {
	// Open lets one waiter through, now or the next that comes. Opening a gate that
	// is open has no effect. It never blocks.
	Open()
	// Wait passes the gate and closes it behind itself. It reports false if the time
	// came first; the zero time never comes.
	Wait(until time.Time) bool
}

// Real is the process that this is.
func Real() Host { return realHost{} }

type realHost struct{}

func (realHost) Now() time.Time { return time.Now() }

func (realHost) Start(f func()) { go f() }

func (realHost) Gate() Gate { return &realGate{open: make(chan struct{}, 1)} }

func (realHost) Await(ctx context.Context) { <-ctx.Done() }

func (realHost) Timeout(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(parent, d)
}

func (realHost) ID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: without randomness the process ends
	return hex.EncodeToString(b[:])
}

func (realHost) Stack() []byte { return debug.Stack() }

// realGate keeps its timer, so that waiting again costs no allocation.
type realGate struct {
	open  chan struct{}
	timer *time.Timer
}

func (g *realGate) Open() {
	select {
	case g.open <- struct{}{}:
	default:
	}
}

func (g *realGate) Wait(until time.Time) bool {
	if until.IsZero() {
		<-g.open
		return true
	}
	if g.timer == nil {
		g.timer = time.NewTimer(time.Until(until))
	} else {
		g.timer.Reset(time.Until(until))
	}
	defer g.timer.Stop()
	select {
	case <-g.open:
		return true
	case <-g.timer.C:
		return false
	}
}

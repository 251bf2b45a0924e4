package workertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/retry"
)

// bench is what a case works with: a subscription of its own, a client that only
// looks, and the books of what workers did.
type bench struct {
	brokertest.T
	h      brokertest.Harness
	ctx    context.Context //nolint:containedctx // the deadline of the whole case
	b      broker.Broker
	caps   broker.Caps
	source string
	names  broker.Names
	books  *books
}

func newBench(t brokertest.T, h brokertest.Harness) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), h.Timeout)
	t.Cleanup(cancel)
	e := &bench{T: t, h: h, ctx: ctx, books: &books{runs: map[string][]run{}, running: map[string]int{}}}
	e.source = h.Queue(t, "orders")
	e.names = broker.NamesFor(e.source, "")
	e.b = h.Open(t)
	if err := e.b.Topology().Ensure(ctx, broker.Spec{Source: e.source}); err != nil {
		t.Fatalf("ensure %s: %v", e.source, err)
	}
	caps, err := e.b.Caps(ctx, e.source)
	if err != nil {
		t.Fatalf("caps of %s: %v", e.source, err)
	}
	e.caps = caps
	return e
}

// run is one run of a handler.
type run struct {
	message redrive.Message
	began   time.Time
	err     error
}

// books are what handlers did and what workers told.
type books struct {
	mu       sync.Mutex
	runs     map[string][]run
	running  map[string]int
	together []string
	events   []redrive.Event
}

// Observe implements redrive.Observer.
func (b *books) Observe(e *redrive.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := *e
	if e.Message != nil {
		m := *e.Message
		kept.Message = &m
	}
	b.events = append(b.events, kept)
}

// of returns the events of a kind.
func (b *books) of(kind redrive.EventKind) []redrive.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []redrive.Event
	for i := range b.events {
		if b.events[i].Kind == kind {
			found = append(found, b.events[i])
		}
	}
	return found
}

// of one message.
func (b *books) runsOf(body string) []run {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.runs[body])
}

// successes counts the runs of a message that returned nil.
func (b *books) successes(body string) int {
	n := 0
	for _, r := range b.runsOf(body) {
		if r.err == nil {
			n++
		}
	}
	return n
}

// handled counts the messages with a run that returned nil.
func (b *books) handled() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, runs := range b.runs {
		if slices.ContainsFunc(runs, func(r run) bool { return r.err == nil }) {
			n++
		}
	}
	return n
}

// plan says how the n-th run of a message ends, counted from 0.
type plan func(ctx context.Context, m *redrive.Message, n int) error

// handler books every run.
func (b *books) handler(p plan) redrive.Handler {
	return func(ctx context.Context, m *redrive.Message) error {
		body, began := string(m.Body), time.Now()
		b.mu.Lock()
		n := len(b.runs[body]) + b.running[body]
		if b.running[body]++; b.running[body] > 1 {
			b.together = append(b.together, body)
		}
		b.mu.Unlock()
		err := p(ctx, m, n)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.running[body]--
		b.runs[body] = append(b.runs[body], run{message: *m, began: began, err: err})
		return err
	}
}

// worker is a running worker.
type worker struct {
	*redrive.Worker
	stop func() error
}

// start runs a worker until stop, which may be called often, or the end of the
// case.
func (e *bench) start(b broker.Broker, p plan, edit ...func(*redrive.Config)) *worker {
	e.Helper()
	c := redrive.Config{
		Source: e.source, Name: "workertest", Lease: e.h.Lease, Concurrency: 4,
		StopTimeout: e.h.Tolerance, SettleTimeout: e.h.Tolerance, Observers: []redrive.Observer{e.books},
	}
	c.Policy.Retry.Strategy = retry.Strategy{Base: 50 * time.Millisecond, Max: 200 * time.Millisecond}
	for _, f := range edit {
		f(&c)
	}
	w, err := redrive.NewWorker(b, e.books.handler(p), c)
	if err != nil {
		e.Fatalf("worker: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.ctx))
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	e.Cleanup(func() { _ = stop() })
	return &worker{w, stop}
}

// dies makes a worker that is stopped give up soon, as if its process had died. What
// it writes before that needs the time that a broker takes to answer.
func dies(c *redrive.Config) {
	c.StopTimeout, c.SettleTimeout = time.Millisecond, 500*time.Millisecond
}

// publish stores messages with these bodies.
func (e *bench) publish(bodies ...string) {
	e.Helper()
	out := make([]broker.Outbound, len(bodies))
	for i, body := range bodies {
		out[i] = e.outbound(body)
	}
	e.publishAll(out...)
}

func (e *bench) outbound(body string) broker.Outbound {
	return broker.Outbound{Queue: e.source, ID: "pub:" + e.source + "/" + body, Body: []byte(body)}
}

func (e *bench) publishAll(out ...broker.Outbound) {
	e.Helper()
	for i, err := range e.b.Publish(e.ctx, out) {
		if err != nil {
			e.Fatalf("publish message %d of %d: %v", i+1, len(out), err)
		}
	}
}

// wait lets time pass.
func (e *bench) wait(d time.Duration) {
	e.Helper()
	if !pass(e.ctx, d) {
		e.Fatalf("waiting for %v: %v", d, e.ctx.Err())
	}
}

// pass waits, and reports whether the context let it.
func pass(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// until polls ok, which says what is still missing, until it says nothing.
func (e *bench) until(within time.Duration, ok func() string) {
	e.Helper()
	for end := time.Now().Add(within); ; {
		missing := ok()
		if missing == "" {
			return
		}
		if time.Now().After(end) || !pass(e.ctx, 20*time.Millisecond) {
			e.Fatalf("after %v: %s", within, missing)
		}
	}
}

// drained waits until nothing is left in the source and the retry queue.
func (e *bench) drained(within time.Duration) {
	e.Helper()
	var empty time.Time
	e.until(within, func() string {
		exact := true
		for _, queue := range []string{e.source, e.names.Retry} {
			st, err := e.b.Stats(e.ctx, queue)
			exact = exact && st.Exact
			if err != nil || st.Depth() > 0 {
				empty = time.Time{}
			}
			if err != nil {
				return fmt.Sprintf("stats of %s: %v", queue, err)
			}
			if st.Depth() > 0 {
				return fmt.Sprintf("%s still has %d ready, %d in flight, %d delayed", queue, st.Ready, st.InFlight, st.Delayed)
			}
		}
		if empty.IsZero() {
			empty = time.Now()
		}
		if !exact && time.Since(empty) < statsLag {
			return "the queues are empty, as far as the broker has noticed"
		}
		return ""
	})
}

// statsLag is how late a broker whose counts are not exact may tell of messages
// that are in hand: RabbitMQ looks every five seconds.
const statsLag = 6 * time.Second

// patience is the longest time that a message of a dead client and its retries
// may take to end.
func (e *bench) patience() time.Duration { return 8*e.h.Lease + 2*e.h.Tolerance }

// letters returns all letters of a queue.
func (e *bench) letters(queue string) []broker.Letter {
	e.Helper()
	view, err := e.b.Letters(e.ctx, queue)
	if err != nil {
		e.Fatalf("letters of %s: %v", queue, err)
	}
	var all []broker.Letter
	if view.Mode() == broker.DrainOnly {
		err := view.Drain(e.ctx, 100, func(_ context.Context, got []broker.Letter) error {
			all = append(all, got...)
			return nil
		})
		if err != nil {
			e.Fatalf("drain %s: %v", queue, err)
		}
		return all
	}
	const page = 100
	for cursor := broker.Cursor(""); ; {
		got, next, err := view.Scan(e.ctx, cursor, page)
		if err != nil {
			e.Fatalf("scan %s: %v", queue, err)
		}
		if all = append(all, got...); len(got) < page {
			return all
		}
		cursor = next
	}
}

// once fails unless each message was handled exactly once.
func (e *bench) once(bodies ...string) {
	e.Helper()
	for _, body := range bodies {
		if n := e.books.successes(body); n != 1 {
			e.Errorf("%q was handled %d times, want once", body, n)
		}
	}
}

// apart fails if a message ever ran twice at the same time.
func (e *bench) apart() {
	e.Helper()
	e.books.mu.Lock()
	defer e.books.mu.Unlock()
	if len(e.books.together) > 0 {
		e.Errorf("messages ran twice at the same time: %q", e.books.together)
	}
}

func numbered(what string, n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprintf("%s %d", what, i)
	}
	return bodies
}

var errAway = errors.New("downstream is away")

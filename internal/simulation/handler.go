package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive"
)

// run is one run of the handler.
type run struct {
	p        *process
	id       int
	start    int64
	delivery *delivery
	alone    bool
	ended    bool
	stuck    bool
	outage   bool // what it called was away
	sure     bool // delivery is the one for certain
}

// handler plays the script of each message.
func (w *world) handler(p *process) redrive.Handler {
	return func(ctx context.Context, m *redrive.Message) (err error) {
		p.alive()
		r := w.books.begin(p, m)
		if r == nil {
			return redrive.Schema(errors.New("a message that nobody published"))
		}
		panicking := true
		defer func() {
			if !r.ended {
				w.books.end(r, err, panicking)
			}
		}()
		err = w.play(ctx, r, &w.plan.messages[r.id])
		panicking = false
		return err
	}
}

// play does what the script of the message says.
func (w *world) play(ctx context.Context, r *run, m *message) error {
	again := w.books.turn(r) <= m.times
	if err := m.verdict(again); err != nil {
		return err
	}
	s := w.sched
	limit, grace := w.plan.policy.HandlerTimeout, w.plan.policy.HandlerGrace
	blind := context.WithoutCancel(ctx) // of a handler that does not look at its context
	switch {
	case m.kind == kills && again, m.kind == killer:
		w.die(r)
	case m.kind == slow:
		s.sleep(ctx, int64(m.takes))
	case m.kind == stuck && again:
		s.sleep(blind, int64(limit+grace)+s.random.Int64N(int64(5*time.Minute)))
	case m.kind == dependent:
		err := redrive.Dependency(ctx, "bank", func(ctx context.Context) error { return w.downstream(ctx, r, w.plan.bank) })
		if err != nil {
			return fmt.Errorf("charge: %w", err)
		}
	}
	if err := w.downstream(ctx, r, w.plan.outages); err != nil {
		return err
	}
	if m.kind == late {
		s.sleep(blind, int64(limit)+s.random.Int64N(int64(grace)))
	}
	return w.commit(blind, r)
}

// verdict is how a run ends before anything is called, nil if it goes on.
func (m *message) verdict(again bool) error {
	fail := errors.New("no stock")
	switch m.kind {
	case forever:
		return redrive.Transient(fail)
	case schema:
		return redrive.Schema(fail)
	case business:
		return redrive.Business(fail)
	case integration:
		return redrive.Integration(fail)
	case requested:
		return redrive.Quarantine(fail)
	case panicsForever:
		panic(fail.Error()) //nolint:forbidigo // as handlers do
	case transient, unclassified, retryAfter, throttled, panics:
		if again {
			return m.passing(fail)
		}
	case works, slow, late, stuck, kills, killer, dependent, kindEnd:
	}
	return nil
}

// passing is a failure that comes some times and then no more.
func (m *message) passing(fail error) error {
	switch m.kind { //nolint:exhaustive // the other kinds do not fail like this
	case transient:
		return redrive.Transient(fail)
	case retryAfter:
		return redrive.RetryAfter(m.takes, fail)
	case throttled:
		return redrive.Throttled(m.takes, fail)
	case panics:
		panic(fail.Error()) //nolint:forbidigo // as handlers do
	}
	return fail
}

// die kills the process from inside of the handler.
func (w *world) die(r *run) {
	w.sched.yield()
	r.p.alive()
	r.p.kill(fmt.Sprintf("by m%d", r.id))
	panic(killed{}) //nolint:forbidigo // the rest of the handler does not happen
}

// downstream is a call to what the handler needs.
func (w *world) downstream(ctx context.Context, r *run, away []outage) error {
	s := w.sched
	s.sleep(ctx, s.random.Int64N(int64(50*time.Millisecond)))
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("call: %w", err)
	}
	if w.healed {
		return nil
	}
	for i := range away {
		o := &away[i]
		if !o.contains(s.now) {
			continue
		}
		r.outage = true
		w.books.called(r.p, r.id, o)
		if !o.hangs {
			return redrive.Transient(errors.New("connection refused"))
		}
		s.sleep(ctx, int64(o.to)-s.now)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("call: %w", err)
		}
		return redrive.Transient(errors.New("connection reset"))
	}
	if within(w.plan.flaky, s.now) && s.random.IntN(3) == 0 {
		return redrive.Transient(errors.New("one bad answer"))
	}
	return nil
}

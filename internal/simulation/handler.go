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

func (w *world) play(ctx context.Context, r *run, m *message) error {
	s := w.sched
	turn := w.books.turn(r)
	again := turn <= m.times
	fail := errors.New("no stock")
	switch m.kind {
	case transient:
		if again {
			return redrive.Transient(fail)
		}
	case forever:
		return redrive.Transient(fail)
	case unclassified:
		if again {
			return fail
		}
	case retryAfter:
		if again {
			return redrive.RetryAfter(m.takes, fail)
		}
	case throttled:
		if again {
			return redrive.Throttled(m.takes, fail)
		}
	case schema:
		return redrive.Schema(fail)
	case business:
		return redrive.Business(fail)
	case integration:
		return redrive.Integration(fail)
	case requested:
		return redrive.Quarantine(fail)
	case panics:
		if again {
			panic(fail.Error())
		}
	case panicsForever:
		panic(fail.Error())
	case kills:
		if again {
			w.die(r)
		}
	case killer:
		w.die(r)
	case slow:
		s.sleep(int64(m.takes), ctx)
	case late:
		if err := w.downstream(ctx, r, w.plan.outages); err != nil {
			return err
		}
		s.sleep(int64(w.plan.policy.HandlerTimeout)+s.random.Int64N(int64(w.plan.policy.HandlerGrace)), nil)
		return w.commit(context.WithoutCancel(ctx), r)
	case stuck:
		if again {
			s.sleep(int64(w.plan.policy.HandlerTimeout+w.plan.policy.HandlerGrace)+s.random.Int64N(int64(5*time.Minute)), nil)
		}
	case dependent:
		err := redrive.Dependency(ctx, "bank", func(ctx context.Context) error { return w.downstream(ctx, r, w.plan.bank) })
		if err != nil {
			return fmt.Errorf("charge: %w", err)
		}
	case works, kindEnd:
	}
	if err := w.downstream(ctx, r, w.plan.outages); err != nil {
		return err
	}
	return w.commit(context.WithoutCancel(ctx), r)
}

// die kills the process from inside of the handler.
func (w *world) die(r *run) {
	w.sched.yield()
	r.p.alive()
	r.p.kill(fmt.Sprintf("by m%d", r.id))
	panic(killed{})
}

// downstream is a call to what the handler needs.
func (w *world) downstream(ctx context.Context, r *run, away []outage) error {
	s := w.sched
	s.sleep(s.random.Int64N(int64(50*time.Millisecond)), ctx)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("call: %w", err)
	}
	if w.healed {
		return nil
	}
	for _, o := range away {
		if !o.contains(s.now) {
			continue
		}
		r.outage = true
		w.books.callsInOutage++
		if !o.hangs {
			return redrive.Transient(errors.New("connection refused"))
		}
		s.sleep(int64(o.to)-s.now, ctx)
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

package redrive_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/redrivetest"
)

// hanging is an inbox that does not answer until the caller gives up.
type hanging struct {
	idempotency.Store
	down atomic.Bool
}

func (h *hanging) Claim(ctx context.Context, key, group, fingerprint string, lease time.Duration) (idempotency.Result, error) {
	if h.down.Load() {
		<-ctx.Done()
		return idempotency.Result{}, ctx.Err()
	}
	return h.Store.Claim(ctx, key, group, fingerprint, lease)
}

func TestAnInboxThatHangsIsWaitedForAndLeavesNoTrace(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("a", "b", "c", "d", "e", "f")
		store := &hanging{Store: idempotency.NewMemory()}
		store.down.Store(true)
		s := newScript(nil)
		b.start(nil, s.handle, func(c *redrive.Config) {
			c.Inbox, c.Concurrency = store, 2
			c.Policy.HandlerTimeout, c.SettleTimeout = 5*time.Second, 20*time.Second
		})
		pass(time.Minute)
		store.down.Store(false)
		pass(time.Minute)
		if got := b.events.count(redrive.EventHandled); got != 6 {
			t.Errorf("%d handled a minute after the inbox came back, want 6", got)
		}
		if m := s.call("a", 0); m.Attempt != 1 {
			t.Errorf("waiting for the inbox cost attempts: %d", m.Attempt)
		}
	})
}

func TestANotedMoveSurvivesSeveralWorkers(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("bad")
		s := newScript(map[string][]error{"bad": always(redrive.Business(errors.New("no")))})
		for range 4 {
			full := redrivetest.FailDead("*.dlq").Every(1).With(broker.ErrFull)
			_, stop := b.start(redrivetest.Inject(b.broker.Client(), full), s.handle, nil)
			pass(5 * time.Second)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		}
		b.start(nil, s.handle, nil)
		pass(5 * time.Second)
		b.want("orders.dlq", "bad")
		if s.runs("bad") != 1 {
			t.Errorf("the handler ran %d times for one decision", s.runs("bad"))
		}
	})
}

func TestAThrottledDependencyHoldsOnlyItsCallers(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("p")
		var calls atomic.Int64
		w, _ := b.start(nil, func(ctx context.Context, m *redrive.Message) error {
			if m.Body[0] != 'p' {
				return nil
			}
			return redrive.Dependency(ctx, "bank", func(context.Context) error {
				if calls.Add(1) == 1 {
					return redrive.Throttled(5*time.Minute, errors.New("429"))
				}
				return nil
			})
		}, nil)
		pass(time.Second)
		b.publish("x", "y")
		pass(time.Second)
		if got := b.events.count(redrive.EventHandled); got != 2 {
			t.Errorf("%d of the others handled, want 2", got)
		}
		if w.Snapshot().Breaker.Openings != 0 {
			t.Error("the subscription was held")
		}
		pass(6 * time.Minute)
		if got := b.events.count(redrive.EventHandled); got != 3 || calls.Load() != 2 {
			t.Errorf("%d handled after %d calls, want 3 after 2", got, calls.Load())
		}
	})
}

func TestAHandlerThatEndsItsGoroutineIsACrash(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("exit", "fine")
		b.start(nil, func(_ context.Context, m *redrive.Message) error {
			if string(m.Body) == "exit" {
				runtime.Goexit()
			}
			return nil
		}, func(c *redrive.Config) { c.Policy.Retry.Attempts = 2 })
		pass(time.Minute)
		b.want("orders.dlq.quarantine.crash", "exit")
		if got := b.events.count(redrive.EventHandled); got != 1 {
			t.Errorf("%d handled, want 1", got)
		}
	})
}

// Messages that do not need a dependency say nothing about it: its outage
// dead-letters nobody, however well the others fare.
func TestAnOutageOfADependencyIsNotPoison(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		var away atomic.Bool
		away.Store(true)
		b.publish("p")
		b.start(nil, func(ctx context.Context, m *redrive.Message) error {
			if m.Body[0] != 'p' {
				return nil
			}
			return redrive.Dependency(ctx, "bank", func(context.Context) error {
				if away.Load() {
					return errors.New("connection refused")
				}
				return nil
			})
		}, func(c *redrive.Config) { c.Policy.Retry.Attempts = 2 })
		for n := range 60 {
			b.publish(fmt.Sprint("x", n))
			pass(time.Second)
		}
		if got := b.events.count(redrive.EventDeadLettered) + b.events.count(redrive.EventQuarantined); got != 0 {
			t.Errorf("%d dead-lettered or quarantined by the outage", got)
		}
		away.Store(false)
		pass(2 * time.Minute)
		if got := b.events.count(redrive.EventHandled); got != 61 {
			t.Errorf("%d handled, want 61", got)
		}
	})
}

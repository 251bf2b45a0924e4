package redrive_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

// outage is a time in which everything that a handler calls is away.
type outage struct {
	interval   time.Duration // between two messages
	before     time.Duration
	length     time.Duration
	after      time.Duration
	hang       bool          // calls hang to the handler's timeout instead of failing at once
	probeLimit time.Duration // from healing to the first success
	drainLimit time.Duration // from the first success to an empty backlog
}

// Nothing is dead-lettered by an outage, the downstream is spared while it is
// ill, and the backlog is gone soon after it is well.
func TestOutages(t *testing.T) {
	cases := map[string]outage{
		"60 s at 280 messages a second": {
			interval: time.Second / 280, before: 10 * time.Second, length: time.Minute, after: 80 * time.Second,
			probeLimit: 36 * time.Second, drainLimit: 15 * time.Second,
		},
		"60 s of hanging calls at 280 messages a second": {
			interval: time.Second / 280, before: 10 * time.Second, length: time.Minute, after: 120 * time.Second, hang: true,
			probeLimit: 66 * time.Second, drainLimit: 15 * time.Second,
		},
		"10 min at 1 message a minute": {
			interval: time.Minute, before: 5 * time.Minute, length: 10 * time.Minute, after: 10 * time.Minute,
			probeLimit: 36 * time.Second, drainLimit: 15 * time.Second,
		},
		"10 min of hanging calls at 1 message a minute": {
			interval: time.Minute, before: 5 * time.Minute, length: 10 * time.Minute, after: 10 * time.Minute, hang: true,
			probeLimit: 66 * time.Second, drainLimit: 15 * time.Second,
		},
		"20 min at 1 message a minute, longer than messages are held": {
			interval: time.Minute, before: 5 * time.Minute, length: 20 * time.Minute, after: 10 * time.Minute,
			probeLimit: 36 * time.Second, drainLimit: 15 * time.Second,
		},
	}
	for name, o := range cases {
		t.Run(name, func(t *testing.T) { inBubble(t, o.run) })
	}
}

func (o outage) run(t *testing.T, b *bench) {
	t.Helper()
	begin := time.Now()
	down, healed := begin.Add(o.before), begin.Add(o.before+o.length)
	var calls, handled atomic.Int64
	var firstSuccess atomic.Int64
	h := func(ctx context.Context, _ *redrive.Message) error {
		now := time.Now()
		if now.Before(down) || !now.Before(healed) {
			<-time.After(5 * time.Millisecond)
			if !now.Before(healed) {
				firstSuccess.CompareAndSwap(0, time.Now().UnixNano())
			}
			handled.Add(1)
			return nil
		}
		calls.Add(1)
		if o.hang {
			<-ctx.Done()
			return fmt.Errorf("call the bank: %w", ctx.Err())
		}
		return failure.AsTransient(errors.New("connection refused"))
	}
	w, _ := b.start(nil, h, func(c *redrive.Config) { c.Concurrency, c.MaxInFlight = 64, 256 })
	published := int64(0)
	drained := time.Time{}
	step := min(o.interval, 100*time.Millisecond)
	for at, next := begin, begin; at.Before(healed.Add(o.after)); at = at.Add(step) {
		<-time.After(time.Until(at))
		if !at.Before(next) {
			next = next.Add(o.interval)
			published++
			errs := b.broker.Publish(b.ctx, []broker.Outbound{{Queue: source, ID: fmt.Sprintf("pub:%d", published), Body: fmt.Appendf(nil, "m%d", published)}})
			if errs[0] != nil {
				t.Fatal(errs[0])
			}
		}
		if drained.IsZero() && firstSuccess.Load() != 0 && handled.Load() >= published-64 && b.depth("orders.retry") == 0 {
			drained = time.Now()
		}
	}
	pass(2 * time.Minute)
	if got := b.depth("orders.dlq") + b.depth("orders.dlq.quarantine.transient"); got != 0 {
		t.Errorf("%d messages dead-lettered by an outage", got)
	}
	if handled.Load() != published {
		t.Errorf("%d of %d handled", handled.Load(), published)
	}
	if calls.Load() >= 100 {
		t.Errorf("%d calls during the outage, want fewer than 100", calls.Load())
	}
	first := time.Unix(0, firstSuccess.Load())
	if got := first.Sub(healed); got > o.probeLimit {
		t.Errorf("first success %s after healing, want at most %s", got, o.probeLimit)
	}
	if got := drained.Sub(first); drained.IsZero() || got > o.drainLimit {
		t.Errorf("drained %s after the first success, want at most %s", got, o.drainLimit)
	}
	t.Logf("%d calls, first success %s after healing, drained %s later, %d openings",
		calls.Load(), first.Sub(healed), drained.Sub(first), w.Snapshot().Breaker.Openings)
}

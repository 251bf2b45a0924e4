package redrive_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/idempotency"
)

// patient gives handlers an hour and claims a minute.
func patient(inbox idempotency.Store) func(*redrive.Config) {
	return func(c *redrive.Config) {
		c.Policy.HandlerTimeout, c.Inbox, c.InboxLease, c.IdempotencyHeader = time.Hour, inbox, time.Minute, "id"
	}
}

func (b *bench) publishWithID(id string) {
	b.t.Helper()
	out := broker.Outbound{Queue: source, Body: []byte(id), Headers: []broker.Header{{Name: "id", Value: []byte(id)}}}
	if err := b.broker.Client().Publish(b.ctx, []broker.Outbound{out})[0]; err != nil {
		b.t.Fatal(err)
	}
}

func TestAClaimIsExtendedWhileTheHandlerRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		inbox := idempotency.NewMemory()
		scope := idempotency.Scope(source, broker.DefaultGroup)
		digest := "another body"
		b.start(nil, func(context.Context, *redrive.Message) error {
			<-time.After(10 * time.Minute)
			return nil
		}, patient(inbox))
		b.publishWithID("k")
		for range 59 {
			pass(10 * time.Second)
			r, err := inbox.Claim(b.ctx, "k", scope, digest, time.Minute)
			if err != nil || r.State != idempotency.Busy {
				t.Fatalf("the claim is %v, %v while the handler runs, want busy", r.State, err)
			}
		}
		pass(time.Minute)
		if r, err := inbox.Claim(b.ctx, "k", scope, digest, time.Minute); err != nil || r.State != idempotency.Conflict {
			t.Errorf("the claim is %v, %v after the handler, want one that is done", r.State, err)
		}
		if b.depth(source) != 0 || b.events.count(redrive.EventHandled) != 1 {
			t.Errorf("%d messages are left, %d handled", b.depth(source), b.events.count(redrive.EventHandled))
		}
	})
}

// deaf is an inbox whose extensions are lost, until somebody else has the claim.
type deaf struct {
	*idempotency.Memory
	lost atomic.Bool
}

func (d *deaf) Extend(ctx context.Context, c idempotency.Claim, lease time.Duration) error {
	if !d.lost.Load() {
		return context.DeadlineExceeded
	}
	return d.Memory.Extend(ctx, c, lease)
}

func TestALostClaimCancelsTheHandlerAndSettlesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		inbox := &deaf{Memory: idempotency.NewMemory()}
		var cause error
		runs := 0
		_, stop := b.start(nil, func(ctx context.Context, _ *redrive.Message) error {
			if runs++; runs > 1 {
				return nil
			}
			<-ctx.Done()
			cause = context.Cause(ctx)
			return ctx.Err()
		}, patient(inbox))
		b.publishWithID("k")
		pass(61 * time.Second)
		scope := idempotency.Scope(source, broker.DefaultGroup)
		r, err := inbox.Claim(b.ctx, "k", scope, "f", time.Minute)
		if err != nil || r.State != idempotency.Claimed {
			t.Fatalf("the claim is %v, %v after its lease, want it free", r.State, err)
		}
		inbox.lost.Store(true)
		pass(30 * time.Second)
		if cause == nil {
			t.Fatal("the handler goes on without its claim")
		}
		if b.depth(source) != 1 || b.events.count(redrive.EventFailed) != 0 || b.events.count(redrive.EventReleased) == 0 {
			t.Errorf("%d messages are left, %d failures told, %d releases; want 1, 0 and some",
				b.depth(source), b.events.count(redrive.EventFailed), b.events.count(redrive.EventReleased))
		}
		if err := inbox.Release(b.ctx, r.Claim); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Minute)
		if runs != 2 || b.depth(source) != 0 {
			t.Errorf("%d runs and %d messages left, want 2 and 0", runs, b.depth(source))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestInboxLeaseOfAnInboxThatExtends(t *testing.T) {
	c := redrive.Config{Source: source, Inbox: idempotency.NewMemory(), Policy: redrive.Policy{HandlerTimeout: time.Hour}}
	if got := c.WithDefaults().InboxLease; got != 40*time.Second {
		t.Errorf("default is %v, want 40 s: nobody waits an hour for a process that died", got)
	}
	c.InboxLease = 20 * time.Second
	if c.Validate() == nil {
		t.Error("an InboxLease below Lease is accepted")
	}
	plain := struct{ idempotency.Store }{idempotency.NewMemory()}
	c.Inbox, c.InboxLease = plain, time.Minute
	if c.Validate() == nil {
		t.Error("an InboxLease below the handler's time is accepted of an inbox that does not extend")
	}
}

package redrive_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/idempotency"
)

// What the simulation has found, each as a test of its own: seeds change their
// meaning with the generator.

// hardOfHearing is a broker that does not hear the first Pause and Resume calls.
type hardOfHearing struct {
	broker.Broker
	pauses, resumes, failures atomic.Int64
}

func (d *hardOfHearing) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	sub, err := d.Broker.Open(ctx, spec)
	return &hardOfHearingSub{sub, d}, err
}

type hardOfHearingSub struct {
	broker.Subscription
	broker *hardOfHearing
}

func (s *hardOfHearingSub) Pause(ctx context.Context) error {
	s.broker.pauses.Add(1)
	return s.Subscription.Pause(ctx)
}

func (s *hardOfHearingSub) Resume(ctx context.Context) error {
	s.broker.resumes.Add(1)
	if s.broker.failures.Add(-1) >= 0 {
		return errors.New("connection reset")
	}
	return s.Subscription.Resume(ctx)
}

func TestAResumeThatFailsIsRepeated(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		over := &hardOfHearing{Broker: b.broker.Client()}
		over.failures.Store(3)
		var calls atomic.Int64
		b.publish("a")
		b.start(over, func(context.Context, *redrive.Message) error {
			if calls.Add(1) == 1 {
				return failure.Throttled(10*time.Second, errors.New("429"))
			}
			return nil
		}, func(c *redrive.Config) { c.Concurrency, c.MaxInFlight = 1, 1 })
		pass(time.Minute)
		if b.events.count(redrive.EventHandled) != 1 {
			t.Errorf("the message was not handled after %d pauses and %d resumes", over.pauses.Load(), over.resumes.Load())
		}
		if n := over.resumes.Load(); n < 4 || n > 20 {
			t.Errorf("%d calls of Resume, want one more than failed", n)
		}
	})
}

// ahead is an inbox whose clock is a day ahead of the worker's.
type ahead struct {
	idempotency.Store
	claims atomic.Int64
}

func (a *ahead) Claim(ctx context.Context, key, group, fingerprint string, lease time.Duration) (idempotency.Result, error) {
	if a.claims.Add(1) == 1 {
		return idempotency.Result{State: idempotency.Busy, BusyUntil: time.Now().Add(24*time.Hour + lease/2)}, nil
	}
	return a.Store.Claim(ctx, key, group, fingerprint, lease)
}

func TestAnotherClaimIsWaitedForNoLongerThanALease(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("a")
		b.start(nil, newScript(nil).handle, func(c *redrive.Config) {
			c.Inbox = &ahead{Store: idempotency.NewMemory()}
		})
		pass(3 * time.Minute)
		if b.events.count(redrive.EventHandled) != 1 {
			t.Error("the message waits for hours, because the clock of the inbox is another one")
		}
	})
}

// sluggish is an inbox that takes its time to complete a claim.
type sluggish struct{ idempotency.Store }

func (s sluggish) Complete(ctx context.Context, c idempotency.Claim) error {
	select {
	case <-time.After(8 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.Store.Complete(ctx, c)
}

func TestASlowInboxCostsNoAttempt(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("a")
		b.start(nil, newScript(nil).handle, func(c *redrive.Config) {
			c.Inbox = sluggish{idempotency.NewMemory()}
			c.Policy.HandlerTimeout, c.Policy.HandlerGrace, c.SettleTimeout = 2*time.Second, time.Second, 10*time.Second
		})
		pass(3 * time.Minute)
		if h, f := b.events.count(redrive.EventHandled), b.events.count(redrive.EventFailed); h != 1 || f != 0 {
			t.Errorf("handled %d times, failed %d times; the inbox needs 8 of its 10 s", h, f)
		}
	})
}

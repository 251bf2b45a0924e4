package brokertest_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest"
)

// linkSabotages are adapters that misread a lost connection, or what they promise
// about it.
func linkSabotages() []sabotage {
	unknown := func(err error) bool { return errors.Is(err, broker.ErrUnknown) }
	return []sabotage{
		{name: "no answer is a confirmation", send: func(b broker.Broker, ctx context.Context, ms []broker.Outbound) []error {
			errs := b.Publish(ctx, ms)
			for i, err := range errs {
				if unknown(err) {
					errs[i] = nil
				}
			}
			return errs
		}},
		{name: "no answer is a refusal", send: func(b broker.Broker, ctx context.Context, ms []broker.Outbound) []error {
			errs := b.Publish(ctx, ms)
			for i, err := range errs {
				if unknown(err) {
					errs[i] = errors.New("refused")
				}
			}
			return errs
		}},
		{name: "no answer is a settlement", settle: func(d *saboteur, ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
			r, err := d.Delivery.Settle(ctx, o)
			if unknown(err) {
				err = nil
			}
			return r, err
		}},
		{name: "a repeat takes the copy for made", settle: repeatWithoutCopy()},
		{name: "no answer is a lost lease", extend: func(d *saboteur, ctx context.Context, by time.Duration) error {
			if err := d.Delivery.Extend(ctx, by); err != nil {
				return broker.ErrLeaseLost
			}
			return nil
		}},
		{name: "a lost lease is no answer", settle: func(d *saboteur, ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
			r, err := d.Delivery.Settle(ctx, o)
			if errors.Is(err, broker.ErrLeaseLost) {
				err = broker.ErrUnknown
			}
			return r, err
		}},
		{name: "marks are not waited for", mark: func(d *saboteur, ctx context.Context, m broker.Mark) error {
			_ = d.Delivery.Mark(ctx, m)
			return nil
		}},
		{name: "trouble looks like nothing", silent: true},
		{name: "deaf after trouble", sub: func(s broker.Subscription) broker.Subscription { return &deafSub{Subscription: s} }},
		{name: "order claimed", caps: func(c *broker.Caps) { c.Ordered = true }},
		{name: "restart forgets the source", restart: func(b *redrivetest.Broker) { forget(b, broker.KindSource) }},
	}
}

// repeatWithoutCopy only settles the original when a move is repeated after an
// unknown outcome.
func repeatWithoutCopy() func(*saboteur, context.Context, broker.Outcome) (broker.Receipt, error) {
	var failed sync.Map
	return func(d *saboteur, ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
		if _, again := failed.Load(d); again {
			return d.Delivery.Settle(ctx, broker.Done{})
		}
		r, err := d.Delivery.Settle(ctx, o)
		if errors.Is(err, broker.ErrUnknown) {
			failed.Store(d, true)
		}
		return r, err
	}
}

// deafSub receives nothing any more once a Receive has failed.
type deafSub struct {
	broker.Subscription
	deaf atomic.Bool
}

func (s *deafSub) Receive(ctx context.Context, max int) ([]broker.Delivery, error) {
	if s.deaf.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	got, err := s.Subscription.Receive(ctx, max)
	if errors.Is(err, broker.ErrUnknown) {
		s.deaf.Store(true)
	}
	return got, err
}

// deadSub is a subscription that was never opened.
type deadSub struct{ broker.Subscription }

func (deadSub) Receive(ctx context.Context, _ int) ([]broker.Delivery, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (deadSub) Close(context.Context) error { return nil }

package mutant

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
)

// settle replaces Delivery.Settle.
type settle func(context.Context, *delivery, broker.Outcome) (broker.Receipt, error)

// atBroker returns the settlement of a mutant whose seam is the broker.
func atBroker(name string) (settle, bool) {
	switch name {
	case AckFirst:
		return ackFirst, true
	case UnconfirmedPublish:
		return unconfirmed, true
	case TimestampedKey:
		return timestamped, true
	case HistoryDropped:
		return withoutHistory, true
	case ReleaseAsCrash:
		return unexplained, true
	}
	return nil, false
}

type mutated struct {
	broker.Broker
	name   string
	settle settle

	mu     sync.Mutex
	linger []broker.Outbound
	stamps int
}

// flush sends what lingers. Nobody learns of its errors: that is the mutation.
func (b *mutated) flush(ctx context.Context) {
	b.mu.Lock()
	out := slices.Clone(b.linger)
	b.linger = nil
	b.mu.Unlock()
	if len(out) > 0 {
		b.Broker.Publish(context.WithoutCancel(ctx), out)
	}
}

func (b *mutated) Publish(ctx context.Context, messages []broker.Outbound) []error {
	b.flush(ctx)
	if b.name == TimestampedKey {
		messages = slices.Clone(messages)
		for i := range messages {
			messages[i].ID = b.stamp(messages[i].ID)
			messages[i].Envelope = b.stampEnvelope(messages[i].Envelope)
		}
	}
	return b.Broker.Publish(ctx, messages)
}

func (b *mutated) Stats(ctx context.Context, queue string) (broker.Stats, error) {
	b.flush(ctx)
	return b.Broker.Stats(ctx, queue)
}

func (b *mutated) Letters(ctx context.Context, queue string) (broker.Letters, error) {
	b.flush(ctx)
	return b.Broker.Letters(ctx, queue)
}

func (b *mutated) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	b.flush(ctx)
	sub, err := b.Broker.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &subscription{Subscription: sub, broker: b, names: broker.NamesFor(spec.Source, spec.Group)}, nil
}

// stamp adds the time to an id. The counter keeps stamps apart where the clock
// is coarse or virtual.
func (b *mutated) stamp(id string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stamps++
	return fmt.Sprintf("%s:%d:%d", id, time.Now().UnixNano(), b.stamps)
}

func (b *mutated) stampEnvelope(raw []byte) []byte {
	e, err := envelope.Decode(raw)
	if err != nil {
		return raw
	}
	e.Key = b.stamp(e.Key)
	out, _, err := envelope.Encode(e, envelope.MaxEncoded)
	if err != nil {
		return raw
	}
	return out
}

type subscription struct {
	broker.Subscription
	broker *mutated
	names  broker.Names
}

func (s *subscription) Receive(ctx context.Context, max int) ([]broker.Delivery, error) {
	s.broker.flush(ctx)
	got, err := s.Subscription.Receive(ctx, max)
	return s.wrap(got), err
}

// TryReceive is that of the wrapped subscription, if it has one.
func (s *subscription) TryReceive(now time.Time, max int) ([]broker.Delivery, error) {
	try, ok := s.Subscription.(interface {
		TryReceive(now time.Time, max int) ([]broker.Delivery, error)
	})
	if !ok {
		return nil, fmt.Errorf("receive without waiting: %w", broker.ErrUnsupported)
	}
	s.broker.flush(context.Background())
	got, err := try.TryReceive(now, max)
	return s.wrap(got), err
}

func (s *subscription) wrap(got []broker.Delivery) []broker.Delivery {
	for i, d := range got {
		got[i] = &delivery{Delivery: d, sub: s}
	}
	return got
}

type delivery struct {
	broker.Delivery
	sub *subscription

	mu    sync.Mutex
	acked bool
}

func (d *delivery) Settle(ctx context.Context, outcome broker.Outcome) (broker.Receipt, error) {
	return d.sub.broker.settle(ctx, d, outcome)
}

// copyOf returns the copy that the outcome asks for, false if it asks for none.
func (d *delivery) copyOf(outcome broker.Outcome) (broker.Outbound, bool) {
	m := d.Msg()
	out := broker.Outbound{Key: m.Key, Body: m.Body, Headers: m.Headers, ExpiresAt: m.ExpiresAt}
	switch o := outcome.(type) {
	case broker.Retry:
		out.Queue, out.ID, out.Envelope = d.sub.names.Retry, o.PublishID, o.Envelope
	case broker.Dead:
		out.Queue, out.ID, out.Envelope = o.Queue, o.PublishID, o.Envelope
	default:
		return out, false
	}
	return out, true
}

func ackFirst(ctx context.Context, d *delivery, outcome broker.Outcome) (broker.Receipt, error) {
	out, moves := d.copyOf(outcome)
	if !moves {
		return d.Delivery.Settle(ctx, outcome)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.acked {
		if _, err := d.Delivery.Settle(ctx, broker.Done{}); err != nil {
			return broker.Receipt{}, err
		}
		d.acked = true
	}
	return broker.Receipt{}, d.sub.broker.Broker.Publish(ctx, []broker.Outbound{out})[0]
}

func unconfirmed(ctx context.Context, d *delivery, outcome broker.Outcome) (broker.Receipt, error) {
	d.sub.broker.flush(ctx)
	out, moves := d.copyOf(outcome)
	if !moves {
		return d.Delivery.Settle(ctx, outcome)
	}
	if _, err := d.Delivery.Settle(ctx, broker.Done{}); err != nil {
		return broker.Receipt{}, err
	}
	b := d.sub.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	b.linger = append(b.linger, out)
	return broker.Receipt{}, nil
}

func timestamped(ctx context.Context, d *delivery, outcome broker.Outcome) (broker.Receipt, error) {
	b := d.sub.broker
	switch o := outcome.(type) {
	case broker.Retry:
		o.PublishID, o.Envelope = b.stamp(o.PublishID), b.stampEnvelope(o.Envelope)
		outcome = o
	case broker.Dead:
		o.PublishID, o.Envelope = b.stamp(o.PublishID), b.stampEnvelope(o.Envelope)
		outcome = o
	}
	return d.Delivery.Settle(ctx, outcome)
}

func withoutHistory(ctx context.Context, d *delivery, outcome broker.Outcome) (broker.Receipt, error) {
	if o, ok := outcome.(broker.Retry); ok {
		o.Envelope = nil
		outcome = o
	}
	return d.Delivery.Settle(ctx, outcome)
}

// unexplained gives back with the note as it was before this delivery.
func unexplained(ctx context.Context, d *delivery, outcome broker.Outcome) (broker.Receipt, error) {
	if o, ok := outcome.(broker.Release); ok {
		o.Mark.Explained = max(0, o.Mark.Explained-1)
		outcome = o
	}
	return d.Delivery.Settle(ctx, outcome)
}

package demo

import (
	"context"
	"slices"
	"sync"

	"github.com/redrive-dev/redrive/broker"
)

// The moments of a move at which a worker is killed.
const (
	// strikeAfter: the broker has confirmed, and the worker has not been told.
	strikeAfter = "after"
	// strikeBefore: the broker has not been asked.
	strikeBefore = "before"
	// strikeDuring: the broker is being asked.
	strikeDuring = "during"
)

// strikeOrder asks a worker to tell when it makes its next move of an order that
// fails, and to stand still there until it is killed.
type strikeOrder struct {
	Moment string `json:"moment"`
	// Except are orders that were struck before: one that is struck each time would
	// rightly be taken for a killer.
	Except []uint64 `json:"except,omitempty"`
}

// strikes makes a worker stand still in the middle of a move. It lies below the
// mutants, so that it stands between a settled message and the copy that a wrong
// broker had yet to make.
type strikes struct {
	plan Plan
	// tell reports the order that is being moved. It must be quick.
	tell func(id uint64)

	mu    sync.Mutex
	armed *strikeOrder
}

func (s *strikes) arm(order strikeOrder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = &order
}

// take returns the moment to strike at if this is the move that was asked for.
func (s *strikes) take(m *broker.Message) (id uint64, moment string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.armed == nil {
		return 0, ""
	}
	id, ok := orderID(m.Header(headerOrder))
	if !ok || slices.Contains(s.armed.Except, id) {
		return 0, ""
	}
	switch kind, _ := s.plan.Of(id); {
	case kind == Malformed, kind == Refused, kind == Brief && m.Envelope == nil:
		// The first run of a brief one always fails.
	default:
		return 0, ""
	}
	moment = s.armed.Moment
	s.armed = nil
	return id, moment
}

// strikeBroker is a broker whose moves can be struck.
type strikeBroker struct {
	broker.Broker
	strikes *strikes
}

func (b strikeBroker) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	sub, err := b.Broker.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return strikeSubscription{sub, b.strikes}, nil
}

type strikeSubscription struct {
	broker.Subscription
	strikes *strikes
}

func (s strikeSubscription) Receive(ctx context.Context, max int) ([]broker.Delivery, error) {
	got, err := s.Subscription.Receive(ctx, max)
	for i, d := range got {
		got[i] = strikeDelivery{d, s.strikes}
	}
	return got, err
}

type strikeDelivery struct {
	broker.Delivery
	strikes *strikes
}

func (d strikeDelivery) Settle(ctx context.Context, outcome broker.Outcome) (broker.Receipt, error) {
	if _, release := outcome.(broker.Release); release {
		return d.Delivery.Settle(ctx, outcome)
	}
	id, moment := d.strikes.take(d.Msg())
	switch moment {
	case strikeBefore:
		d.strikes.tell(id)
		<-ctx.Done()
		return broker.Receipt{}, context.Cause(ctx)
	case strikeDuring:
		d.strikes.tell(id)
	}
	receipt, err := d.Delivery.Settle(ctx, outcome)
	if moment == strikeAfter && err == nil {
		d.strikes.tell(id)
		<-ctx.Done()
	}
	return receipt, err
}

package inprocess

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/bench/rounds"
	"github.com/redrive-dev/redrive/broker"
)

const (
	workerName = "worker over a broker that costs nothing"
	loopName   = "the same broker in a bare loop"

	concurrency = 64
	window      = 256
	bodySize    = 1024
)

// stub is a broker that always has messages and settles them at once. All
// deliveries are one object, so that what is left is the worker's own path.
type stub struct {
	broker.Broker
	total int64
}

func (b *stub) Caps(context.Context, string) (broker.Caps, error) {
	return broker.Caps{Marks: true, Count: broker.CountExact, StableIdentity: true}, nil
}

func (b *stub) Open(context.Context, broker.Spec) (broker.Subscription, error) {
	return &stubSubscription{left: b.total, delivery: stubDelivery{
		msg: broker.Message{ID: "pub:1", Body: make([]byte, bodySize), Time: time.Now()},
	}}, nil
}

// Publish takes heartbeats.
func (b *stub) Publish(_ context.Context, messages []broker.Outbound) []error {
	return make([]error, len(messages))
}

type stubSubscription struct {
	left     int64
	delivery stubDelivery
}

func (s *stubSubscription) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	n := min(int64(limit), s.left)
	if n <= 0 {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	s.left -= n
	out := make([]broker.Delivery, n)
	for i := range out {
		out[i] = &s.delivery
	}
	return out, nil
}

func (s *stubSubscription) Pause(context.Context) error  { return nil }
func (s *stubSubscription) Resume(context.Context) error { return nil }
func (s *stubSubscription) Drain(context.Context) error  { return nil }
func (s *stubSubscription) Close(context.Context) error  { return nil }

type stubDelivery struct{ msg broker.Message }

func (d *stubDelivery) Msg() *broker.Message { return &d.msg }

func (d *stubDelivery) Identity() broker.Incarnation {
	return broker.Incarnation{Cluster: "c", Queue: "q", Position: "1"}
}

func (d *stubDelivery) Deliveries() broker.Deliveries {
	return broker.Deliveries{Kind: broker.CountExact}
}

func (d *stubDelivery) Extend(context.Context, time.Duration) error { return nil }
func (d *stubDelivery) Mark(context.Context, broker.Mark) error     { return nil }

func (d *stubDelivery) Settle(context.Context, broker.Outcome) (broker.Receipt, error) {
	return broker.Receipt{}, nil
}

func (t timer) worker() []rounds.Subject {
	return []rounds.Subject{
		{Name: workerName, Measure: func(ctx context.Context) (rounds.Sample, error) {
			return t.loop(func() (loop, error) {
				return func(n int) error { return runWorker(ctx, int64(n)) }, nil
			})(ctx)
		}},
		{Name: loopName, Measure: func(ctx context.Context) (rounds.Sample, error) {
			return t.loop(func() (loop, error) {
				return func(n int) error { return runLoop(ctx, int64(n)) }, nil
			})(ctx)
		}},
	}
}

// runWorker handles n messages with the default policy, the timeout of the handler
// included.
func runWorker(ctx context.Context, n int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var handled atomic.Int64
	w, err := redrive.NewWorker(&stub{total: n}, func(context.Context, *redrive.Message) error {
		if handled.Add(1) == n {
			cancel()
		}
		return nil
	}, redrive.Config{Source: "orders", Concurrency: concurrency, MaxInFlight: window})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// runLoop does what has to be done without a worker: receive, call, settle.
func runLoop(ctx context.Context, n int64) error {
	s, err := (&stub{total: n}).Open(ctx, broker.Spec{})
	if err != nil {
		return err
	}
	var handled atomic.Int64
	for handled.Load() < n {
		batch, err := s.Receive(ctx, concurrency)
		if err != nil {
			return err
		}
		for _, d := range batch {
			if len(d.Msg().Body) == bodySize {
				handled.Add(1)
			}
			if _, err := d.Settle(ctx, broker.Done{}); err != nil {
				return err
			}
		}
	}
	return nil
}

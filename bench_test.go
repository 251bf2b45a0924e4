package redrive_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
)

// instant is a broker that always has messages and settles them at once: what is
// measured is the worker's own path.
type instant struct {
	broker.Broker
	left  atomic.Int64
	calls atomic.Int64
}

func (b *instant) Caps(context.Context, string) (broker.Caps, error) {
	return broker.Caps{Marks: true, Count: broker.CountExact, StableIdentity: true}, nil
}

func (b *instant) Open(context.Context, broker.Spec) (broker.Subscription, error) {
	return &instantSub{broker: b, msg: broker.Message{ID: "pub:1", Body: make([]byte, 1024), Time: time.Now()}}, nil
}

// Publish takes heartbeats.
func (b *instant) Publish(_ context.Context, m []broker.Outbound) []error {
	return make([]error, len(m))
}

type instantSub struct {
	broker *instant
	msg    broker.Message
	given  int64
	calls  int64
}

func (s *instantSub) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	total := s.broker.left.Load()
	n := min(int64(limit), total-s.given)
	if n <= 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s.given += n
	s.calls++
	s.broker.calls.Store(s.calls)
	out := make([]broker.Delivery, n)
	for i := range out {
		out[i] = (*instantDelivery)(s)
	}
	return out, nil
}

func (s *instantSub) Pause(context.Context) error  { return nil }
func (s *instantSub) Resume(context.Context) error { return nil }
func (s *instantSub) Drain(context.Context) error  { return nil }
func (s *instantSub) Close(context.Context) error  { return nil }

type instantDelivery instantSub

func (d *instantDelivery) Msg() *broker.Message { return &d.msg }

func (d *instantDelivery) Identity() broker.Incarnation {
	return broker.Incarnation{Cluster: "c", Queue: "q", Position: "1"}
}

func (d *instantDelivery) Deliveries() broker.Deliveries {
	return broker.Deliveries{Kind: broker.CountExact}
}

func (d *instantDelivery) Extend(context.Context, time.Duration) error { return nil }
func (d *instantDelivery) Mark(context.Context, broker.Mark) error     { return nil }

func (d *instantDelivery) Settle(context.Context, broker.Outcome) (broker.Receipt, error) {
	return broker.Receipt{}, nil
}

// BenchmarkWorker measures the own path of the worker for a message that is handled:
// everything between the Receive that brings it and the Settle that ends it, over a
// broker that has messages at once and settles in no time. The handler counts to
// tell the end; its timeout is on, as always. What the broker itself costs is one
// slice per Receive, which is in the figure.
func BenchmarkWorker(b *testing.B) {
	for _, concurrency := range []int{16, 64} {
		b.Run(fmt.Sprint("concurrency=", concurrency), func(b *testing.B) { benchmarkWorker(b, concurrency) })
	}
}

func benchmarkWorker(b *testing.B, concurrency int) {
	b.Helper()
	src := &instant{}
	src.left.Store(int64(b.N))
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var handled atomic.Int64
	w, err := redrive.NewWorker(src, func(context.Context, *redrive.Message) error {
		if handled.Add(1) == int64(b.N) {
			cancel()
		}
		return nil
	}, redrive.Config{Source: source, Concurrency: concurrency})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	if err := w.Run(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/float64(src.calls.Load()), "msg/receive")
}

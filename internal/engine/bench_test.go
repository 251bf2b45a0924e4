package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/failure"
)

type nowhere struct{ message broker.Message }

func (n *nowhere) Msg() *broker.Message                        { return &n.message }
func (n *nowhere) Identity() broker.Incarnation                { return broker.Incarnation{Position: "1"} }
func (n *nowhere) Deliveries() broker.Deliveries               { return broker.Deliveries{} }
func (n *nowhere) Extend(context.Context, time.Duration) error { return nil }
func (n *nowhere) Mark(context.Context, broker.Mark) error     { return nil }
func (n *nowhere) Settle(context.Context, broker.Outcome) (r broker.Receipt, err error) {
	return r, nil
}

func benchmarkMachine(b *testing.B) *Machine {
	b.Helper()
	p := decision.Policy{}.WithDefaults()
	p.Breaker.Consecutive, p.Breaker.FailureRate = -1, -1
	m, err := New(Config{
		Source: "orders", Group: "default", Worker: "w", Policy: p, Caps: broker.Caps{Marks: true, Count: broker.CountExact},
		Concurrency: 16, MaxInFlight: 64, Lease: 30 * time.Second, Seed: 7,
	})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// BenchmarkFailedAttempt is what one failing attempt costs in memory: its error is
// classified, told to the breaker, decided upon, charged to the retry budget and
// recorded in the history. Signature and envelope have benchmarks of their own.
func BenchmarkFailedAttempt(b *testing.B) {
	m := benchmarkMachine(b)
	d, down := &nowhere{}, errors.New("dial tcp 10.0.3.17:5432: connect: connection refused")
	out := make([]Action, 0, 8)
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	it := new(Item) // Part of what the worker keeps of each message.
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		*it = Item{Delivery: d, Env: &m.fresh, state: stateRunning, since: now, started: now}
		it.permit, _ = m.breaker.AllowClosed()
		f := failure.Classify(down)
		res := Result{Fact: decision.Failed, Failure: &f, Signature: "s1:0123456789abcdef", Key: "k"}
		it.history(m).Key = res.Key
		out = m.conclude(now, it, &res, out[:0])
		if it.Env.Count != 1 || out[len(out)-1].Verdict.Action != decision.Retry {
			b.Fatalf("got %+v", out)
		}
	}
}

// BenchmarkHandled is what the machine does for a message that is handled, in its
// three steps.
func BenchmarkHandled(b *testing.B) {
	m := benchmarkMachine(b)
	d := &nowhere{}
	out := make([]Action, 0, 8)
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	out = m.Start(now, out)
	items, it := make([]*Item, 1), &Item{}
	res := &Result{Fact: decision.Handled}
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		*it = Item{Delivery: d}
		items[0] = it
		out = m.Received(now, items, nil, out[:0])
		out = m.Finished(now, it, res, out[:0])
		out = m.Settled(now, it, nil, out[:0])
		if it.state != stateGone {
			b.Fatal("not settled")
		}
	}
}

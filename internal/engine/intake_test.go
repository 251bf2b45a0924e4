package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/internal/engine"
)

// flow drives a machine in a test that looks at what is asked of the broker.
type flow struct {
	t       *testing.T
	m       *engine.Machine
	now     time.Time
	n       int
	asked   []int // sizes of the Receives so far
	running []*engine.Item
	moving  []*engine.Item
	marks   []broker.Mark
}

func newFlow(t *testing.T, concurrency, window int) *flow {
	t.Helper()
	m, err := engine.New(engine.Config{
		Source: "orders", Group: "default", Worker: "w",
		Policy: decision.Policy{}.WithDefaults(), Caps: broker.Caps{Count: broker.CountExact},
		Concurrency: concurrency, MaxInFlight: window, Lease: time.Hour, Seed: 7,
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{t: t, m: m, now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}
	f.do(m.Start(f.now, nil))
	return f
}

func (f *flow) do(actions []engine.Action) {
	for i := range actions {
		switch a := &actions[i]; a.Kind {
		case engine.Receive:
			f.asked = append(f.asked, a.Max)
		case engine.Run:
			f.running = append(f.running, a.Item)
		case engine.Settle:
			f.moving = append(f.moving, a.Item)
		case engine.StoreMark:
			f.marks = append(f.marks, a.Mark)
		case engine.Cancel, engine.Extend, engine.PauseIntake, engine.Notify:
		}
	}
}

// receive answers the newest Receive in full.
func (f *flow) receive() {
	items := make([]*engine.Item, f.asked[len(f.asked)-1])
	for i := range items {
		f.n++
		items[i] = &engine.Item{Delivery: stored{fmt.Sprintf("%06d", f.n)}}
	}
	f.do(f.m.Received(f.now, items, nil, nil))
}

func (f *flow) finish(n int) {
	for range n {
		it := f.running[0]
		f.running = f.running[1:]
		f.do(f.m.Finished(f.now, it, &engine.Result{Fact: decision.Handled}, nil))
	}
}

func (f *flow) settle(n int, err error) {
	for range n {
		it := f.moving[0]
		f.moving = f.moving[1:]
		f.do(f.m.Settled(f.now, it, err, nil))
	}
}

// full fills the window of a machine.
func (f *flow) full() {
	f.t.Helper()
	for served := 0; served < len(f.asked); {
		f.receive()
		served++
	}
	f.asked = nil
}

func (f *flow) want(sizes ...int) {
	f.t.Helper()
	if fmt.Sprint(f.asked) != fmt.Sprint(sizes) {
		f.t.Fatalf("asked for %v, want %v", f.asked, sizes)
	}
	f.asked = nil
}

// A request costs the broker about as much as a message: while handlers have
// enough to do, messages are asked for by a quarter of the window.
func TestIntakeWaitsForABatch(t *testing.T) {
	f := newFlow(t, 4, 16)
	f.full()
	f.finish(3)
	f.settle(3, nil)
	f.want()
	f.finish(1)
	f.settle(1, nil)
	f.want(4)
}

// A settlement under way will make more room soon.
func TestIntakeWaitsForSettlements(t *testing.T) {
	f := newFlow(t, 4, 4)
	f.full()
	f.finish(4)
	f.want()
	f.settle(1, nil)
	f.want(1) // A quarter of four.
	f.settle(3, nil)
	f.want()
	f.do(f.m.Received(f.now, nil, nil, nil))
	f.want(4)
}

// When nothing else will make room, a little of it is enough: handlers that take
// long and moves that fail must not keep the others waiting.
func TestIntakeNeverWaitsForNothing(t *testing.T) {
	f := newFlow(t, 16, 16)
	f.full()
	f.finish(1)
	f.settle(1, nil)
	f.want(1)

	f = newFlow(t, 16, 16)
	f.full()
	f.finish(16)
	f.settle(15, broker.ErrFull)
	f.want(4) // They stay, and take nobody's place.
}

package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/internal/engine"
)

// newFlowWith is newFlow on a broker that keeps marks.
func newFlowWith(t *testing.T, caps broker.Caps, p decision.Policy) *flow {
	t.Helper()
	m, err := engine.New(engine.Config{
		Source: "orders", Group: "default", Worker: "w", Policy: p.WithDefaults(), Caps: caps,
		Concurrency: 8, MaxInFlight: 8, Lease: time.Hour, Seed: 7,
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{t: t, m: m, now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}
	f.do(m.Start(f.now, nil))
	return f
}

// deliver answers the newest Receive with these items.
func (f *flow) deliver(items ...*engine.Item) {
	f.do(f.m.Received(f.now, items, nil, nil))
}

// pass lets time go on, with all ticks.
func (f *flow) pass(d time.Duration) {
	for end := f.now.Add(d); ; {
		next := f.m.Next()
		if next.IsZero() || next.After(end) {
			f.now = end
			return
		}
		f.now = next
		f.do(f.m.Tick(f.now, nil))
	}
}

// A suspect whose handler did not return in its grace still runs: nothing may run
// beside it, and what waits for it is given back when it was held for long
// enough.
func TestAStuckSuspectStillRunsAlone(t *testing.T) {
	f := newFlowWith(t, broker.Caps{Marks: true, Count: broker.CountExact, MaxRelease: time.Hour}, decision.Policy{})
	suspect := &engine.Item{Delivery: stored{"000001"}, Deliveries: broker.Deliveries{Earlier: 2, Kind: broker.CountExact}}
	f.deliver(suspect, &engine.Item{Delivery: stored{"000002"}})
	f.do(f.m.Marked(f.now, suspect, nil, nil))
	if len(f.running) != 1 || f.running[0] != suspect {
		t.Fatalf("%d handlers run, want the suspect alone", len(f.running))
	}
	f.asked = nil
	f.pass(2 * time.Minute)
	if s := f.m.Snapshot(f.now); len(f.running) != 1 || !s.Stalled || s.Stuck != 1 || s.Waiting != 1 {
		t.Errorf("beside a stuck suspect: %d handlers started, %+v", len(f.running), s)
	}
	f.want()
	f.pass(10 * time.Minute)
	if s := f.m.Snapshot(f.now); s.Waiting != 0 {
		t.Errorf("%d messages wait for a handler that does not return", s.Waiting)
	}
	f.settle(len(f.moving), nil)
	f.do(f.m.Finished(f.now, suspect, &engine.Result{Fact: decision.Handled}, nil))
	if s := f.m.Snapshot(f.now); s.Stalled || s.Stuck != 0 || len(f.asked) != 1 {
		t.Errorf("after it returned: %+v, asked %v", s, f.asked)
	}
}

// A suspect that has returned is cleared when its move is confirmed: if the next one
// killed the process before that, the first would come again with one start alone
// more, and end as a killer that it is not.
func TestTheNextSuspectWaitsForTheMoveOfTheLast(t *testing.T) {
	for name, fact := range map[string]decision.Fact{"handled": decision.Handled, "given back": decision.Interrupted} {
		t.Run(name, func(t *testing.T) {
			f := newFlowWith(t, broker.Caps{Marks: true, Count: broker.CountExact}, decision.Policy{})
			suspicious := broker.Deliveries{Earlier: 2, Kind: broker.CountExact}
			first := &engine.Item{Delivery: stored{"000001"}, Deliveries: suspicious}
			second := &engine.Item{Delivery: stored{"000002"}, Deliveries: suspicious}
			f.deliver(first, second)
			f.do(f.m.Marked(f.now, first, nil, nil))
			f.do(f.m.Finished(f.now, first, &engine.Result{Fact: fact}, nil))
			if s := f.m.Snapshot(f.now); s.Moving != 1 || s.Alone || s.Suspects != 1 {
				t.Fatalf("while the first is settled: %+v", s)
			}
			f.do(f.m.Settled(f.now, first, nil, nil))
			if s := f.m.Snapshot(f.now); !s.Alone || s.Suspects != 0 {
				t.Errorf("when it is settled: %+v", s)
			}
			f.do(f.m.Marked(f.now, second, nil, nil))
			if len(f.running) != 2 || f.running[1] != second {
				t.Errorf("%d handlers were started, want the second suspect at last", len(f.running))
			}
		})
	}
}

// What must not come back yet is held where the broker cannot delay a release, and
// takes nobody's place meanwhile.
func TestAReleaseThatTheBrokerCannotDelayIsHeld(t *testing.T) {
	for _, c := range []struct{ most, wait time.Duration }{
		{0, 30 * time.Second}, {10 * time.Second, 20 * time.Second}, {30 * time.Second, 0},
	} {
		f := newFlowWith(t, broker.Caps{Count: broker.CountExact, MaxRelease: c.most}, decision.Policy{})
		var newer []*engine.Item
		for range 8 {
			newer = append(newer, &engine.Item{Delivery: stored{"000001"}, Newer: true})
		}
		f.deliver(newer...)
		if c.wait == 0 {
			if len(f.moving) != 8 {
				t.Errorf("%d released at once, want all", len(f.moving))
			}
			continue
		}
		if len(f.moving) != 0 || f.m.Snapshot(f.now).Staying != 8 {
			t.Errorf("limit %s: %d released at once, %+v", c.most, len(f.moving), f.m.Snapshot(f.now))
		}
		if n := f.asked[len(f.asked)-1]; n != 8 {
			t.Errorf("limit %s: asked for %d beside what is held, want 8", c.most, n)
		}
		f.pass(c.wait - time.Millisecond)
		if len(f.moving) != 0 {
			t.Errorf("limit %s: released early", c.most)
		}
		f.pass(time.Millisecond)
		if len(f.moving) != 8 || f.m.Snapshot(f.now).Staying != 0 {
			t.Errorf("limit %s: %d released after %s", c.most, len(f.moving), c.wait)
		}
	}
}

// A stop gives back at once what is held for later, and a lost lease ends it.
func TestWhatIsHeldForLaterIsGivenUp(t *testing.T) {
	f := newFlowWith(t, broker.Caps{Count: broker.CountExact}, decision.Policy{})
	a, b := &engine.Item{Delivery: stored{"000001"}, Newer: true}, &engine.Item{Delivery: stored{"000002"}, Newer: true}
	f.deliver(a, b)
	f.do(f.m.Extended(f.now, a, true, nil))
	f.do(f.m.Stop(f.now, nil))
	if !slices.Equal(f.moving, []*engine.Item{b}) {
		t.Errorf("%d given back, want the one whose lease is ours", len(f.moving))
	}
	f.do(f.m.Settled(f.now, b, nil, nil))
	if s := f.m.Snapshot(f.now); s.Staying != 0 {
		t.Errorf("%+v", s)
	}
}

// A suspect that returned without a verdict of its own, and is kept here because the
// broker cannot delay it, is cleared at once: the death of the process is not its doing.
func TestASuspectThatIsKeptForLaterIsCleared(t *testing.T) {
	f := newFlowWith(t, broker.Caps{Marks: true, Count: broker.CountExact}, decision.Policy{})
	earlier := broker.Deliveries{Earlier: 3, Kind: broker.CountExact, Mark: broker.Mark{Explained: 1, StartedAlone: 1}}
	suspect := &engine.Item{Delivery: stored{"000001"}, Deliveries: earlier}
	f.deliver(suspect)
	if want := (broker.Mark{Explained: 1, StartedAlone: 2}); !slices.Equal(f.marks, []broker.Mark{want}) {
		t.Fatalf("marks before it starts: %+v, want %+v", f.marks, want)
	}
	f.do(f.m.Marked(f.now, suspect, nil, nil))
	f.do(f.m.Finished(f.now, suspect, &engine.Result{Fact: decision.InboxBusy, Until: f.now.Add(time.Minute)}, nil))
	want := broker.Mark{Explained: 2, StartedAlone: 1}
	if len(f.moving) != 0 || len(f.marks) != 2 || f.marks[1] != want {
		t.Fatalf("kept for later: %d moves, marks %+v, want %+v", len(f.moving), f.marks, want)
	}
	f.do(f.m.Marked(f.now, suspect, nil, nil))
	f.pass(time.Minute)
	if len(f.moving) != 1 {
		t.Errorf("%d given back after its time, want 1", len(f.moving))
	}
}

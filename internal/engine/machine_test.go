package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/internal/engine"
)

// stored is a delivery that nobody asks to do anything: the test answers for the
// broker.
type stored struct{ position string }

func (s stored) Msg() *broker.Message { return &broker.Message{} }

func (s stored) Identity() broker.Incarnation { return broker.Incarnation{Position: s.position} }

func (s stored) Deliveries() broker.Deliveries                                        { return broker.Deliveries{} }
func (s stored) Extend(context.Context, time.Duration) error                          { return nil }
func (s stored) Mark(context.Context, broker.Mark) error                              { return nil }
func (s stored) Settle(context.Context, broker.Outcome) (r broker.Receipt, err error) { return r, nil }

// harness drives a machine with any order of events and checks, at each step,
// that the driver is never asked for something that makes no sense.
type harness struct {
	t   *rapid.T
	m   *engine.Machine
	cfg engine.Config
	now time.Time
	n   int

	receiving int // the size asked for, 0 if no Receive is under way
	running   map[*engine.Item]bool
	cancelled map[*engine.Item]bool
	abandoned map[*engine.Item]bool
	settling  map[*engine.Item]decision.Verdict
	marking   map[*engine.Item]bool
	reporting map[*engine.Item]bool
	reported  map[*engine.Item]bool // confirmed, or given up on
	alive     map[*engine.Item]bool
	lost      map[*engine.Item]bool
	alone     *engine.Item
	stopping  bool
	settled   int
	dropped   int
}

func newHarness(t *rapid.T) *harness {
	cfg := engine.Config{
		Source: "orders", Group: "default", Worker: "w",
		Policy: decision.Policy{}.WithDefaults(), Caps: broker.Caps{Marks: true, Count: broker.CountExact},
		Concurrency: rapid.IntRange(1, 6).Draw(t, "concurrency"), Lease: 30 * time.Second, Seed: 7,
	}
	cfg.MaxInFlight = cfg.Concurrency * rapid.IntRange(1, 4).Draw(t, "window")
	m, err := engine.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{
		t: t, m: m, cfg: cfg, now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
		running: map[*engine.Item]bool{}, cancelled: map[*engine.Item]bool{}, abandoned: map[*engine.Item]bool{},
		settling: map[*engine.Item]decision.Verdict{}, marking: map[*engine.Item]bool{},
		reporting: map[*engine.Item]bool{}, reported: map[*engine.Item]bool{}, alive: map[*engine.Item]bool{}, lost: map[*engine.Item]bool{},
	}
	h.do(m.Start(h.now, nil))
	return h
}

// do checks and books the actions.
func (h *harness) do(actions []engine.Action) {
	for i := range actions {
		a := &actions[i]
		switch a.Kind {
		case engine.Receive:
			if h.receiving > 0 || h.stopping || a.Max < 1 {
				h.t.Fatalf("asked to receive %d while receiving %d, stopping %v", a.Max, h.receiving, h.stopping)
			}
			if busy := len(h.alive) - h.m.Snapshot(h.now).Staying; a.Max+busy > h.cfg.MaxInFlight {
				h.t.Fatalf("asked for %d with %d of %d in flight", a.Max, busy, h.cfg.MaxInFlight)
			}
			h.receiving = a.Max
		case engine.Run:
			h.run(a.Item)
		case engine.Cancel:
			h.cancelled[a.Item] = true
		case engine.Settle:
			h.settle(a)
		case engine.Report:
			h.inherit(a.Item)
			if h.reporting[a.Item] || h.settlingHas(a.Item) || h.running[a.Item] || a.Item.Env.Replays == 0 || !final(a.Verdict) {
				h.t.Fatalf("asked to report %+v of an item that runs, moves or was not replayed", a.Verdict)
			}
			h.reporting[a.Item] = true
		case engine.StoreMark:
			if a.Mark.StartedAlone > a.Item.Deliveries.Mark.StartedAlone {
				if len(h.running) > 0 {
					h.t.Fatal("a suspect is about to run beside another handler")
				}
				h.alone = a.Item
			}
			h.marking[a.Item] = true
		case engine.Notify:
			if a.Event == engine.EventOutcomeLost {
				h.reported[a.Item] = true
			}
			if a.Event == engine.EventLeaseLost {
				h.inherit(a.Item)
				delete(h.alive, a.Item)
				h.dropped++
			}
		case engine.Extend, engine.PauseIntake:
		}
	}
}

func (h *harness) run(it *engine.Item) {
	if h.running[it] || h.settlingHas(it) || h.stopping {
		h.t.Fatalf("asked to run an item that is running %v, moving %v, while stopping %v", h.running[it], h.settlingHas(it), h.stopping)
	}
	if h.alone != nil && h.alone != it {
		h.t.Fatal("a handler starts while a suspect runs alone")
	}
	h.running[it] = true
	if len(h.running) > h.cfg.Concurrency {
		h.t.Fatalf("%d handlers with a concurrency of %d", len(h.running), h.cfg.Concurrency)
	}
}

func (h *harness) settlingHas(it *engine.Item) bool {
	_, ok := h.settling[it]
	return ok
}

func (h *harness) settle(a *engine.Action) {
	it := a.Item
	h.inherit(it)
	if h.running[it] || h.settlingHas(it) {
		h.t.Fatalf("asked to settle an item that is running %v, moving %v", h.running[it], h.settlingHas(it))
	}
	if a.Verdict.Action.Place() == 0 {
		h.t.Fatalf("a settlement without a place: %+v", a.Verdict)
	}
	if it.Env.Replays > 0 && final(a.Verdict) && !h.reported[it] || h.reporting[it] {
		h.t.Fatalf("a replayed message is settled with %+v before its outcome is confirmed", a.Verdict)
	}
	h.settling[it] = a.Verdict
}

func final(v decision.Verdict) bool {
	return v.Action == decision.Settle || v.Action == decision.DeadLetter || v.Action == decision.Quarantine
}

// inherit books the heir of an item whose handler is stuck.
func (h *harness) inherit(it *engine.Item) {
	if h.alive[it] {
		return
	}
	for old := range h.running {
		if old.Delivery == it.Delivery {
			delete(h.running, old)
			delete(h.alive, old)
			h.abandoned[old] = true
			h.unalone(old)
		}
	}
	h.alive[it] = true
}

func (h *harness) unalone(it *engine.Item) {
	if h.alone == it {
		h.alone = nil
	}
}

func pick[V any](t *rapid.T, name string, m map[*engine.Item]V) *engine.Item {
	if len(m) == 0 {
		t.Skip("nothing to pick")
	}
	// In the order of arrival, so that a failing case can be repeated.
	items := make([]*engine.Item, 0, len(m))
	for it := range m {
		items = append(items, it)
	}
	for i := range items {
		for j := i + 1; j < len(items); j++ {
			if position(items[j]) < position(items[i]) {
				items[i], items[j] = items[j], items[i]
			}
		}
	}
	return rapid.SampledFrom(items).Draw(t, name)
}

func position(it *engine.Item) string { return it.Delivery.Identity().Position }

func (h *harness) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"": h.check,
		"receive": func(t *rapid.T) {
			h.t = t
			if h.receiving == 0 {
				t.Skip("not receiving")
			}
			var items []*engine.Item
			for range rapid.IntRange(0, h.receiving).Draw(t, "n") {
				h.n++
				it := &engine.Item{Delivery: stored{fmt.Sprintf("%06d", h.n)}}
				if rapid.Bool().Draw(t, "replayed") {
					it.Env = &envelope.Envelope{Replays: 1}
				}
				it.Deliveries = broker.Deliveries{Kind: broker.CountExact, Earlier: rapid.SampledFrom([]int{0, 0, 0, 0, 1, 3}).Draw(t, "earlier")}
				items = append(items, it)
				h.alive[it] = true
			}
			h.receiving = 0
			h.do(h.m.Received(h.now, items, nil, nil))
		},
		"finish": func(t *rapid.T) {
			h.t = t
			it := pick(t, "item", h.running)
			delete(h.running, it)
			h.unalone(it)
			h.do(h.m.Finished(h.now, it, result(t), nil))
		},
		"finish late": func(t *rapid.T) {
			h.t = t
			it := pick(t, "item", h.abandoned)
			delete(h.abandoned, it)
			h.do(h.m.Finished(h.now, it, result(t), nil))
		},
		"settled": func(t *rapid.T) {
			h.t = t
			it := pick(t, "item", h.settling)
			v := h.settling[it]
			delete(h.settling, it)
			err := rapid.SampledFrom([]error{nil, nil, nil, broker.ErrUnknown, broker.ErrFull, broker.ErrLeaseLost, &broker.TooLargeError{}}).Draw(t, "error")
			if err == nil || v.Action == decision.Release && !errors.Is(err, broker.ErrLeaseLost) && !h.lost[it] {
				delete(h.alive, it)
				h.settled++
			}
			h.do(h.m.Settled(h.now, it, err, nil))
		},
		"reported": func(t *rapid.T) {
			h.t = t
			it := pick(t, "item", h.reporting)
			delete(h.reporting, it)
			err := rapid.SampledFrom([]error{nil, nil, broker.ErrUnknown}).Draw(t, "error")
			h.reported[it] = err == nil
			h.do(h.m.Reported(h.now, it, err, nil))
		},
		"marked": func(t *rapid.T) {
			h.t = t
			it := pick(t, "item", h.marking)
			delete(h.marking, it)
			err := rapid.SampledFrom([]error{nil, nil, broker.ErrUnknown}).Draw(t, "error")
			if err != nil || h.stopping || h.lost[it] {
				h.unalone(it)
			}
			h.do(h.m.Marked(h.now, it, err, nil))
			if !h.running[it] {
				h.unalone(it)
			}
		},
		"lease lost": func(t *rapid.T) {
			h.t = t
			it := pick(t, "item", h.alive)
			h.lost[it] = true
			h.do(h.m.Extended(h.now, it, true, nil))
		},
		"time": func(t *rapid.T) {
			h.t = t
			h.now = h.now.Add(time.Duration(rapid.Int64Range(0, int64(90*time.Second)).Draw(t, "step")))
			h.do(h.m.Tick(h.now, nil))
		},
		"stop": func(t *rapid.T) {
			h.t = t
			if rapid.IntRange(0, 9).Draw(t, "really") > 0 {
				t.Skip("not yet")
			}
			h.stopping = true
			h.do(h.m.Stop(h.now, nil))
		},
	}
}

func result(t *rapid.T) *engine.Result {
	fact := rapid.SampledFrom([]decision.Fact{
		decision.Handled, decision.Handled, decision.Failed, decision.Failed, decision.Interrupted,
		decision.InboxDone, decision.InboxBusy, decision.InboxUnreachable, decision.DependencyOpen,
	}).Draw(t, "fact")
	res := &engine.Result{Fact: fact}
	if fact == decision.Failed || fact == decision.DependencyOpen {
		f := failure.Classify(rapid.SampledFrom([]error{
			failure.AsTransient(errors.New("down")), failure.AsSchema(errors.New("odd")),
			failure.Throttled(time.Second, errors.New("429")), failure.NewPanic("boom", nil),
		}).Draw(t, "error"))
		res.Failure = &f
		res.Signature = "s1:x"
	}
	return res
}

func (h *harness) check(t *rapid.T) {
	s := h.m.Snapshot(h.now)
	if s.Running != len(h.running) {
		t.Fatalf("the machine counts %d running, the driver %d", s.Running, len(h.running))
	}
	if s.Moving != len(h.settling) {
		t.Fatalf("the machine counts %d moving, the driver %d", s.Moving, len(h.settling))
	}
	if s.Waiting < 0 || s.Staying < 0 || s.Stuck != len(h.abandoned) {
		t.Fatalf("counters are off: %+v with %d abandoned", s, len(h.abandoned))
	}
}

// drain answers everything kindly until nothing is left: whatever happened
// before, a stopped machine gives every message up in bounded time.
func (h *harness) drain() {
	if !h.stopping {
		h.stopping = true
		h.do(h.m.Stop(h.now, nil))
	}
	for range 10_000 {
		switch {
		case h.receiving > 0:
			h.receiving = 0
			h.do(h.m.Received(h.now, nil, nil, nil))
		case len(h.marking) > 0:
			it := first(h.marking)
			delete(h.marking, it)
			h.unalone(it)
			h.do(h.m.Marked(h.now, it, nil, nil))
		case len(h.running) > 0:
			it := first(h.running)
			delete(h.running, it)
			h.unalone(it)
			h.do(h.m.Finished(h.now, it, &engine.Result{Fact: decision.Handled}, nil))
		case len(h.reporting) > 0:
			it := first(h.reporting)
			delete(h.reporting, it)
			h.reported[it] = true
			h.do(h.m.Reported(h.now, it, nil, nil))
		case len(h.settling) > 0:
			it := first(h.settling)
			delete(h.settling, it)
			delete(h.alive, it)
			h.settled++
			h.do(h.m.Settled(h.now, it, nil, nil))
		case h.m.Idle():
			return
		default:
			h.now = h.now.Add(time.Minute)
			h.do(h.m.Tick(h.now, nil))
		}
	}
	h.t.Fatalf("not idle after a stop: %+v", h.m.Snapshot(h.now))
}

func first[V any](m map[*engine.Item]V) *engine.Item {
	for it := range m {
		return it
	}
	return nil
}

// Whatever happens in whatever order, no handler runs beside a suspect or beyond
// the limit, no message is moved while it runs, and after a stop every message
// has left in exactly one way.
func TestMachineKeepsItsPromisesInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHarness(t)
		t.Repeat(h.actions())
		h.t = t
		h.drain()
		if len(h.alive) != 0 {
			t.Fatalf("%d messages are in no place: %d settled, %d dropped of %d", len(h.alive), h.settled, h.dropped, h.n)
		}
		if h.settled+h.dropped != h.n {
			t.Fatalf("%d settled and %d dropped of %d", h.settled, h.dropped, h.n)
		}
	})
}

// A machine that is told nothing asks for nothing over and over: the next tick
// is always later than the last.
func TestTicksMoveForward(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHarness(t)
		t.Repeat(h.actions())
		h.t = t
		for range 200 {
			next := h.m.Next()
			if next.IsZero() {
				return
			}
			if next.After(h.now) {
				h.now = next
			}
			h.do(h.m.Tick(h.now, nil))
			if again := h.m.Next(); !again.IsZero() && !again.After(h.now) {
				t.Fatalf("a tick at %s asks for the next at %s", h.now, again)
			}
		}
	})
}

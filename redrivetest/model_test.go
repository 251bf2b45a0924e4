package redrivetest_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest"
)

// where a message is for the model. One subscription, so one place at a time.
type place struct {
	queue   string
	since   time.Time // stored
	due     time.Time // no earlier
	until   time.Time // the lease, if out
	earlier int
	mark    broker.Mark
	held    broker.Delivery
}

// world is a model of the broker: a map from body to place.
type world struct {
	b    *redrivetest.Broker
	sub  *redrivetest.Subscription
	now  time.Time
	all  map[string]*place // nil once settled for good
	next int
}

// TestModel drives the broker with random calls and compares each answer with a
// map: nothing is lost, doubled, early, or miscounted.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), all: map[string]*place{}}
		w.b = redrivetest.NewBroker(redrivetest.WithClock(func() time.Time { return w.now }))
		w.open(t)
		t.Repeat(map[string]func(*rapid.T){
			"publish": w.publish, "receive": w.receive, "settle": w.settle, "extend": w.extend, "mark": w.mark,
			"pass": w.pass, "restart": w.restart, "kill": w.kill, "close": w.close, "": w.check,
		})
	})
}

func (w *world) open(t *rapid.T) {
	sub, err := w.b.Subscribe(t.Context(), broker.Spec{Source: "q", Lease: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	w.sub = sub
}

func (w *world) publish(t *rapid.T) {
	body := fmt.Sprint("m", w.next)
	w.next++
	out := broker.Outbound{Queue: "q", ID: "pub:" + body, Body: []byte(body)}
	for range rapid.IntRange(1, 2).Draw(t, "times") {
		if err := w.b.Publish(t.Context(), []broker.Outbound{out})[0]; err != nil {
			t.Fatal(err)
		}
	}
	w.all[body] = &place{queue: "q", since: w.now}
}

// free returns the bodies that can be received now.
func (w *world) free() []string {
	var out []string
	for _, body := range slices.Sorted(maps.Keys(w.all)) {
		if p := w.all[body]; p != nil && p.queue != "q.dlq" && !p.due.After(w.now) && !p.until.After(w.now) {
			out = append(out, body)
		}
	}
	return out
}

func (w *world) receive(t *rapid.T) {
	max := rapid.IntRange(1, 3).Draw(t, "max")
	free := w.free()
	got, err := w.sub.TryReceive(w.now, max)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != min(max, len(free)) {
		t.Fatalf("received %d of at most %d, with %q ready", len(got), max, free)
	}
	for _, d := range got {
		body := string(d.Msg().Body)
		p := w.all[body]
		if !slices.Contains(free, body) {
			t.Fatalf("received %q, ready are %q", body, free)
		}
		want := broker.Deliveries{Earlier: p.earlier, Kind: broker.CountExact, Mark: p.mark}
		if diff := cmp.Diff(want, d.Deliveries()); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", body, diff)
		}
		p.held, p.until = d, w.now.Add(10*time.Second)
		p.earlier++
	}
}

// pick returns a delivery that somebody holds or held, and whether its lease is
// valid.
func (w *world) pick(t *rapid.T) (p *place, body string, valid bool) {
	var bodies []string
	for _, body := range slices.Sorted(maps.Keys(w.all)) {
		if p := w.all[body]; p != nil && p.held != nil {
			bodies = append(bodies, body)
		}
	}
	if len(bodies) == 0 {
		t.Skip("nothing is out")
	}
	body = rapid.SampledFrom(bodies).Draw(t, "body")
	p = w.all[body]
	return p, body, p.until.After(w.now)
}

func (w *world) settle(t *rapid.T) {
	p, body, valid := w.pick(t)
	delay := time.Duration(rapid.IntRange(0, 20).Draw(t, "delay")) * time.Second
	outcome := rapid.SampledFrom([]broker.Outcome{
		broker.Done{},
		broker.Release{After: delay, Mark: broker.Mark{Explained: w.next}},
		broker.Retry{At: w.now.Add(delay)},
		broker.Dead{Queue: "q.dlq"},
	}).Draw(t, "outcome")
	_, err := p.held.Settle(t.Context(), outcome)
	if !valid {
		if !errors.Is(err, broker.ErrLeaseLost) {
			t.Fatalf("settle without a lease: %v", err)
		}
		p.held = nil
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	switch o := outcome.(type) {
	case broker.Done:
		w.all[body] = nil
	case broker.Release:
		mark := p.mark
		if !o.Mark.IsZero() {
			mark = o.Mark
		}
		*p = place{queue: p.queue, since: p.since, due: w.now.Add(delay), earlier: p.earlier, mark: mark}
	case broker.Retry:
		*p = place{queue: "q.retry", since: w.now, due: o.At}
	case broker.Dead:
		*p = place{queue: "q.dlq", since: w.now}
	}
}

func (w *world) extend(t *rapid.T) {
	p, _, valid := w.pick(t)
	d := time.Duration(rapid.IntRange(1, 30).Draw(t, "seconds")) * time.Second
	if err := p.held.Extend(t.Context(), d); (err == nil) != valid {
		t.Fatalf("extend with a valid lease %v: %v", valid, err)
	}
	if valid {
		p.until = w.now.Add(d)
	}
}

func (w *world) mark(t *rapid.T) {
	p, _, valid := w.pick(t)
	m := broker.Mark{StartedAlone: w.next + 1}
	if err := p.held.Mark(t.Context(), m); (err == nil) != valid {
		t.Fatalf("mark with a valid lease %v: %v", valid, err)
	}
	if valid {
		p.mark = m
	}
}

func (w *world) pass(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(1, 15).Draw(t, "seconds")) * time.Second)
}

// drop forgets the deliveries that are out. The broker takes back at once what
// this client holds, what anybody holds, or nothing.
func (w *world) drop(own, anybody bool) {
	for _, p := range w.all {
		if p == nil {
			continue
		}
		if anybody || own && p.held != nil {
			p.until = time.Time{}
		}
		p.held = nil
	}
}

func (w *world) restart(t *rapid.T) {
	w.b.Restart()
	w.drop(true, true)
	if _, err := w.sub.TryReceive(w.now, 1); !errors.Is(err, broker.ErrUnknown) {
		t.Fatalf("first receive after a restart: %v", err)
	}
}

func (w *world) kill(t *rapid.T) {
	w.b.Kill()
	w.drop(false, false)
	w.b = w.b.Client()
	w.open(t)
}

func (w *world) close(t *rapid.T) {
	if err := w.b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.drop(true, false)
	w.b = w.b.Client()
	w.open(t)
}

// check compares depth and age of every queue with a count.
func (w *world) check(t *rapid.T) {
	want := map[string]broker.Stats{"q": {}, "q.retry": {}, "q.dlq": {}}
	for _, p := range w.all {
		if p == nil {
			continue
		}
		st := want[p.queue]
		switch {
		case p.until.After(w.now):
			st.InFlight++
		case p.due.After(w.now):
			st.Delayed++
		default:
			st.Ready++
		}
		if st.Oldest.IsZero() || p.since.Before(st.Oldest) {
			st.Oldest = p.since
		}
		want[p.queue] = st
	}
	for queue, w2 := range want {
		got, err := w.b.Stats(t.Context(), queue)
		if err != nil {
			t.Fatal(err)
		}
		if got.Ready != w2.Ready || got.InFlight != w2.InFlight || got.Delayed != w2.Delayed || !got.Oldest.Equal(w2.Oldest) {
			t.Fatalf("%s: %+v, want %+v", queue, got, w2)
		}
	}
}

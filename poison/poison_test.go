package poison_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/poison"
)

func ExampleConfig_Suspect() {
	c := poison.Config{}.WithDefaults()

	// Delivered three times before; one of them was given back on purpose.
	d := broker.Deliveries{Earlier: 3, Kind: broker.CountExact, Mark: broker.Mark{Explained: 1}}
	fmt.Println(poison.Unexplained(d), c.Suspect(d), c.CrashLoop(d))

	// Started alone three times, and never came back.
	d.Mark.StartedAlone = 3
	fmt.Println(c.CrashLoop(d))
	// Output:
	// 2 true false
	// true
}

func ExampleConfig_Healthy() {
	c := poison.Config{}.WithDefaults()
	fmt.Println(c.Healthy(poison.Peers{Succeeded: 19, Total: 20}))
	fmt.Println(c.Healthy(poison.Peers{Succeeded: 12, Total: 20})) // the downstream is ill
	fmt.Println(c.Healthy(poison.Peers{Succeeded: 9, Total: 9}))   // too few to tell
	// Output:
	// true
	// false
	// false
}

func TestReleasesExplainDeliveries(t *testing.T) {
	c := poison.Config{}.WithDefaults()
	rapid.Check(t, func(t *rapid.T) {
		releases := rapid.IntRange(0, 50).Draw(t, "releases")
		crashes := rapid.IntRange(0, 5).Draw(t, "crashes")
		d := broker.Deliveries{Earlier: releases + crashes, Kind: broker.CountExact, Mark: broker.Mark{Explained: releases}}
		if got, want := c.Suspect(d), crashes >= 2; got != want {
			t.Fatalf("%d releases and %d crashes: suspect = %v, want %v", releases, crashes, got, want)
		}
	})
}

func TestBrokersWithoutCountsMakeNoSuspects(t *testing.T) {
	c := poison.Config{}.WithDefaults()
	for _, kind := range []broker.CountKind{broker.CountNone, broker.CountFlag} {
		if c.Suspect(broker.Deliveries{Earlier: 9, Kind: kind}) {
			t.Errorf("kind %d: suspect without a count that can be trusted", kind)
		}
	}
}

func TestSameCountsOneSignatureOverAllReplays(t *testing.T) {
	history := []envelope.Attempt{{Signature: "a"}, {Signature: "b", Replay: 1}, {Signature: "a", Replay: 2}, {}}
	if got := poison.Same(history, "a"); got != 2 {
		t.Errorf("Same(a) = %d, want 2", got)
	}
	if got := poison.Same(history, ""); got != 0 {
		t.Errorf("Same of no signature = %d, want 0", got)
	}
}

func TestResetKeepsIdentityAndForgetsFailures(t *testing.T) {
	e := envelope.Envelope{ID: "i", Key: "k", Replays: 2, Count: 4, Signature: "s", Attempts: []envelope.Attempt{{}}, Exhausted: time.Unix(1, 0), Reason: envelope.ReasonPoison}
	got := poison.Reset(e)
	if got.ID != "i" || got.Key != "k" || got.Replays != 2 {
		t.Errorf("identity changed: %+v", got)
	}
	if got.Count != 0 || got.Signature != "" || got.Attempts != nil || !got.Exhausted.IsZero() || got.Reason != "" {
		t.Errorf("failures remembered: %+v", got)
	}
	if e.Count != 4 {
		t.Error("Reset changed its argument")
	}
}

// The window agrees with a list of all outcomes, up to the width of a bucket.
func TestWindowAgreesWithAList(t *testing.T) {
	type outcome struct {
		at time.Time
		ok bool
	}
	rapid.Check(t, func(t *rapid.T) {
		const length = time.Minute
		w := poison.NewWindow(length)
		now := time.Unix(1_700_000_000, 0)
		var all []outcome
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "step")))
			o := outcome{now, rapid.Bool().Draw(t, "ok")}
			all = append(all, o)
			w.Add(o.at, o.ok)
			got := w.Count(now)
			var least, most poison.Peers
			for _, o := range all {
				age := now.Sub(o.at)
				if age < length-time.Second {
					add(&least, o.ok)
				}
				if age <= length {
					add(&most, o.ok)
				}
			}
			if got.Total < least.Total || got.Total > most.Total || got.Succeeded < least.Succeeded || got.Succeeded > most.Succeeded {
				t.Fatalf("window counts %+v, a list between %+v and %+v", got, least, most)
			}
		}
	})
}

func add(p *poison.Peers, ok bool) {
	p.Total++
	if ok {
		p.Succeeded++
	}
}

func TestWindowStandsStillWhenTheClockStepsBack(t *testing.T) {
	w := poison.NewWindow(time.Minute)
	now := time.Unix(1_700_000_000, 0)
	w.Add(now, true)
	w.Add(now.Add(-time.Hour), false)
	if got := w.Count(now); got != (poison.Peers{Succeeded: 1, Total: 2}) {
		t.Errorf("got %+v", got)
	}
	if got := w.Count(now.Add(2 * time.Minute)); got != (poison.Peers{}) {
		t.Errorf("after the window: %+v", got)
	}
}

func TestValidateListsEveryProblem(t *testing.T) {
	err := poison.Config{CrashThreshold: -1, Suspicion: -1, Threshold: -1, Ratio: 2, MinVolume: -1, Window: time.Millisecond}.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	if got := len(err.(interface{ Unwrap() []error }).Unwrap()); got != 6 {
		t.Errorf("%d problems listed, want 6: %v", got, err)
	}
	if err := (poison.Config{}).Validate(); err != nil {
		t.Errorf("defaults refused: %v", err)
	}
}

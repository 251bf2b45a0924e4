package config

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/retry"
)

// TestDefaultsAreThoseOfTheLibrary keeps the two sets of defaults equal.
func TestDefaultsAreThoseOfTheLibrary(t *testing.T) {
	t.Parallel()
	got, err := (Config{}).WithDefaults().Defaults.Decision()
	if err != nil {
		t.Fatal(err)
	}
	got = got.WithDefaults()
	want := decision.Policy{}.WithDefaults()
	want.Breaker.ProbeTimeout = got.Breaker.ProbeTimeout // follows handler_timeout
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-library +configuration):\n%s", diff)
	}
}

func TestDecision(t *testing.T) {
	t.Parallel()
	p, err := decodeValid(t, string(full(t))).Config.Subscriptions[1].Decision()
	if err != nil {
		t.Fatal(err)
	}
	want := []retry.Tier{
		{From: 1, To: 2, Category: failure.Transient, Strategy: retry.Strategy{Backoff: retry.Fixed, Jitter: retry.NoJitter, Base: time.Second, Max: 2 * time.Second, Multiplier: 3}},
		{From: 3, Strategy: retry.Strategy{Backoff: retry.Linear, Jitter: retry.Random, Base: 200 * time.Millisecond, Max: time.Minute, Multiplier: 1.5}},
	}
	if diff := cmp.Diff(want, p.Retry.Tiers); diff != "" {
		t.Errorf("tiers (-want +got):\n%s", diff)
	}
	if p.Breaker.Consecutive != -1 || p.Breaker.FailureRate != 0.25 || p.Poison.Suspicion != 3 || p.Budget.Ratio != 0.1 || p.Budget.Life != 30*time.Second || p.LoneHold != 10*time.Minute || p.Breaker.ProbeTimeout != time.Minute {
		t.Errorf("got %+v", p)
	}
}

// TestValidMeansUsable draws policies at random: what this package takes, the
// library takes too, and both forms of the file read back the same.
func TestValidMeansUsable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var p Policy
		draw(rt, reflect.ValueOf(&p).Elem(), "")
		for range rapid.IntRange(0, 3).Draw(rt, "tiers") {
			var tier Tier
			draw(rt, reflect.ValueOf(&tier).Elem(), "tier.")
			p.Retry.Tiers = append(p.Retry.Tiers, tier)
		}
		c := Config{Version: Version, Subscriptions: []Subscription{{Source: "a", Handler: Handler{Sink: SinkDiscard}, Policy: p}}}
		if c.Validate() != nil {
			return
		}
		if _, err := c.WithDefaults().Subscriptions[0].Decision(); err != nil {
			rt.Fatalf("refused by the library: %v", err)
		}
		if diff := cmp.Diff(c.WithDefaults(), c.WithDefaults().WithDefaults()); diff != "" {
			rt.Fatalf("filling in defaults twice (-once +twice):\n%s", diff)
		}
		l, err := Decode("redrive.yaml", encode(t, c))
		if err != nil {
			rt.Fatalf("decode: %v", err)
		}
		roundTrip(t, l)
	})
}

// draw sets some of the scalars of a struct to values in their bounds, the
// bounds themselves often.
func draw(rt *rapid.T, v reflect.Value, path string) {
	for _, s := range Settings(v.Type()) {
		field, at := v.FieldByIndex(s.index), path+s.Name
		if field.Kind() == reflect.Struct {
			draw(rt, field, at+".")
			continue
		}
		if field.Kind() == reflect.Slice || rapid.IntRange(0, 3).Draw(rt, at+" set") > 0 {
			continue
		}
		switch {
		case len(s.Enum) > 0:
			field.SetString(rapid.SampledFrom(s.Enum).Draw(rt, at))
		case s.Off != "" && rapid.Bool().Draw(rt, at+" off"):
			_ = setScalar(field, s.Off)
		case field.CanInt():
			low, high := int64(s.bound(s.Min)), int64(s.bound(s.Max))
			field.SetInt(rapid.Int64Range(low, high).Draw(rt, at))
		case field.CanFloat():
			low := 1e-9
			if s.Min != "" {
				low = s.bound(s.Min)
			}
			field.SetFloat(rapid.Float64Range(low, s.bound(s.Max)).Draw(rt, at))
		}
	}
}

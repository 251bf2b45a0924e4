package retry_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/retry"
)

func fixed(d time.Duration) retry.Strategy {
	return retry.Strategy{Backoff: retry.Fixed, Jitter: retry.NoJitter, Base: d}
}

func TestTiers(t *testing.T) {
	p := retry.Policy{
		Strategy: fixed(time.Second),
		Tiers: []retry.Tier{
			{To: 2, Category: failure.Crash, Strategy: fixed(2 * time.Second)},
			{From: 1, To: 3, Strategy: fixed(3 * time.Second)},
			{From: 6, Strategy: fixed(6 * time.Second)},
		},
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		attempt  int
		category failure.Category
		want     time.Duration
	}{
		{0, failure.Crash, 2 * time.Second},
		{1, failure.Crash, 2 * time.Second},
		{2, failure.Crash, 2 * time.Second},
		{3, failure.Crash, 3 * time.Second},
		{1, failure.Transient, 3 * time.Second},
		{1, failure.None, 3 * time.Second},
		{3, failure.Transient, 3 * time.Second},
		{4, failure.Transient, time.Second},
		{5, failure.Crash, time.Second},
		{6, failure.Transient, 6 * time.Second},
		{1 << 31, failure.Transient, 6 * time.Second},
	} {
		if got := p.Delay(tc.attempt, tc.category, 0, 0, fixedRand()); got != tc.want {
			t.Errorf("attempt %d, category %v: got %v, want %v", tc.attempt, tc.category, got, tc.want)
		}
	}
}

func TestRetryAfterWins(t *testing.T) {
	p := retry.Policy{
		Strategy:      fixed(time.Second),
		Tiers:         []retry.Tier{{Strategy: fixed(2 * time.Second)}},
		RetryAfterMax: time.Minute,
	}
	for _, tc := range []struct{ asked, want time.Duration }{
		{-time.Second, 2 * time.Second},
		{0, 2 * time.Second},
		{time.Millisecond, time.Millisecond},
		{time.Minute, time.Minute},
		{time.Hour, time.Minute},
		{math.MaxInt64, time.Minute},
	} {
		if got := p.Delay(1, failure.Transient, 0, tc.asked, fixedRand()); got != tc.want {
			t.Errorf("asked for %v: got %v, want %v", tc.asked, got, tc.want)
		}
	}
	if got := (retry.Policy{}).Delay(1, failure.Transient, 0, 5*time.Hour, nil); got != time.Hour {
		t.Errorf("the zero policy allows %v, want 1h", got)
	}
}

// Whatever the policy, a delay is bounded by the strategy that applies or by
// RetryAfterMax.
func TestPolicyDelayIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := retry.Policy{Strategy: drawStrategy(t), RetryAfterMax: time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "retryAfterMax"))}
		bound := p.Strategy.Max
		for range rapid.IntRange(0, 4).Draw(t, "tiers") {
			tier := retry.Tier{
				From:     rapid.IntRange(0, 6).Draw(t, "from"),
				To:       rapid.IntRange(0, 12).Draw(t, "to"),
				Category: rapid.SampledFrom(append(failure.Categories(), failure.None)).Draw(t, "category"),
				Strategy: drawStrategy(t),
			}
			bound = max(bound, tier.Strategy.Max)
			p.Tiers = append(p.Tiers, tier)
		}
		asked := time.Duration(rapid.Int64Range(-1, math.MaxInt64).Draw(t, "asked"))
		if asked > 0 {
			bound = p.WithDefaults().RetryAfterMax
		}
		attempt := rapid.IntRange(1, 1<<31).Draw(t, "attempt")
		d := p.Delay(attempt, failure.Transient, time.Duration(rapid.Int64().Draw(t, "previous")), asked, fixedRand())
		if d < 0 || d > bound {
			t.Fatalf("delay %v is outside [0, %v]", d, bound)
		}
	})
}

func TestPolicyDefaults(t *testing.T) {
	s := retry.Strategy{Base: 100 * time.Millisecond, Max: 30 * time.Second, Multiplier: 2}
	want := retry.Policy{Attempts: 5, Strategy: s, RetryAfterMax: time.Hour, MaxAge: 24 * time.Hour}
	if diff := cmp.Diff(want, retry.Policy{}.WithDefaults()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := (retry.Policy{}).Validate(); err != nil {
		t.Errorf("the zero policy is refused: %v", err)
	}
	given := retry.Policy{Tiers: []retry.Tier{{}}}
	filled := given.WithDefaults()
	if given.Tiers[0].From != 0 {
		t.Error("WithDefaults changed the tiers of the policy that it copied")
	}
	if diff := cmp.Diff(retry.Tier{From: 1, Strategy: s}, filled.Tiers[0]); diff != "" {
		t.Errorf("tier (-want +got)\n%s", diff)
	}
}

func TestPolicyValidateNamesEveryField(t *testing.T) {
	wantProblems(t, retry.Policy{
		Attempts: -1, RetryAfterMax: -1, MaxAge: -1,
		Strategy: retry.Strategy{Base: -1},
		Tiers:    []retry.Tier{{From: -1, To: -2, Strategy: retry.Strategy{Multiplier: -1}}},
	}.Validate(), "Attempts", "RetryAfterMax", "MaxAge", "Strategy.Base", "Tiers[0].From", "Tiers[0].To", "Tiers[0].Strategy.Multiplier")
	wantProblems(t, retry.Policy{Tiers: []retry.Tier{{From: 5, To: 4}}}.Validate(), "Tiers[0].To is 4")
}

func TestTierThatCannotMatchIsAProblem(t *testing.T) {
	for _, tc := range []struct {
		name   string
		tiers  []retry.Tier
		refuse bool
	}{
		{"all, then some", []retry.Tier{{}, {From: 3}}, true},
		{"any category, then one", []retry.Tier{{To: 5}, {From: 2, To: 4, Category: failure.Transient}}, true},
		{"the same twice", []retry.Tier{{From: 2, To: 2}, {From: 2, To: 2}}, true},
		{"some, then all", []retry.Tier{{From: 3}, {}}, false},
		{"one category, then any", []retry.Tier{{Category: failure.Crash}, {}}, false},
		{"overlap", []retry.Tier{{To: 3}, {From: 2, To: 5}}, false},
		{"end, then no end", []retry.Tier{{To: 3}, {From: 2}}, false},
	} {
		err := retry.Policy{Tiers: tc.tiers}.Validate()
		if tc.refuse {
			wantProblems(t, err, "Tiers[1] can never match")
		} else if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

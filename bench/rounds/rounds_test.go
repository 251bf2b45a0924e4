package rounds_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/bench/rounds"
)

func silent(int, string, rounds.Sample, error) {}

// counter is a subject that writes down when it is measured.
func counter(name string, log *[]string, value float64) rounds.Subject {
	return rounds.Subject{Name: name, Measure: func(context.Context) (rounds.Sample, error) {
		*log = append(*log, name)
		value++
		return rounds.Sample{rounds.Nanoseconds: value}, nil
	}}
}

func TestRoundsAreInterleavedAndRotated(t *testing.T) {
	var log []string
	subjects := []rounds.Subject{counter("a", &log, 0), counter("b", &log, 10), counter("c", &log, 20)}
	out, err := rounds.Run(t.Context(), 3, subjects, silent)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "b", "c", "a", "c", "a", "b"}, log); diff != "" {
		t.Error(diff)
	}
	want := []rounds.Series{
		{Subject: "a", Metric: rounds.Nanoseconds, Values: []float64{1, 2, 3}},
		{Subject: "b", Metric: rounds.Nanoseconds, Values: []float64{11, 12, 13}},
		{Subject: "c", Metric: rounds.Nanoseconds, Values: []float64{21, 22, 23}},
	}
	if diff := cmp.Diff(want, out.Series); diff != "" {
		t.Error(diff)
	}
}

func TestOneFailureIsRepeatedAndNamed(t *testing.T) {
	broken := errors.New("broken")
	failing := func(times int) rounds.Subject {
		return rounds.Subject{Name: "s", Measure: func(context.Context) (rounds.Sample, error) {
			if times--; times >= 0 {
				return nil, broken
			}
			return rounds.Sample{rounds.Rate: 1}, nil
		}}
	}
	out, err := rounds.Run(t.Context(), 2, []rounds.Subject{failing(1)}, silent)
	if err != nil || len(out.Repeated) != 1 || len(rounds.Find(out.Series, "s", rounds.Rate)) != 2 {
		t.Errorf("one failure: %+v, %v; want both rounds and one repeat", out, err)
	}
	if _, err := rounds.Run(t.Context(), 2, []rounds.Subject{failing(2)}, silent); !errors.Is(err, broken) {
		t.Errorf("two failures in a row: %v, want what went wrong", err)
	}
}

func TestAnEndedRunIsNotRepeated(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	_, err := rounds.Run(ctx, 3, []rounds.Subject{{Name: "s", Measure: func(ctx context.Context) (rounds.Sample, error) {
		calls++
		cancel()
		return nil, ctx.Err()
	}}}, silent)
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("%d calls, %v; want 1 and the reason", calls, err)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   rounds.Spread
	}{
		{[]float64{4}, rounds.Spread{Min: 4, Median: 4, Max: 4}},
		{[]float64{9, 1, 5}, rounds.Spread{Min: 1, Median: 5, Max: 9}},
		{[]float64{8, 2, 4, 6}, rounds.Spread{Min: 2, Median: 5, Max: 8}},
	} {
		before := slices.Clone(c.values)
		if got, ok := rounds.SpreadOf(c.values); got != c.want || !ok {
			t.Errorf("%v: %+v, want %+v", c.values, got, c.want)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("%v was sorted in place", before)
		}
	}
	if _, ok := rounds.SpreadOf(nil); ok {
		t.Error("no values have a spread")
	}
}

func TestTargetsAreJudgedByThePairedMedian(t *testing.T) {
	all := []rounds.Series{
		// The second round was slow for both: the ratio does not see it.
		{Subject: "ours", Metric: rounds.Rate, Values: []float64{95, 9, 190}},
		{Subject: "raw", Metric: rounds.Rate, Values: []float64{100, 10, 200}},
		{Subject: "loop", Metric: rounds.Nanoseconds, Values: []float64{10, 10, 10}},
		{Subject: "worker", Metric: rounds.Nanoseconds, Values: []float64{110, 120, 111}},
	}
	for name, c := range map[string]struct {
		target rounds.Target
		median float64
		met    bool
	}{
		"ratio met":         {rounds.Target{Of: "ours", Metric: rounds.Rate, Per: "raw", AtLeast: true, Limit: 0.95}, 0.95, true},
		"ratio missed":      {rounds.Target{Of: "ours", Metric: rounds.Rate, Per: "raw", AtLeast: true, Limit: 0.96}, 0.95, false},
		"difference met":    {rounds.Target{Of: "worker", Metric: rounds.Nanoseconds, Less: "loop", Limit: 101}, 101, true},
		"difference missed": {rounds.Target{Of: "worker", Metric: rounds.Nanoseconds, Less: "loop", Limit: 100}, 101, false},
	} {
		got := rounds.Judge(c.target, all)
		if !got.Known || got.Met != c.met || got.Spread.Median != c.median {
			t.Errorf("%s: %+v, want median %v, met %v", name, got, c.median, c.met)
		}
	}
	if got := rounds.Judge(rounds.Target{Of: "ours", Metric: rounds.Rate, Per: "nobody"}, all); got.Known || got.Met {
		t.Errorf("a ratio to nobody is %+v", got)
	}
}

func TestRatiosNeedMatchingRounds(t *testing.T) {
	if got := rounds.Ratios([]float64{1, 2}, []float64{1}); got != nil {
		t.Errorf("unequal rounds: %v", got)
	}
	if got := rounds.Ratios([]float64{1}, []float64{0}); got != nil {
		t.Errorf("division by zero: %v", got)
	}
}

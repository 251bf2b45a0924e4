package retry_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/retry"
)

var (
	backoffs = []retry.Backoff{retry.Exponential, retry.Linear, retry.Fixed, retry.Immediate}
	jitters  = []retry.Jitter{retry.Full, retry.Equal, retry.Decorrelated, retry.Random, retry.NoJitter}
)

func fixedRand() *rand.Rand { return rand.New(rand.NewPCG(7, 11)) }

// extremes answers with the ends of each range in turn.
type extremes struct{ high bool }

func (e *extremes) Int64N(n int64) int64 {
	e.high = !e.high
	if e.high {
		return n - 1
	}
	return 0
}

func (e *extremes) Float64() float64 {
	e.high = !e.high
	if e.high {
		return math.Nextafter(1, 0)
	}
	return 0
}

func drawStrategy(t *rapid.T) retry.Strategy {
	base := time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "base"))
	if rapid.Bool().Draw(t, "small") {
		base = base%time.Hour + 1
	}
	return retry.Strategy{
		Backoff:    rapid.SampledFrom(backoffs).Draw(t, "backoff"),
		Jitter:     rapid.SampledFrom(jitters).Draw(t, "jitter"),
		Base:       base,
		Max:        time.Duration(rapid.Int64Range(int64(base), math.MaxInt64).Draw(t, "max")),
		Multiplier: rapid.Float64Range(1, 1e9).Draw(t, "multiplier"),
	}
}

func TestDelayStaysWithinZeroAndMax(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawStrategy(t)
		if err := s.Validate(); err != nil {
			t.Fatalf("drew an invalid strategy: %v", err)
		}
		attempt := rapid.OneOf(rapid.IntRange(-1, 100), rapid.IntRange(1, 1<<31)).Draw(t, "attempt")
		previous := time.Duration(rapid.Int64().Draw(t, "previous"))
		seed := rapid.Uint64().Draw(t, "seed")
		for _, r := range []retry.Rand{rand.New(rand.NewPCG(seed, 0)), &extremes{}, &extremes{high: true}, nil} {
			for range 3 {
				if d := s.Delay(attempt, previous, r); d < 0 || d > s.Max {
					t.Fatalf("Delay(%d, %v) of %+v is %v, outside [0, %v]", attempt, previous, s, d, s.Max)
				}
			}
		}
	})
}

// The same for strategies that Validate refuses: a bound has no exceptions.
func TestDelayOfInvalidStrategyStaysWithinZeroAndMax(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := retry.Strategy{
			Backoff:    retry.Backoff(rapid.Uint8().Draw(t, "backoff")),
			Jitter:     retry.Jitter(rapid.Uint8().Draw(t, "jitter")),
			Base:       time.Duration(rapid.Int64().Draw(t, "base")),
			Max:        time.Duration(rapid.Int64().Draw(t, "max")),
			Multiplier: rapid.SampledFrom([]float64{0, -1, -2.5, 0.5, math.NaN(), math.Inf(1), math.Inf(-1), 1e308}).Draw(t, "multiplier"),
		}
		attempt := rapid.Int().Draw(t, "attempt")
		d := s.Delay(attempt, time.Duration(rapid.Int64().Draw(t, "previous")), fixedRand())
		if limit := max(s.WithDefaults().Max, 0); d < 0 || d > limit {
			t.Fatalf("Delay(%d) of %+v is %v, outside [0, %v]", attempt, s, d, limit)
		}
	})
}

func TestFormulas(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		name string
		s    retry.Strategy
		want []time.Duration // after attempts 1, 2, 3, …
	}{
		{"zero value", retry.Strategy{Jitter: retry.NoJitter}, []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 12800 * ms, 25600 * ms, 30000 * ms, 30000 * ms}},
		{"multiplier 3", retry.Strategy{Jitter: retry.NoJitter, Base: ms, Max: 50 * ms, Multiplier: 3}, []time.Duration{ms, 3 * ms, 9 * ms, 27 * ms, 50 * ms}},
		{"linear", retry.Strategy{Backoff: retry.Linear, Jitter: retry.NoJitter, Base: 2 * ms, Max: 7 * ms}, []time.Duration{2 * ms, 4 * ms, 6 * ms, 7 * ms, 7 * ms}},
		{"fixed", retry.Strategy{Backoff: retry.Fixed, Jitter: retry.NoJitter, Base: 5 * ms}, []time.Duration{5 * ms, 5 * ms, 5 * ms}},
		{"none", retry.Strategy{Backoff: retry.Immediate, Jitter: retry.Full}, []time.Duration{0, 0, 0}},
		{"none, decorrelated", retry.Strategy{Backoff: retry.Immediate, Jitter: retry.Decorrelated}, []time.Duration{0, 0, 0}},
		{"base over the default cap", retry.Strategy{Jitter: retry.NoJitter, Base: time.Minute}, []time.Duration{time.Minute, time.Minute}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i, want := range tc.want {
				if got := tc.s.Delay(i+1, 0, fixedRand()); got != want {
					t.Errorf("after attempt %d: got %v, want %v", i+1, got, want)
				}
			}
		})
	}
}

func TestNoOverflowAtAnyAttempt(t *testing.T) {
	for _, b := range []retry.Backoff{retry.Exponential, retry.Linear} {
		for _, top := range []time.Duration{30 * time.Second, math.MaxInt64} {
			s := retry.Strategy{Backoff: b, Jitter: retry.NoJitter, Base: time.Hour, Max: max(top, time.Hour), Multiplier: 10}
			last := time.Duration(0)
			for _, attempt := range []int{1, 2, 3, 20, 62, 63, 64, 65, 1024, 1 << 20, 1<<31 - 1, 1 << 31, math.MaxInt} {
				d := s.Delay(attempt, 0, nil)
				if d < last {
					t.Errorf("%v with max %v falls from %v to %v at attempt %d", b, s.Max, last, d, attempt)
				}
				last = d
			}
			if last != s.Max {
				t.Errorf("%v ends at %v, want %v", b, last, s.Max)
			}
		}
	}
}

func TestLongestDurations(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	for _, tc := range []struct {
		name     string
		s        retry.Strategy
		previous time.Duration
	}{
		{"exponential", retry.Strategy{Jitter: retry.NoJitter, Base: longest}, 0},
		{"linear", retry.Strategy{Backoff: retry.Linear, Jitter: retry.NoJitter, Base: longest}, 0},
		{"equal", retry.Strategy{Jitter: retry.Equal, Base: longest}, 0},
		{"random", retry.Strategy{Jitter: retry.Random, Base: longest}, 0},
		{"decorrelated", retry.Strategy{Jitter: retry.Decorrelated, Base: 1, Max: longest}, longest / 2},
	} {
		if got := tc.s.Delay(1, tc.previous, &extremes{}); got < longest-1 {
			t.Errorf("%s: the largest draw is %v, want %v", tc.name, got, longest)
		}
	}
}

func TestJitterRanges(t *testing.T) {
	const v = 800 * time.Millisecond // of the zero formula after attempt 4
	r := fixedRand()
	for _, tc := range []struct {
		jitter    retry.Jitter
		previous  time.Duration
		low, high time.Duration
	}{
		{retry.Full, 0, 0, v},
		{retry.Equal, 0, v / 2, v},
		{retry.Random, 0, v / 2, v * 3 / 2},
		{retry.Decorrelated, 0, 100 * time.Millisecond, 300 * time.Millisecond},
		{retry.Decorrelated, 2 * time.Second, 100 * time.Millisecond, 6 * time.Second},
		{retry.NoJitter, 0, v, v},
	} {
		s := retry.Strategy{Jitter: tc.jitter}
		lowest, highest := time.Duration(math.MaxInt64), time.Duration(0)
		for range 20000 {
			d := s.Delay(4, tc.previous, r)
			lowest, highest = min(lowest, d), max(highest, d)
		}
		if lowest < tc.low || highest > tc.high {
			t.Errorf("%v: drew [%v, %v], want within [%v, %v]", tc.jitter, lowest, highest, tc.low, tc.high)
		}
		if slack := (tc.high - tc.low) / 100; lowest > tc.low+slack || highest < tc.high-slack {
			t.Errorf("%v: drew only [%v, %v] of [%v, %v]", tc.jitter, lowest, highest, tc.low, tc.high)
		}
	}
}

func TestFirstFullJitterIsUpToBase(t *testing.T) {
	var s retry.Strategy
	if got := s.Delay(1, 0, &extremes{}); got != retry.DefaultBase {
		t.Errorf("largest first delay is %v, want %v", got, retry.DefaultBase)
	}
}

func TestDecorrelatedIsCutAtMax(t *testing.T) {
	s := retry.Strategy{Jitter: retry.Decorrelated}
	r := fixedRand()
	atMax, previous := 0, time.Duration(0)
	for i := range 1000 {
		previous = s.Delay(i+1, previous, r)
		if previous == retry.DefaultMax {
			atMax++
		}
	}
	if atMax == 0 {
		t.Error("a long chain never reached the cap")
	}
}

// Full jitter is uniform: its mean within 1 % and its distribution by the test of
// Kolmogorov and Smirnov, at a million draws.
func TestFullJitterIsUniform(t *testing.T) {
	const n = 1_000_000
	for _, attempt := range []int{1, 4, 40} {
		s := retry.Strategy{}
		high := float64(s.Delay(attempt, 0, nil))
		r := fixedRand()
		draws := make([]float64, n)
		sum := 0.0
		for i := range draws {
			draws[i] = float64(s.Delay(attempt, 0, r)) / high
			sum += draws[i]
		}
		within(t, "mean", sum/n, 0.5, 0.01)
		slices.Sort(draws)
		distance := 0.0
		for i, x := range draws {
			distance = max(distance, math.Abs(x-float64(i)/n), math.Abs(x-float64(i+1)/n))
		}
		// 1.63/√n is passed over by one uniform sample in a hundred.
		if limit := 1.63 / math.Sqrt(n); distance > limit {
			t.Errorf("attempt %d: distance from uniform is %.6f, want at most %.6f", attempt, distance, limit)
		}
	}
}

func TestDelayHasNoHiddenState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawStrategy(t)
		attempt := rapid.IntRange(1, 50).Draw(t, "attempt")
		first := s.Delay(attempt, time.Second, rand.New(rand.NewPCG(3, 4)))
		s.Delay(attempt+1, first, rand.New(rand.NewPCG(5, 6)))
		if again := s.Delay(attempt, time.Second, rand.New(rand.NewPCG(3, 4))); again != first {
			t.Fatalf("the same arguments gave %v and then %v", first, again)
		}
	})
}

func TestDelayDoesNotAllocate(t *testing.T) {
	s, r := retry.Strategy{}, fixedRand()
	if n := testing.AllocsPerRun(100, func() { s.Delay(3, 0, r) }); n != 0 {
		t.Errorf("Delay allocates %v times", n)
	}
}

func TestStrategyValidateNamesEveryField(t *testing.T) {
	err := retry.Strategy{Backoff: 99, Jitter: 99, Base: -1, Max: -1, Multiplier: math.NaN()}.Validate()
	wantProblems(t, err, "Backoff", "Jitter", "Base", "Max", "Multiplier")
	wantProblems(t, retry.Strategy{Base: time.Minute, Max: time.Second}.Validate(), "Max is 1s, less than Base")
	wantProblems(t, retry.Strategy{Multiplier: 0.5}.Validate(), "Multiplier")
	wantProblems(t, retry.Strategy{Multiplier: math.Inf(1)}.Validate(), "Multiplier")
	if err := (retry.Strategy{}).Validate(); err != nil {
		t.Errorf("the zero strategy is refused: %v", err)
	}
}

// wantProblems checks that err has one line for each of the problems, in order.
func wantProblems(t *testing.T, err error, problems ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %q", problems)
		return
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(problems) {
		t.Errorf("%d problems, want %d:\n%v", len(lines), len(problems), err)
		return
	}
	for i, want := range problems {
		if !strings.Contains(lines[i], want) {
			t.Errorf("problem %d is %q, want one that says %q", i, lines[i], want)
		}
	}
}

package retry_test

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/retry"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newBudget(t interface{ Fatal(...any) }, c retry.BudgetConfig) *retry.Budget {
	b, err := retry.NewBudget(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReserveTakesFromTheFutureAtFloor(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Floor: 10, Burst: 2})
	for i, want := range []time.Duration{0, 0, 100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond} {
		if got := b.Reserve(start); got != want {
			t.Errorf("reservation %d waits %v, want %v", i, got, want)
		}
	}
	if got := b.Reserve(start.Add(250 * time.Millisecond)); got != 150*time.Millisecond {
		t.Errorf("a quarter of a second later: %v, want 150ms", got)
	}
	if got := b.Level(start.Add(250 * time.Millisecond)); got != -1.5 {
		t.Errorf("level is %v, want -1.5", got)
	}
}

func TestFirstAttemptsDeposit(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Ratio: 0.25, Floor: 1, Burst: 1})
	b.Reserve(start)
	for range 4 {
		b.Attempt(start)
	}
	if got := b.Reserve(start); got != 0 {
		t.Errorf("four attempts at a ratio of 0.25 paid for no retry: wait %v", got)
	}
	if got := b.Reserve(start); got != time.Second {
		t.Errorf("the next one waits %v, want 1s", got)
	}
	for range 1000 {
		b.Attempt(start)
	}
	if got := b.Level(start); got != 1 {
		t.Errorf("the bucket holds %v tokens, want no more than its burst of 1", got)
	}
}

func TestIdleBudgetHoldsBurst(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{})
	if got := b.Level(start); got != 100 {
		t.Errorf("a new budget holds %v tokens, want 100", got)
	}
	b.Reserve(start)
	if got := b.Level(start.Add(24 * time.Hour)); got != 100 {
		t.Errorf("after a day it holds %v tokens, want 100", got)
	}
}

func TestBudgetOff(t *testing.T) {
	var none *retry.Budget
	for _, b := range []*retry.Budget{newBudget(t, retry.BudgetConfig{Ratio: -1}), none} {
		for range 10000 {
			b.Attempt(start)
			if got := b.Reserve(start); got != 0 {
				t.Fatalf("a budget that is off makes wait %v", got)
			}
		}
		if got := b.Level(start); !math.IsInf(got, 1) {
			t.Errorf("level is %v, want +Inf", got)
		}
	}
}

// In an overload every first attempt and every retry fails. The retries that
// become due are at most what the budget allows and at least the floor, at every
// moment.
func TestBudgetRateUnderOverload(t *testing.T) {
	const (
		perSecond = 280
		seconds   = 60
	)
	b := newBudget(t, retry.BudgetConfig{})
	due := map[int]int{} // retries per millisecond
	attempts, done := 0, 0
	for ms := range seconds * 1000 {
		now := start.Add(time.Duration(ms) * time.Millisecond)
		fail := func() {
			wait := b.Reserve(now)
			due[ms+1+int(wait/time.Millisecond)]++
		}
		if ms*perSecond/1000 != (ms+1)*perSecond/1000 {
			attempts++
			b.Attempt(now)
			fail()
		}
		for range due[ms] {
			done++
			fail()
		}
		elapsed := float64(ms) / 1000
		if limit := 100 + 10*elapsed + 0.2*float64(attempts); float64(done) > limit+1 {
			t.Fatalf("%d retries in %.3f s and %d first attempts, want at most %.1f", done, elapsed, attempts, limit)
		}
		if floor := 10 * elapsed; float64(done) < floor-1 {
			t.Fatalf("%d retries in %.3f s, want at least %.1f", done, elapsed, floor)
		}
	}
	t.Logf("%d first attempts, %d retries: %.2f of the load", attempts, done, float64(attempts+done)/float64(attempts))
}

// For any history: up to the time of any retry, no more have become due than
// burst, floor and ratio allow; reservations at one time never wait less than the
// ones before; and a wait is never negative.
func TestBudgetNeverOverspends(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := retry.BudgetConfig{
			Ratio: rapid.Float64Range(0.01, 2).Draw(t, "ratio"),
			Floor: rapid.Float64Range(0.5, 1000).Draw(t, "floor"),
			Burst: rapid.Float64Range(1, 100).Draw(t, "burst"),
		}
		b := newBudget(t, c)
		now, attempts := time.Duration(0), 0
		previous := time.Duration(0)
		var dues []time.Duration
		for _, op := range rapid.SliceOfN(rapid.IntRange(0, 5), 60, 120).Draw(t, "ops") {
			switch op {
			case 0, 1:
				b.Attempt(start.Add(now))
				attempts++
				previous = 0
			case 2:
				now += time.Duration(rapid.IntRange(0, 2_000_000_000).Draw(t, "step"))
				previous = 0
			default:
				wait := b.Reserve(start.Add(now))
				if wait < previous {
					t.Fatalf("waits %v after %v at the same time", wait, previous)
				}
				previous = wait
				dues = append(dues, now+wait)
				allowed := c.Burst + c.Floor*(now+wait).Seconds() + c.Ratio*float64(attempts)
				count := 0
				for _, d := range dues {
					if d <= now+wait {
						count++
					}
				}
				if float64(count) > allowed+0.001 {
					t.Fatalf("%d retries are due by %v, want at most %.3f", count, now+wait, allowed)
				}
			}
		}
	})
}

func TestBudgetAndClocks(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Floor: 10, Burst: 1})
	b.Reserve(start)
	b.Reserve(start)
	// Two goroutines that read the clock in one order and call in the other.
	if got := b.Reserve(start.Add(-time.Millisecond)); got != 201*time.Millisecond {
		t.Errorf("a time from a race waits %v, want 201ms", got)
	}
	if got := b.Reserve(start.Add(-time.Hour)); got != 300*time.Millisecond {
		t.Errorf("after the clock was set back an hour: %v, want 300ms", got)
	}
	if got := b.Reserve(start.Add(24 * time.Hour)); got != 0 {
		t.Errorf("after the clock was set forward a day: %v, want 0s", got)
	}
}

func TestBudgetIsSafeForConcurrentUse(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Floor: 10, Burst: 1})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			b.Attempt(start)
			b.Reserve(start)
			b.Level(start)
		})
	}
	wg.Wait()
	// At most 20 tokens were deposited, less what spilled over the burst of 1.
	if got := b.Level(start); got < -100 || got > -78 {
		t.Errorf("level after 100 reservations is %v, want about -79", got)
	}
}

func TestBudgetConfig(t *testing.T) {
	want := retry.BudgetConfig{Ratio: 0.2, Floor: 10, Burst: 100}
	if diff := cmp.Diff(want, retry.BudgetConfig{}.WithDefaults()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := (retry.BudgetConfig{Floor: 0.01}).WithDefaults().Burst; got != 1 {
		t.Errorf("burst for a tiny floor is %v, want 1", got)
	}
	bad := retry.BudgetConfig{Ratio: math.NaN(), Floor: -1, Burst: 0.5}
	wantProblems(t, bad.Validate(), "Ratio", "Floor", "Burst")
	wantProblems(t, retry.BudgetConfig{Ratio: math.Inf(1), Floor: math.Inf(1), Burst: math.Inf(1)}.Validate(), "Ratio", "Floor", "Burst")
	if b, err := retry.NewBudget(bad); b != nil || err == nil {
		t.Errorf("NewBudget took a bad configuration: %v, %v", b, err)
	}
}

func BenchmarkReserve(b *testing.B) {
	budget := newBudget(b, retry.BudgetConfig{})
	for i := range b.N {
		budget.Reserve(start.Add(time.Duration(i)))
	}
}

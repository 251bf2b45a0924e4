package retry_test

import (
	"math"
	"slices"
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
}

// The retries of a backlog come when its last first attempt is over. They find what
// the backlog has paid, in any number at once, and for no longer than Life.
func TestDepositsLiveForLife(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Ratio: 0.2, Floor: 10, Burst: 100, Life: 10 * time.Second})
	for i := range 10_000 {
		b.Attempt(start.Add(time.Duration(i) * 100 * time.Microsecond)) // For one second.
	}
	if got := b.Level(start.Add(time.Second)); got != 2100 {
		t.Errorf("after 10,000 first attempts the budget holds %v tokens, want 2000 and the 100 of the floor", got)
	}
	late := start.Add(8500 * time.Millisecond)
	for i := range 1000 {
		if got := b.Reserve(late); got != 0 {
			t.Fatalf("retry %d of the backlog waits %v, and its first attempts paid for 2000", i, got)
		}
	}
	if got := b.Level(start.Add(11 * time.Second)); got != 100 {
		t.Errorf("when Life is over the budget holds %v tokens, want the 100 of the floor", got)
	}
	if got := b.Level(start.Add(time.Hour)); got != 100 {
		t.Errorf("an hour later it holds %v tokens, want the 100 of the floor", got)
	}
}

// The oldest deposits are spent first, so that none is lost while a younger one is
// taken.
func TestOldestDepositsAreSpentFirst(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Ratio: 1, Floor: 0.001, Burst: 1, Life: 10 * time.Second})
	b.Reserve(start) // The one of the floor is gone after two, so that deposits are all there is.
	b.Attempt(start)
	b.Attempt(start.Add(9 * time.Second))
	b.Reserve(start.Add(9500 * time.Millisecond))
	if got := b.Reserve(start.Add(15 * time.Second)); got != 0 {
		t.Errorf("the younger deposit was taken first: wait %v", got)
	}
}

// A retry that had to wait for the floor does not take what comes in later from the
// others.
func TestDepositsAreThereBesideADebt(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Ratio: 1, Floor: 1, Burst: 1})
	for range 100 {
		b.Reserve(start)
	}
	if got := b.Level(start); got != -99 {
		t.Errorf("level is %v, want -99", got)
	}
	b.Attempt(start)
	if got := b.Level(start); got != 1 {
		t.Errorf("level after a first attempt is %v, want 1", got)
	}
	if got := b.Reserve(start); got != 0 {
		t.Errorf("a retry that a first attempt has paid for waits %v", got)
	}
}

// A process at any speed for any time does not run out of numbers.
func TestDepositsAreBounded(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Ratio: retry.MaxRatio, Floor: 1, Burst: 1, Life: time.Hour})
	retry.Deposit(b, start, math.MaxInt64/2)
	for range 1000 {
		b.Attempt(start)
	}
	if got := b.Level(start); got < 1e8 || got > 1e10 {
		t.Errorf("the budget holds %v tokens", got)
	}
	if got := b.Level(start.Add(2 * time.Hour)); got != 1 {
		t.Errorf("after Life it holds %v tokens, want the one of the floor", got)
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

// For any history and any two times: the retries that become due between them are no
// more than the floor, the bucket and the first attempts of the time and of Life
// before it allow; reservations at one time never wait less than the ones before;
// and none waits longer than the floor takes for all reservations until then.
func TestBudgetNeverOverspends(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := retry.BudgetConfig{
			Ratio: rapid.Float64Range(0.01, 2).Draw(t, "ratio"),
			Floor: rapid.Float64Range(0.5, 1000).Draw(t, "floor"),
			Burst: rapid.Float64Range(1, 100).Draw(t, "burst"),
			Life:  time.Duration(rapid.IntRange(1, 20).Draw(t, "life")) * time.Second,
		}
		b := newBudget(t, c)
		now, previous := time.Duration(0), time.Duration(0)
		var dues, attempts []time.Duration
		for _, op := range rapid.SliceOfN(rapid.IntRange(0, 7), 60, 160).Draw(t, "ops") {
			switch op {
			case 0, 1, 2:
				for range rapid.IntRange(1, 20).Draw(t, "attempts") {
					b.Attempt(start.Add(now))
					attempts = append(attempts, now)
				}
				previous = 0
			case 3:
				now += time.Duration(rapid.IntRange(0, 2_000_000_000).Draw(t, "step"))
				previous = 0
			default:
				level := b.Level(start.Add(now))
				wait := b.Reserve(start.Add(now))
				if wait < previous {
					t.Fatalf("waits %v after %v at the same time", wait, previous)
				}
				if level >= 1.000001 && wait > 0 || level < 0.999999 && wait == 0 {
					t.Fatalf("waits %v at a level of %v", wait, level)
				}
				if longest := float64(len(dues)+1) / c.Floor; wait.Seconds() > longest+0.001 {
					t.Fatalf("reservation %d waits %v, want at most %.3f s", len(dues)+1, wait, longest)
				}
				previous = wait
				dues = append(dues, now+wait)
			}
		}
		slices.Sort(dues)
		for i, from := range dues {
			for k, to := range dues[i:] {
				paid := 0
				for _, a := range attempts {
					if a >= from-c.Life && a <= to {
						paid++
					}
				}
				if allowed := c.Burst + c.Floor*(to-from).Seconds() + c.Ratio*float64(paid); float64(k+1) > allowed+0.001 {
					t.Fatalf("%d retries are due from %v to %v, want at most %.3f", k+1, from, to, allowed)
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
	// 20 tokens were deposited and 1 was there. Whole ones were taken as they came.
	if got := b.Level(start); got < -99 || got > -79 {
		t.Errorf("level after 100 reservations is %v, want about -79", got)
	}
}

func TestBudgetConfig(t *testing.T) {
	want := retry.BudgetConfig{Ratio: 0.2, Floor: 10, Burst: 100, Life: 10 * time.Second}
	if diff := cmp.Diff(want, retry.BudgetConfig{}.WithDefaults()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := (retry.BudgetConfig{Floor: 0.01}).WithDefaults().Burst; got != 1 {
		t.Errorf("burst for a tiny floor is %v, want 1", got)
	}
	bad := retry.BudgetConfig{Ratio: math.NaN(), Floor: -1, Burst: 0.5, Life: time.Millisecond}
	wantProblems(t, bad.Validate(), "Ratio", "Floor", "Burst", "Life")
	wantProblems(t, retry.BudgetConfig{Ratio: math.Inf(1), Floor: math.Inf(1), Burst: math.Inf(1), Life: 2 * time.Hour}.Validate(), "Ratio", "Floor", "Burst", "Life")
	if b, err := retry.NewBudget(bad); b != nil || err == nil {
		t.Errorf("NewBudget took a bad configuration: %v, %v", b, err)
	}
}

// Neither deposits nor reservations allocate.
func TestBudgetDoesNotAllocate(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{})
	now := start
	if got := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Millisecond)
		b.Attempt(now)
		b.Reserve(now)
	}); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

func BenchmarkAttempt(b *testing.B) {
	budget := newBudget(b, retry.BudgetConfig{})
	for i := range b.N {
		budget.Attempt(start.Add(time.Duration(i)))
	}
}

func BenchmarkReserve(b *testing.B) {
	budget := newBudget(b, retry.BudgetConfig{})
	for i := range b.N {
		budget.Reserve(start.Add(time.Duration(i)))
	}
}

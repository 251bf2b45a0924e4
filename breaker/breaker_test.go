package breaker_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/breaker"
)

// call makes a call that ends at once and reports whether it was permitted.
func call(b *breaker.Breaker, now time.Time, o breaker.Outcome) bool {
	p, err := b.Allow(now)
	if err != nil {
		return false
	}
	b.Report(now, p, o)
	return true
}

// openNow makes a breaker with a rule of five consecutive failures open.
func openNow(t *testing.T, b *breaker.Breaker, now time.Time) {
	t.Helper()
	for range 5 {
		call(b, now, breaker.Failure)
	}
	if got := b.State(now); got != breaker.Open {
		t.Fatalf("state after five failures is %v", got)
	}
}

// recoverAt brings an open breaker back and returns when it was closed.
func recoverAt(t *testing.T, b *breaker.Breaker, now time.Time) time.Time {
	t.Helper()
	now = b.Next(now)
	for range 2 {
		if !call(b, now, breaker.Success) {
			t.Fatalf("no probe admitted at %v", now)
		}
	}
	if got := b.State(now); got != breaker.Closed {
		t.Fatalf("state after two successful probes is %v", got)
	}
	return now
}

func TestConsecutiveFailuresOpen(t *testing.T) {
	b := newBreaker(t, breaker.Config{Name: "payments"})
	for range 4 {
		call(b, start, breaker.Failure)
	}
	call(b, start, breaker.Success)
	for range 4 {
		call(b, start, breaker.Failure)
		call(b, start, breaker.Ignored)
	}
	if got := b.State(start); got != breaker.Closed {
		t.Fatalf("state after a success between failures is %v", got)
	}
	call(b, start, breaker.Failure)
	_, err := b.Allow(start)
	var refusal *breaker.OpenError
	if !errors.As(err, &refusal) || !errors.Is(err, breaker.ErrOpen) {
		t.Fatalf("got %v, want an *OpenError", err)
	}
	if got := refusal.RecoverAt(); !got.Equal(b.Next(start)) || got.Sub(start) < time.Second/2 || got.Sub(start) > time.Second {
		t.Errorf("recovers after %v, want half a second to a second", got.Sub(start))
	}
	if !strings.Contains(err.Error(), `"payments"`) {
		t.Errorf("the error %q does not say what is guarded", err)
	}
}

func TestHalfOfTheCallsFailingOpensByRate(t *testing.T) {
	b := newBreaker(t, breaker.Config{})
	calls := 0
	for ; calls < 100 && b.State(start) == breaker.Closed; calls++ {
		o := breaker.Success
		if calls%2 == 1 {
			o = breaker.Failure
		}
		call(b, start.Add(time.Duration(calls)*100*time.Millisecond), o)
	}
	if calls != 20 {
		t.Errorf("opened after %d calls, want 20", calls)
	}
}

func TestRateForgetsWhatIsOlderThanTheWindow(t *testing.T) {
	b := newBreaker(t, breaker.Config{Consecutive: -1, MinVolume: 10})
	for range 9 {
		call(b, start, breaker.Failure)
	}
	later := start.Add(10 * time.Second)
	for range 9 {
		call(b, later, breaker.Failure)
	}
	if got := b.State(later); got != breaker.Closed {
		t.Errorf("nine failures now and nine a window ago: %v", got)
	}
	if !call(b, later, breaker.Failure) || b.State(later) != breaker.Open {
		t.Errorf("ten failures within the window: %v", b.State(later))
	}
}

func TestBothRulesOff(t *testing.T) {
	b := newBreaker(t, breaker.Config{Consecutive: -1, FailureRate: -1})
	for range 1000 {
		call(b, start, breaker.Failure)
	}
	if got := b.State(start); got != breaker.Closed {
		t.Errorf("state is %v", got)
	}
	b.Trip(start, start.Add(time.Minute))
	if got := b.State(start); got != breaker.Open {
		t.Errorf("state after Trip is %v", got)
	}
}

func TestOneFailureAfterRecoveryDoesNotReopen(t *testing.T) {
	b := newBreaker(t, breaker.Config{})
	openNow(t, b, start)
	now := recoverAt(t, b, start)
	for range 4 {
		call(b, now, breaker.Failure)
	}
	if got := b.State(now); got != breaker.Closed {
		t.Fatalf("four failures after recovery: %v", got)
	}
	if got := b.Snapshot(now); got.ConsecutiveFailures != 4 || got.WindowFailures != 4 || got.WindowSuccesses != 0 {
		t.Errorf("counters were not reset by closing: %+v", got)
	}
}

func TestLateFailuresNeverProlong(t *testing.T) {
	b := newBreaker(t, breaker.Config{})
	var slow []breaker.Permit
	for range 100 {
		p, err := b.Allow(start)
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, p)
	}
	openNow(t, b, start)
	due := b.Next(start)
	for i, p := range slow[:50] {
		b.Report(start.Add(time.Duration(i)*time.Millisecond), p, breaker.Failure)
	}
	if got := b.Next(start); !got.Equal(due) {
		t.Errorf("failures from before the outage moved the probe from %v to %v", due, got)
	}
	now := recoverAt(t, b, start)
	for _, p := range slow[50:] {
		b.Report(now, p, breaker.Failure)
	}
	if got := b.Snapshot(now); got.State != breaker.Closed || got.ConsecutiveFailures != 0 {
		t.Errorf("failures from before the outage count after it: %+v", got)
	}
}

func TestRecoveryGrowsAndFallsBack(t *testing.T) {
	b := newBreaker(t, breaker.Config{Jitter: -1})
	openNow(t, b, start)
	now := start
	for _, seconds := range []int{1, 2, 4, 8, 16, 30, 30, 30} {
		want := time.Duration(seconds) * time.Second
		if got := b.Next(now).Sub(now); got != want {
			t.Errorf("open for %v, want %v", got, want)
		}
		now = b.Next(now)
		call(b, now, breaker.Failure)
	}
	now = recoverAt(t, b, now)
	openNow(t, b, now)
	if got := b.Next(now).Sub(now); got != time.Second {
		t.Errorf("open for %v after a recovery, want 1s", got)
	}
}

func TestRecoveryIsWithinJitter(t *testing.T) {
	shortest, longest := time.Duration(math.MaxInt64), time.Duration(0)
	for seed := range uint64(2000) {
		b, err := breaker.New(breaker.Config{Recovery: 8 * time.Second}, seed)
		if err != nil {
			t.Fatal(err)
		}
		openNow(t, b, start)
		wait := b.Next(start).Sub(start)
		shortest, longest = min(shortest, wait), max(longest, wait)
	}
	if shortest < 4*time.Second || longest > 8*time.Second {
		t.Errorf("open for %v to %v, want 4s to 8s", shortest, longest)
	}
	if shortest > 4100*time.Millisecond || longest < 7900*time.Millisecond {
		t.Errorf("open only for %v to %v of 4s to 8s", shortest, longest)
	}
}

func TestFixedRecovery(t *testing.T) {
	b := newBreaker(t, breaker.Config{Recovery: 30 * time.Second, RecoveryMax: 30 * time.Second})
	openNow(t, b, start)
	now := start
	for range 5 {
		if got := b.Next(now).Sub(now); got != 30*time.Second {
			t.Errorf("open for %v, want 30s", got)
		}
		now = b.Next(now)
		call(b, now, breaker.Failure)
	}
}

func TestDifferentSeedsDoNotProbeTogether(t *testing.T) {
	const breakers = 100
	probes := map[time.Time]int{}
	for seed := range uint64(breakers) {
		b, err := breaker.New(breaker.Config{}, seed)
		if err != nil {
			t.Fatal(err)
		}
		openNow(t, b, start)
		now := start
		for range 5 {
			now = b.Next(now)
			probes[now]++
			call(b, now, breaker.Failure)
		}
	}
	for at, n := range probes {
		if n > 1 {
			t.Errorf("%d breakers probe at %v", n, at)
		}
	}
	again := func() time.Time {
		b := newBreaker(t, breaker.Config{})
		openNow(t, b, start)
		return b.Next(start)
	}
	if !again().Equal(again()) {
		t.Error("one seed gave two recovery times")
	}
}

func TestTripKeepsTheLonger(t *testing.T) {
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	b := newBreaker(t, breaker.Config{Recovery: 10 * time.Second, Jitter: -1})
	b.Trip(start, at(5))
	if got := b.Next(start); !got.Equal(at(10)) {
		t.Errorf("asked for less than its own recovery time: next is %v, want %v", got, at(10))
	}
	b.Trip(start, at(60))
	b.Trip(at(1), at(20))
	b.Trip(at(1), time.Time{})
	if got := b.Next(start); !got.Equal(at(60)) {
		t.Errorf("next is %v, want the latest time that was asked for, %v", got, at(60))
	}
	if got := b.Snapshot(start).Openings; got != 1 {
		t.Errorf("%d openings, want 1", got)
	}
	probe, err := b.Allow(at(60))
	if err != nil || !probe.Probe() {
		t.Fatalf("no probe at the time asked for: %v", err)
	}
	b.Trip(at(61), at(62))
	b.Report(at(61), probe, breaker.Success)
	if got := b.Next(at(61)); b.State(at(61)) != breaker.Open || !got.Equal(at(81)) {
		t.Errorf("a throttled probe: %v until %v, want open until %v", b.State(at(61)), got, at(81))
	}
}

func TestProbeIsTakenBack(t *testing.T) {
	b := newBreaker(t, breaker.Config{})
	openNow(t, b, start)
	now := b.Next(start)
	lost, err := b.Allow(now)
	if err != nil {
		t.Fatal(err)
	}
	back := now.Add(time.Minute)
	if got := b.Next(now); !got.Equal(back) {
		t.Errorf("next is %v, want the timeout of the probe, %v", got, back)
	}
	if _, err := b.Allow(back.Add(-1)); err == nil {
		t.Error("a second probe before the first was taken back")
	}
	b.Report(back, lost, breaker.Failure)
	if got := b.State(back); got != breaker.HalfOpen {
		t.Errorf("a result that came too late made the state %v", got)
	}
	recoverAt(t, b, back)
}

func TestIgnoredProbeGivesThePermitBack(t *testing.T) {
	b := newBreaker(t, breaker.Config{})
	openNow(t, b, start)
	now := b.Next(start)
	for _, o := range []breaker.Outcome{breaker.Ignored, breaker.Outcome(77)} {
		if !call(b, now, o) {
			t.Fatal("no probe admitted")
		}
		if got := b.Snapshot(now); got.State != breaker.HalfOpen || got.ProbesOut != 0 || got.ProbeSuccesses != 0 {
			t.Errorf("after %v: %+v", o, got)
		}
		if got := b.Next(now); !got.Equal(now) {
			t.Errorf("next is %v, want now", got)
		}
	}
	recoverAt(t, b, now)
}

func TestReportsThatDoNotCount(t *testing.T) {
	config := breaker.Config{Consecutive: 2}
	b, other := newBreaker(t, config), newBreaker(t, config)
	p, err := b.Allow(start)
	if err != nil {
		t.Fatal(err)
	}
	other.Report(start, p, breaker.Failure)
	b.Report(start, breaker.Permit{}, breaker.Failure)
	if got := b.Snapshot(start).ConsecutiveFailures + other.Snapshot(start).ConsecutiveFailures; got != 0 {
		t.Errorf("a foreign and a zero permit made %d failures", got)
	}
	for range 3 {
		b.Report(start, p, breaker.Failure)
	}
	if got := b.Snapshot(start).ConsecutiveFailures; got != 1 {
		t.Errorf("one permit reported three times made %d failures", got)
	}
	// The next permit may use the same storage; the old one stays void.
	next, err := b.Allow(start)
	if err != nil {
		t.Fatal(err)
	}
	b.Report(start, p, breaker.Failure)
	b.Report(start, next, breaker.Success)
	if got := b.Snapshot(start); got.ConsecutiveFailures != 0 || got.WindowSuccesses != 1 || got.WindowFailures != 1 {
		t.Errorf("got %+v, want one success and one failure", got)
	}
	if (breaker.Permit{}).Probe() {
		t.Error("the zero permit is a probe")
	}
}

func TestGettersChangeNothing(t *testing.T) {
	b := newBreaker(t, breaker.Config{})
	if diff := cmp.Diff(breaker.Snapshot{}, b.Snapshot(start)); diff != "" {
		t.Errorf("before use (-want +got)\n%s", diff)
	}
	openNow(t, b, start)
	due := b.Next(start)
	before := b.Snapshot(due)
	for _, now := range []time.Time{start, due, due.Add(time.Hour)} {
		if got := b.State(now); got != breaker.Open {
			t.Errorf("state at %v is %v, want open until a probe is admitted", now, got)
		}
		if got, want := b.Next(now), max(due.Sub(start), now.Sub(start)); got.Sub(start) != want {
			t.Errorf("next at %v is %v", now, got)
		}
	}
	if diff := cmp.Diff(before, b.Snapshot(due)); diff != "" {
		t.Errorf("looking changed (-before +after)\n%s", diff)
	}
}

// Times without a monotonic reading can go back.
func TestClockThatIsSetBack(t *testing.T) {
	b := newBreaker(t, breaker.Config{Consecutive: -1, MinVolume: 3})
	call(b, start, breaker.Failure)
	call(b, start.Add(-time.Millisecond), breaker.Failure)
	if got := b.Snapshot(start).WindowFailures; got != 2 {
		t.Errorf("a time from a race: %d failures in the window, want 2", got)
	}
	before := start.Add(-time.Hour)
	call(b, before, breaker.Failure)
	if got := b.Snapshot(before).WindowFailures; got != 1 {
		t.Errorf("after the clock was set back: %d failures in the window, want 1", got)
	}
	if got := b.State(before); got != breaker.Closed {
		t.Errorf("state is %v", got)
	}
}

func TestFarTimesDoNotOverflow(t *testing.T) {
	b := newBreaker(t, breaker.Config{Recovery: math.MaxInt64, RecoveryMax: math.MaxInt64, ProbeTimeout: math.MaxInt64, Window: math.MaxInt64})
	call(b, start, breaker.Success)
	now := start.Add(time.Hour)
	openNow(t, b, now)
	if got := b.Next(now); got.Sub(now) < 200*365*24*time.Hour {
		t.Errorf("next is %v, want it in centuries", got)
	}
	if call(b, start.Add(100*365*24*time.Hour), breaker.Success) {
		t.Error("a probe a hundred years early")
	}
}

func TestSuccessDoesNotAllocate(t *testing.T) {
	b := newBreaker(t, breaker.Config{})
	call(b, start, breaker.Success)
	now := start
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(10 * time.Millisecond)
		call(b, now, breaker.Success)
	}); n != 0 {
		t.Errorf("Allow and Report allocate %v times", n)
	}
}

// A closed breaker gives a permit without the time, and it counts like any other;
// one that is not closed gives none and nothing changes, also where a probe is due.
func TestAllowClosedGivesPermitsOfAClosedBreakerOnly(t *testing.T) {
	b := newBreaker(t, breaker.Config{})
	for range 5 {
		p, ok := b.AllowClosed()
		if !ok {
			t.Fatal("a closed breaker gave no permit")
		}
		b.Report(start, p, breaker.Failure)
	}
	if got := b.State(start); got != breaker.Open {
		t.Fatalf("state after five failures is %v", got)
	}
	due := b.Next(start)
	if _, ok := b.AllowClosed(); ok {
		t.Error("an open breaker gave a permit")
	}
	if !call(b, due, breaker.Success) {
		t.Fatal("no probe is admitted when it is due")
	}
	if p, ok := b.AllowClosed(); ok || b.State(due) != breaker.HalfOpen {
		t.Errorf("a half-open breaker gave %+v", p)
	}
	if !call(b, due, breaker.Success) {
		t.Error("asking took a probe away")
	}
}

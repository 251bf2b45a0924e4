package breaker_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/breaker"
)

// together runs f in n goroutines that start at one moment.
func together(n int, f func(i int)) {
	var done sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		done.Go(func() {
			<-begin
			f(i)
		})
	}
	close(begin)
	done.Wait()
}

func TestHalfOpenAdmitsExactlyProbes(t *testing.T) {
	for _, probes := range []int{1, 3, 10} {
		b := newBreaker(t, breaker.Config{Probes: probes})
		openNow(t, b, start)
		due := b.Next(start)
		var admitted atomic.Int64
		together(1000, func(int) {
			if p, err := b.Allow(due); err == nil {
				if !p.Probe() {
					t.Error("a permit of a half-open breaker is no probe")
				}
				admitted.Add(1)
			}
		})
		if got := admitted.Load(); got != int64(probes) {
			t.Errorf("%d probes admitted, want %d", got, probes)
		}
	}
}

func TestOnePermitReportedByManyCountsOnce(t *testing.T) {
	for range 100 {
		b := newBreaker(t, breaker.Config{Consecutive: 2})
		p, err := b.Allow(start)
		if err != nil {
			t.Fatal(err)
		}
		together(50, func(int) { b.Report(start, p, breaker.Failure) })
		if got := b.Snapshot(start); got.State != breaker.Closed || got.ConsecutiveFailures != 1 {
			t.Fatalf("one failure counted as %+v", got)
		}
	}
}

// A whole concurrency of calls that fail at one moment is one outage.
func TestFailuresAtOneMomentOpenOnce(t *testing.T) {
	for range 200 {
		b := newBreaker(t, breaker.Config{Consecutive: 1})
		permits := make([]breaker.Permit, 8)
		for i := range permits {
			var err error
			if permits[i], err = b.Allow(start); err != nil {
				t.Fatal(err)
			}
		}
		together(len(permits), func(i int) { b.Report(start, permits[i], breaker.Failure) })
		if got := b.Snapshot(start); got.State != breaker.Open || got.Openings != 1 || got.Generation != 1 {
			t.Fatalf("got %+v, want one opening", got)
		}
	}
}

func TestNoResultIsLostWhileClosed(t *testing.T) {
	const workers, calls = 50, 200
	b := newBreaker(t, breaker.Config{Consecutive: -1, FailureRate: -1})
	together(workers, func(i int) {
		for range calls {
			o := breaker.Success
			if i%2 == 0 {
				o = breaker.Failure
			}
			if !call(b, start, o) {
				t.Error("a closed breaker refused")
			}
		}
	})
	if got := b.Snapshot(start); got.WindowSuccesses != workers*calls/2 || got.WindowFailures != workers*calls/2 {
		t.Errorf("got %d successes and %d failures, want %d each", got.WindowSuccesses, got.WindowFailures, workers*calls/2)
	}
}

// Whatever goroutines do, there are never more probes out than allowed, and a
// breaker whose downstream is well again closes.
func TestConcurrentUse(t *testing.T) {
	const probes = 3
	b := newBreaker(t, breaker.Config{Probes: probes, Window: time.Second})
	var clock, admitted atomic.Int64
	together(16, func(i int) {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		for range 200 {
			now := start.Add(time.Duration(clock.Add(r.Int64N(int64(2 * time.Millisecond)))))
			p, err := b.Allow(now)
			if err == nil {
				if p.Probe() {
					admitted.Add(1)
				}
				b.Report(now, p, breaker.Outcome(r.IntN(3)))
				b.Report(now, p, breaker.Failure)
			}
			if s := b.Snapshot(now); s.ProbesOut > probes {
				t.Errorf("%d probes out, want at most %d", s.ProbesOut, probes)
			}
			if r.IntN(200) == 0 {
				b.Trip(now, now.Add(time.Millisecond))
			}
			b.Next(now)
			b.State(now)
		}
	})
	if admitted.Load() == 0 {
		t.Error("no probe was ever admitted")
	}
	now := start.Add(time.Duration(clock.Load()) + time.Hour)
	for range 10 {
		call(b, now, breaker.Success)
	}
	if got := b.State(now); got != breaker.Closed {
		t.Errorf("state after ten successes is %v", got)
	}
}

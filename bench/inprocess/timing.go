package inprocess

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/bench/rounds"
)

// measurement is how long a loop runs. Quick measurements only show that
// everything still works.
const (
	measurement      = 100 * time.Millisecond
	quickMeasurement = time.Millisecond
)

// loop does its work n times. An error says that it did not: what was measured is
// not the path that was meant.
type loop func(n int) error

// timer measures loops.
type timer struct{ long time.Duration }

func newTimer(quick bool) timer {
	if quick {
		return timer{quickMeasurement}
	}
	return timer{measurement}
}

// loop measures a body that does its work n times. fresh is called for every
// measurement, outside of the time.
func (t timer) loop(fresh func() (loop, error)) func(context.Context) (rounds.Sample, error) {
	return func(context.Context) (rounds.Sample, error) {
		body, err := fresh()
		if err != nil {
			return nil, err
		}
		n, err := t.calibrate(body)
		if err != nil {
			return nil, err
		}
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		err = body(n)
		took := time.Since(start)
		if err != nil {
			return nil, err
		}
		runtime.ReadMemStats(&after)
		return rounds.Sample{
			rounds.Nanoseconds: float64(took.Nanoseconds()) / float64(n),
			// Whole ones, as go test prints them: the runtime's own few are not ours.
			rounds.Allocations: float64((after.Mallocs - before.Mallocs) / uint64(n)),
		}, nil
	}
}

// calibrate finds out how often the body has to run to fill the time, and warms
// it up.
func (t timer) calibrate(body loop) (int, error) {
	for n := 64; ; n *= 2 {
		start := time.Now()
		if err := body(n); err != nil {
			return 0, err
		}
		if took := time.Since(start); took >= t.long/8 {
			return max(n, int(float64(n)*float64(t.long)/float64(took))), nil
		}
	}
}

// goroutines is how many goroutines share one instance in the rows that say so.
const goroutines = 8

// shared runs a body in several goroutines that do n times the work together.
func shared(body loop) loop {
	return func(n int) error {
		var all sync.WaitGroup
		failed := make(chan error, goroutines)
		for i := range goroutines {
			share := n / goroutines
			if i < n%goroutines {
				share++
			}
			all.Go(func() { failed <- body(share) })
		}
		all.Wait()
		close(failed)
		var errs []error
		for err := range failed {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
}

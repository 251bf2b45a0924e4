package amqp10

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// queueModel is a server that passes settlements on in the background, and keeps
// those back that come when too many are on their way, until a drain is applied.
type queueModel struct {
	mu                        sync.Mutex
	pending, stashed, applied int
}

const softLimit = 32

func (q *queueModel) settle() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pending >= softLimit {
		q.stashed++
		return
	}
	q.pending++
}

func (q *queueModel) drain() error {
	q.mu.Lock()
	covered := q.pending
	q.mu.Unlock()
	<-time.NewTimer(time.Millisecond).C
	q.mu.Lock()
	defer q.mu.Unlock()
	q.applied += covered
	q.pending = q.pending - covered + q.stashed
	q.stashed = 0
	return nil
}

// What is confirmed was applied, however many settlements are on their way, and
// callers share rounds.
func TestFenceConfirmsWhatWasApplied(t *testing.T) {
	t.Parallel()
	for _, callers := range []int{1, few, few + 1, softLimit, 500} {
		synctest.Test(t, func(t *testing.T) {
			q := &queueModel{}
			var drains atomic.Int64
			f := &fence{drain: func() error { drains.Add(1); return q.drain() }}
			var wg sync.WaitGroup
			for range callers {
				f.settled()
				q.settle()
			}
			for range callers {
				wg.Go(func() {
					if err := f.confirm(t.Context()); err != nil {
						t.Error(err)
					}
					q.mu.Lock()
					defer q.mu.Unlock()
					if q.applied < callers {
						t.Errorf("confirmed when %d of %d were applied", q.applied, callers)
					}
				})
			}
			wg.Wait()
			if n := drains.Load(); n > 6 {
				t.Errorf("%d callers took %d drains", callers, n)
			}
			synctest.Wait()
			if f.running || f.sent != 0 {
				t.Errorf("the fence is left with %+v", f)
			}
		})
	}
}

// Who waits too long gives up, and the round goes on for the others.
func TestFenceHonoursTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fence{drain: func() error { <-time.NewTimer(time.Second).C; return nil }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := f.confirm(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("confirm: %v, want the context's error", err)
		}
		start := time.Now()
		if err := f.confirm(t.Context()); err != nil || time.Since(start) > 2*time.Second {
			t.Errorf("the next one: %v after %v", err, time.Since(start))
		}
	})
}

// A connection that is over tells everybody who waits, and each one later.
func TestFenceTellsOfTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := errors.New("over")
		f := &fence{drain: func() error { <-time.NewTimer(time.Second).C; return over }}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if err := f.confirm(t.Context()); !errors.Is(err, over) {
					t.Errorf("confirm: %v, want the connection's error", err)
				}
			})
		}
		wg.Wait()
	})
}

package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// rows are the keys that a fake inbox would delete.
type rows struct {
	mu    sync.Mutex // guards left and calls
	left  int64
	calls []time.Duration
	begin time.Time
	// broken is the call that fails, from 1.
	broken int
}

func (r *rows) Purge(_ context.Context, limit int) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, time.Since(r.begin))
	n := min(r.left, int64(limit))
	r.left -= n
	if len(r.calls) == r.broken {
		return n, errors.New("locked")
	}
	return n, nil
}

// seen returns when the calls came.
func (r *rows) seen() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

func TestPurge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := &rows{left: 2*purgeRows + 1, begin: time.Now(), broken: 4}
		done := make(chan struct{})
		go func() { defer close(done); purge(ctx, "rows", r, slog.New(slog.DiscardHandler)) }()
		synctest.Wait()
		require.Equal(t, []time.Duration{0, 0, 0}, r.seen(), "at once, until nothing is left")
		timer := time.NewTimer(purgeEvery)
		<-timer.C
		synctest.Wait()
		timer.Reset(purgeEvery)
		<-timer.C
		synctest.Wait()
		require.Equal(t, []time.Duration{0, 0, 0, purgeEvery, 2 * purgeEvery}, r.seen(), "an error is tried again")
		cancel()
		<-done
	})
}

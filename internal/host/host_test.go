package host_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redrive-dev/redrive/internal/host"
)

// A gate that was opened before anybody waits lets the next one through, once.
func TestGateRemembersOneOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := host.Real()
		g := h.Gate()
		g.Open()
		g.Open()
		if !g.Wait(time.Time{}) {
			t.Error("an open gate did not let its waiter through")
		}
		start := time.Now()
		if g.Wait(start.Add(time.Second)) {
			t.Error("the second opening of an open gate was remembered")
		}
		if got := time.Since(start); got != time.Second {
			t.Errorf("waited %s, want 1s", got)
		}
		h.Start(func() { g.Open() })
		if !g.Wait(start.Add(time.Hour)) || time.Since(start) != time.Second {
			t.Error("a waiter was not let through at once")
		}
		if g.Wait(start) {
			t.Error("a time in the past was not noticed")
		}
	})
}

func TestTimeoutAndAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := host.Real()
		start := h.Now()
		ctx, cancel := h.Timeout(t.Context(), time.Minute)
		defer cancel()
		h.Await(ctx)
		if got := h.Now().Sub(start); got != time.Minute || ctx.Err() != context.DeadlineExceeded {
			t.Errorf("after %s: %v", got, ctx.Err())
		}
		if a, b := h.ID(), h.ID(); a == b || len(a) != 32 {
			t.Errorf("ids %q and %q", a, b)
		}
		if len(h.Stack()) == 0 {
			t.Error("no stack")
		}
	})
}

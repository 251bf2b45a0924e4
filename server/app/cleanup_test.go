package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCleanup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var order []string
		broken := errors.New("broken")
		var c cleanup
		add := func(name string, err error) {
			c.push(name, func(context.Context) error { order = append(order, name); return err })
		}
		add("first", nil)
		add("second", broken)
		c.push("panics", func(context.Context) error { panic("oops") })
		release := make(chan struct{})
		c.push("hangs", func(context.Context) error { <-release; return nil })
		c.push("watches its context", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		add("last", nil)

		begin := time.Now()
		err := c.run(t.Context(), 10*time.Second)
		require.Equal(t, []string{"last", "second", "first"}, order, "the newest first, and none is left out")
		require.ErrorIs(t, err, broken)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "second: broken")
		require.ErrorContains(t, err, "panics: panic: oops")
		require.ErrorContains(t, err, "hangs: did not end within 10s and is left behind")
		require.Equal(t, 21*time.Second, time.Since(begin), "each step is bounded")

		require.NoError(t, c.run(t.Context(), time.Second), "again does nothing")
		require.Len(t, order, 3)
		close(release)
	})
}

package demo_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/redrivetest/mutant"
	"github.com/redrive-dev/redrive/server/internal/demo"
)

// short is a run of seconds in which everything happens.
func short(t *testing.T) demo.Options {
	t.Helper()
	return demo.Options{
		Once: true, Messages: 500, Seed: 7, DataDir: filepath.Join(t.TempDir(), "data"),
		OutageAt: time.Second, Outage: time.Second, RecoveryMax: 300 * time.Millisecond, RetryMax: time.Second,
		Lease: 600 * time.Millisecond, Timeout: time.Minute,
	}
}

// times is how often a test repeats a run.
func times(few, many int) int {
	if os.Getenv("REDRIVE_FULL") == "1" {
		return many
	}
	return few
}

func TestRunBalances(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	a, err := demo.Run(t.Context(), short(t), platform(), demo.Streams{Progress: &out})
	require.NoError(t, err)
	t.Logf("%s\n%+v", out.String(), a)
	require.True(t, a.Balanced, "%q", a.Problems)
	require.True(t, a.Settled)
	require.Equal(t, 500, a.Published)
	require.Equal(t, 8, a.DeadLettered["schema"]["permanent"])
	require.Equal(t, 3, a.DeadLettered["business"]["permanent"])
	require.Equal(t, 1, a.Quarantined["transient"]+a.DeadLettered["transient"]["attempts"])
	require.Equal(t, 2, a.Quarantined["crash"])
	require.Equal(t, 486, a.Handled)
	require.Positive(t, a.BreakerOpenings)
	require.GreaterOrEqual(t, a.WorkerDeaths, 5, "the killer dies twice among others and three times alone")
	require.Zero(t, a.Kills)
	require.Contains(t, out.String(), "the downstream goes down")
	require.Contains(t, out.String(), "quarantined: crash, crash loop")
	require.Contains(t, out.String(), "published 500/500")
}

// Kills in the middle of moves lose nothing.
func TestKillsLoseNothing(t *testing.T) {
	t.Parallel()
	for range times(1, 10) {
		o := short(t)
		o.Kills = 12
		a, err := demo.Run(t.Context(), o, platform(), demo.Streams{Progress: t.Output()})
		require.NoError(t, err)
		require.True(t, a.Balanced, "%+v", a)
		require.Positive(t, a.Kills)
	}
}

// A check that a known-bad broker passes proves nothing.
func TestMutantsDoNotBalance(t *testing.T) {
	t.Parallel()
	for _, name := range demo.Mutants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runs := times(1, 5)
			if name == mutant.AckFirst {
				runs = times(2, 20)
			}
			for seed := range runs {
				o := short(t)
				o.Mutant, o.Seed, o.Messages, o.Outage = name, uint64(seed), 300, 0
				if name == mutant.HistoryDropped {
					o.Timeout = 5 * time.Second // Orders fail for ever.
				}
				a, err := demo.Run(t.Context(), o, platform(), demo.Streams{Quiet: true})
				require.NoError(t, err)
				require.False(t, a.Balanced, "%+v", a)
				require.NotEmpty(t, a.Problems)
				switch name {
				case mutant.AckFirst, mutant.UnconfirmedPublish:
					require.Positive(t, a.Lost, "%+v", a)
				case mutant.TimestampedKey:
					require.Positive(t, a.Altered, "%+v", a)
				case mutant.HistoryDropped:
					require.False(t, a.Settled, "%+v", a)
				}
			}
		})
	}
}

// A run without an end ends by its context, with an account of what was done.
func TestRunWithoutAnEnd(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	o := short(t)
	o.Once, o.Rate = false, 500
	o.PictureAt = 1500 * time.Millisecond
	o.Picture = func(f demo.Frame) error {
		require.Positive(t, f.Handled)
		cancel(stop)
		return nil
	}
	a, err := demo.Run(ctx, o, platform(), demo.Streams{Quiet: true})
	require.NoError(t, err)
	require.True(t, a.Balanced, "%+v", a)
	require.Positive(t, a.Handled)

	// With an end, the same is an interruption, and still has its account.
	o = short(t)
	ctx, cancel = context.WithCancelCause(t.Context())
	o.PictureAt = 500 * time.Millisecond
	o.Picture = func(demo.Frame) error {
		cancel(stop)
		return nil
	}
	a, err = demo.Run(ctx, o, platform(), demo.Streams{Quiet: true})
	require.ErrorIs(t, err, stop)
	require.True(t, a.Balanced, "%+v", a)
	require.False(t, a.Settled)
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	o := short(t)
	o.Mutant = "good"
	_, err := demo.Run(t.Context(), o, platform(), demo.Streams{})
	require.ErrorContains(t, err, "Mutant")

	o = short(t)
	require.NoError(t, os.MkdirAll(filepath.Join(o.DataDir, "nats"), 0o755))
	_, err = demo.Run(t.Context(), o, platform(), demo.Streams{})
	require.ErrorIs(t, err, demo.ErrNotEmpty)

	o = short(t)
	p := platform()
	down := errors.New("no broker today")
	p.StartBroker = func(context.Context, demo.RunID) (demo.Server, error) { return nil, down }
	_, err = demo.Run(t.Context(), o, p, demo.Streams{})
	require.ErrorIs(t, err, down)
}

func TestWorkNeedsToBeTold(t *testing.T) {
	t.Parallel()
	err := demo.Work(t.Context(), strings.NewReader("hello"), t.Output(), platform())
	require.ErrorContains(t, err, "redrive demo starts this process")
}

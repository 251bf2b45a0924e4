package demo_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/server/internal/demo"
)

// short is a run of seconds in which everything happens.
func short(t *testing.T) demo.Options {
	t.Helper()
	return demo.Options{
		Once: true, Messages: 500, Seed: 7, DataDir: t.TempDir() + "/data",
		OutageAt: time.Second, Outage: time.Second, RecoveryMax: 300 * time.Millisecond, RetryMax: time.Second,
		Lease: 600 * time.Millisecond, Timeout: time.Minute,
	}
}

func TestRunBalances(t *testing.T) {
	t.Parallel()
	a, err := demo.Run(t.Context(), short(t), platform(), demo.Streams{Progress: t.Output()})
	require.NoError(t, err)
	t.Logf("%+v", a)
	require.True(t, a.Balanced, "%q", a.Problems)
}

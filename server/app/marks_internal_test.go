package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
)

func marksIn(t *testing.T, dir, name string) *marks {
	t.Helper()
	m := newMarks(dir, name)
	t.Cleanup(func() { require.NoError(t, m.close(t.Context())) })
	return m
}

func TestMarksKeepTheContract(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	brokertest.RunMarkStore(t, func(t *testing.T) broker.MarkStore {
		t.Helper()
		return marksIn(t, filepath.Join(root, strings.ReplaceAll(t.Name(), "/", "_")), "prod")
	})
}

// Brokers that share a data directory do not read each other's notes, and who
// writes none leaves no file behind.
func TestMarksOfTwoBrokers(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	one, two := marksIn(t, dir, "one"), marksIn(t, dir, "two")
	unused := newMarks(filepath.Join(dir, "unused"), "three")
	require.NoError(t, unused.close(t.Context()))
	require.NoDirExists(t, dir)
	require.NoError(t, one.StoreMark(t.Context(), "m", broker.Mark{Explained: 1}))
	got, err := two.LoadMark(t.Context(), "m")
	require.NoError(t, err)
	require.True(t, got.IsZero())
	info, err := os.Stat(filepath.Join(dir, marksFile))
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077, "others must not read it")
	require.NoError(t, one.close(t.Context()))
	require.ErrorContains(t, one.StoreMark(t.Context(), "m", broker.Mark{}), "closed")
}

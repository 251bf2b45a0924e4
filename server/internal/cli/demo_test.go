package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/server/internal/demo"
)

func TestDemoRefuses(t *testing.T) {
	t.Parallel()
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o600))
	down := errors.New("no broker today")
	tests := []struct {
		name   string
		args   []string
		code   int
		stderr string
	}{
		{"messages without once", []string{"--messages", "5"}, ExitUsage, "add --once"},
		{"mutant", []string{"--once", "--mutant", "good"}, ExitUsage, "ack-first"},
		{"messages", []string{"--once", "--messages", "-1"}, ExitUsage, "Messages: -1"},
		{"argument", []string{"now"}, ExitUsage, "redrive demo --help"},
		{"folder in use", []string{"--once", "--data-dir", full}, ExitError, "leave --data-dir out"},
		{"no broker", []string{"--once"}, ExitError, down.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newConsole("", false)
			started := ""
			c.Services.Demo = demo.Platform{StartBroker: func(_ context.Context, run demo.RunID) (demo.Server, error) {
				started = run.Dir
				return nil, down
			}}
			require.Equal(t, tt.code, Main(t.Context(), c.App, append([]string{"demo"}, tt.args...)))
			require.Contains(t, c.err.String(), tt.stderr)
			require.Empty(t, c.out.String())
			if started != "" {
				require.NoDirExists(t, started, "a temporary folder does not stay behind")
			}
		})
	}
	require.FileExists(t, filepath.Join(full, "mine"))
}

func TestDemoWorkerIsHidden(t *testing.T) {
	t.Parallel()
	c := newConsole("", false)
	require.Equal(t, ExitOK, Main(t.Context(), c.App, []string{"help"}))
	require.Contains(t, c.out.String(), "demo ")
	require.NotContains(t, c.out.String(), "demo-worker")

	c = newConsole("nothing to do", false)
	require.Equal(t, ExitError, Main(t.Context(), c.App, []string{"demo-worker"}))
	require.Contains(t, c.err.String(), "redrive demo starts this process")
}

func TestDemoPicture(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "demo.svg")
	require.NoError(t, writePicture(path, demo.Frame{}))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(raw), "<svg")
	files, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Error(t, writePicture(filepath.Join(t.TempDir(), "none", "demo.svg"), demo.Frame{}))
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/tmp/x": "/tmp/x", "/tmp/my data": "'/tmp/my data'", "it's": `'it'\''s'`} {
		require.Equal(t, want, shellQuote(path))
	}
}

// The account goes where data goes, in the format that was asked for.
func TestDemoAccountIsData(t *testing.T) {
	t.Parallel()
	c := newConsole("", false)
	x := &call{App: c.App}
	x.flags.output = "json"
	a := demo.Balance(demo.Books{})
	require.NoError(t, printOne(x, a, verdict(a), a.WriteText))
	var got demo.Account
	require.NoError(t, json.Unmarshal(c.out.Bytes(), &got))
	require.True(t, got.Balanced)
}

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// console is an App whose streams are in memory.
type console struct {
	App
	out, err *bytes.Buffer
}

func newConsole(stdin string, terminal bool, environ ...string) *console {
	out, err := &bytes.Buffer{}, &bytes.Buffer{}
	return &console{out: out, err: err, App: App{
		Stdin: strings.NewReader(stdin), Stdout: out, Stderr: err, Environ: environ,
		IsTerminal: func(any) bool { return terminal },
		Now:        func() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) },
		Build:      Build{Version: "v1.2.3", Commit: "0123456789abcdef", CommitTime: "2026-11-22T10:00:00Z", Modified: true, Go: "go1.26.8", Platform: "linux/amd64"},
	}}
}

func TestVersionForPeople(t *testing.T) {
	t.Parallel()
	c := newConsole("", false)
	require.Equal(t, ExitOK, Main(t.Context(), c.App, []string{"version"}))
	require.Equal(t, "redrive v1.2.3 (commit 0123456789ab, modified, 2026-11-22T10:00:00Z, go1.26.8, linux/amd64)\n", c.out.String())
	require.Equal(t, "2026-11-22T09:00:00Z", utc("2026-11-22T10:00:00+01:00"))
	require.Empty(t, utc("yesterday"))
}

func TestColour(t *testing.T) {
	t.Parallel()
	const coloured = "\x1b[1;31merror:\x1b[0m"
	tests := []struct {
		name     string
		terminal bool
		environ  []string
		args     []string
		want     bool
	}{
		{"terminal", true, nil, nil, true},
		{"no terminal", false, nil, nil, false},
		{"NO_COLOR", true, []string{"NO_COLOR=1"}, nil, false},
		{"empty NO_COLOR", true, []string{"NO_COLOR="}, nil, true},
		{"dumb", true, []string{"TERM=dumb"}, nil, false},
		{"flag", true, nil, []string{"--no-color"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newConsole("", tt.terminal, tt.environ...)
			require.Equal(t, ExitUsage, Main(t.Context(), c.App, append(tt.args, "version", "extra")))
			require.Equal(t, tt.want, strings.Contains(c.err.String(), coloured), c.err.String())
			require.Equal(t, tt.want, strings.Contains(c.err.String(), "\x1b"))
		})
	}
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, stdin, want string
		terminal          bool
		flags             globals
		code              int
		asked             string
	}{
		{"yes", "y\n", "", true, globals{}, ExitOK, "Purge 3 letters? [y/N] "},
		{"YES", "YES\n", "", true, globals{}, ExitOK, "Purge 3 letters? [y/N] "},
		{"no", "n\n", "", true, globals{}, ExitUsage, "Purge 3 letters? [y/N] "},
		{"nothing", "", "", true, globals{}, ExitUsage, "Purge 3 letters? [y/N] "},
		{"name", "orders\n", "orders", true, globals{}, ExitOK, "Purge 3 letters? Type orders to go on: "},
		{"yes for a name", "y\n", "orders", true, globals{}, ExitUsage, "Purge 3 letters? Type orders to go on: "},
		{"no terminal", "y\n", "", false, globals{}, ExitUsage, ""},
		{"no input", "y\n", "", true, globals{noInput: true}, ExitUsage, ""},
		{"flag", "", "orders", false, globals{yes: true, noInput: true}, ExitOK, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newConsole(tt.stdin, tt.terminal)
			err := (&call{App: c.App, flags: tt.flags}).confirm(t.Context(), "Purge 3 letters?", tt.want)
			require.Equal(t, tt.code, exitCode(t.Context(), err), "%v", err)
			require.Equal(t, tt.asked, c.err.String())
		})
	}
}

func TestConfirmCanBeInterrupted(t *testing.T) {
	t.Parallel()
	c := newConsole("", true)
	in, hold := io.Pipe()
	defer func() { _ = hold.Close() }()
	c.Stdin = in
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ErrInterrupted)
	err := (&call{App: c.App}).confirm(ctx, "Sure?", "")
	require.Equal(t, ExitInterrupted, exitCode(ctx, err))
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	interrupted, cancel := context.WithCancelCause(t.Context())
	cancel(ErrInterrupted)
	tests := []struct {
		ctx  context.Context //nolint:containedctx // It is what the test varies.
		err  error
		want int
	}{
		{t.Context(), nil, ExitOK},
		{t.Context(), io.EOF, ExitError},
		{t.Context(), &Error{Err: io.EOF}, ExitError},
		{t.Context(), fmt.Errorf("wrapped: %w", &Error{Code: ExitGate, Err: io.EOF}), ExitGate},
		{t.Context(), fmt.Errorf("wrapped: %w", context.DeadlineExceeded), ExitTimeout},
		{t.Context(), context.Canceled, ExitError},
		{interrupted, fmt.Errorf("wrapped: %w", context.Canceled), ExitInterrupted},
		{interrupted, fmt.Errorf("wrapped: %w", ErrInterrupted), ExitInterrupted},
		{interrupted, io.EOF, ExitError},
		{interrupted, nil, ExitOK},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, exitCode(tt.ctx, tt.err), "%v", tt.err)
	}
}

func TestSilentErrorsSayNothing(t *testing.T) {
	t.Parallel()
	c := newConsole("", false)
	(&call{App: c.App}).report(&Error{Code: ExitPartial, Err: errors.New("x"), Hint: "y", Silent: true}, ExitPartial)
	require.Empty(t, c.err.String())
}

func TestErrorsCannotForgeLines(t *testing.T) {
	t.Parallel()
	c := newConsole("", false)
	(&call{App: c.App}).report(errors.New("a\x1b[2J\r\nb\u202ec"), ExitError)
	require.Equal(t, "error: a\uFFFD[2J\uFFFD b\uFFFDc\n", c.err.String())
}

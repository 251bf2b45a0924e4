package embednats_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/server/internal/embednats"
)

func start(t *testing.T, config embednats.Config) *embednats.Server {
	t.Helper()
	s, err := embednats.Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *embednats.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	require.NoError(t, s.Shutdown(ctx))
}

func stream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return js
}

func TestRestartKeepsDataAndToken(t *testing.T) {
	t.Parallel()
	for _, sync := range []string{embednats.SyncAlways, embednats.SyncDefault} {
		t.Run(sync, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			s := start(t, embednats.Config{DataDir: dir, Sync: sync})
			token := s.Token()
			nc, err := s.Connect()
			require.NoError(t, err)
			js := stream(t, nc)
			_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
			require.NoError(t, err)
			_, err = js.Publish(t.Context(), "s", []byte("kept"))
			require.NoError(t, err)
			stop(t, s)

			s = start(t, embednats.Config{DataDir: dir, Sync: sync})
			require.Equal(t, token, s.Token())
			nc, err = s.Connect()
			require.NoError(t, err)
			kept, err := stream(t, nc).Stream(t.Context(), "S")
			require.NoError(t, err)
			m, err := kept.GetMsg(t.Context(), 1)
			require.NoError(t, err)
			require.Equal(t, "kept", string(m.Data))
		})
	}
}

func TestSecondStartNamesTheHolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, embednats.Config{DataDir: dir})
	_, err := embednats.Start(t.Context(), embednats.Config{DataDir: dir})
	var locked *embednats.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, os.Getpid(), locked.PID)
	require.ErrorContains(t, err, dir)
	require.ErrorContains(t, err, strconv.Itoa(os.Getpid()))
	_, err = embednats.Discover(dir)
	require.NoError(t, err, "the refused start must not take the first one's URL away")
	stop(t, s)
	start(t, embednats.Config{DataDir: dir})
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := embednats.Discover(dir)
	require.ErrorIs(t, err, embednats.ErrNotRunning)
	s := start(t, embednats.Config{DataDir: dir})
	found, err := embednats.Discover(dir)
	require.NoError(t, err)
	require.Equal(t, embednats.Found{URL: s.URL(), Token: s.Token()}, found)
	nc, err := nats.Connect(found.URL, nats.Token(found.Token))
	require.NoError(t, err)
	nc.Close()
	stop(t, s)
	_, err = embednats.Discover(dir)
	require.ErrorIs(t, err, embednats.ErrNotRunning)
}

func TestOnlyTheUserGetsIn(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, embednats.Config{DataDir: dir})
	_, err := nats.Connect(s.URL())
	require.ErrorIs(t, err, nats.ErrAuthorization)
	_, err = nats.Connect(s.URL(), nats.Token("guess"))
	require.ErrorIs(t, err, nats.ErrAuthorization)
	host, _, err := net.SplitHostPort(strings.TrimPrefix(s.URL(), "nats://"))
	require.NoError(t, err)
	require.True(t, net.ParseIP(host).IsLoopback(), "listens on %s", host)
	if runtime.GOOS == "windows" {
		return // Mode bits say nothing there; the access list is inherited.
	}
	for name, want := range map[string]os.FileMode{"": 0o700, "nats.token": 0o600, "nats.url": 0o600, "nats.lock": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), "mode of %q", name)
	}
}

func TestTokenThatOthersCouldReadIsReplaced(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // Mode bits say nothing there.
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "nats.token")
	old := strings.Repeat("x", 30)
	require.NoError(t, os.WriteFile(path, []byte(old), 0o644))
	s := start(t, embednats.Config{DataDir: dir})
	require.NotEqual(t, old, s.Token())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestFailedStartGivesTheDirectoryUp(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	taken, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	dir := t.TempDir()
	_, err = embednats.Start(t.Context(), embednats.Config{DataDir: dir, Port: number})
	require.ErrorContains(t, err, "address already in use")
	start(t, embednats.Config{DataDir: dir})
}

func TestMaxStoreAndPayloadAreEnforced(t *testing.T) {
	t.Parallel()
	s := start(t, embednats.Config{DataDir: t.TempDir(), MaxStore: 64 << 10, MaxPayload: 32 << 10})
	nc, err := s.Connect()
	require.NoError(t, err)
	require.EqualValues(t, 32<<10, nc.MaxPayload())
	js := stream(t, nc)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Discard: jetstream.DiscardNew})
	require.NoError(t, err)
	var full error
	for range 10 {
		if _, full = js.Publish(t.Context(), "s", make([]byte, 16<<10)); full != nil {
			break
		}
	}
	var api *jetstream.APIError
	require.ErrorAs(t, full, &api)
}

func TestLogGoesToTheLoggerWithoutTheToken(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := start(t, embednats.Config{
		DataDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	_, err := nats.Connect(s.URL(), nats.Token("guess"))
	require.Error(t, err)
	stop(t, s)
	require.Contains(t, log.String(), "JetStream")
	require.NotContains(t, log.String(), s.Token())
}

func TestShutdownIsIdempotent(t *testing.T) {
	t.Parallel()
	s := start(t, embednats.Config{DataDir: t.TempDir()})
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no time"))
	if err := s.Shutdown(ended); err != nil {
		require.ErrorContains(t, err, "no time")
	}
	stop(t, s)
	stop(t, s)
}

func TestValidateReportsEverything(t *testing.T) {
	t.Parallel()
	err := embednats.Config{Sync: "often", Port: -1, MaxStore: -1, MaxPayload: 1, StartTimeout: -1}.WithDefaults().Validate()
	for _, field := range []string{"DataDir", "Sync", "Port", "MaxStore", "MaxPayload", "StartTimeout"} {
		require.ErrorContains(t, err, field+":")
	}
	_, err = embednats.Start(t.Context(), embednats.Config{})
	require.ErrorContains(t, err, "DataDir")
}

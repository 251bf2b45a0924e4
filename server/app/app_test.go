package app_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/server/app"
	"github.com/redrive-dev/redrive/server/internal/config"
	"github.com/redrive-dev/redrive/server/internal/embednats"
)

const sink = "subscriptions: [{source: orders, handler: {sink: discard}}]\n"

func TestOptionsListEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := app.New(t.Context(), app.Options{StopTimeout: -1})
	require.ErrorContains(t, err, "StopTimeout")
	require.ErrorContains(t, err, "subscriptions: there are none")
}

// What New cannot do it reports at once, and nothing is left running.
func TestNewRollsBack(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	dir := filepath.Join(t.TempDir(), "data")
	cfg := configure(t, dir, `
subscriptions:
  - {source: a, handler: {sink: discard}, schema: {file: missing.json}}
  - {source: b, handler: {http: {url: "http://127.0.0.1:1/", auth: {bearer: {env: REDRIVE_TEST_NOT_SET}}}}}
`)
	cfg.Admin.Listen = address
	_, err = app.New(t.Context(), app.Options{Config: cfg, Embedded: true})
	require.ErrorContains(t, err, "subscription a")
	require.ErrorContains(t, err, "subscription b")
	require.NoDirExists(t, dir, "no broker was started for a configuration that cannot run")

	// A broker that is taken: the health endpoint was open by then, and is not now.
	server, err := embednats.Start(t.Context(), embednats.Config{DataDir: dir})
	require.NoError(t, err)
	good := configure(t, dir, sink)
	good.Admin.Listen = address
	_, err = app.New(t.Context(), app.Options{Config: good, Embedded: true})
	var broken *app.BrokerError
	require.ErrorAs(t, err, &broken)
	require.Equal(t, "local", broken.Broker)
	require.Contains(t, broken.Hint(), "redrive run")
	require.ErrorContains(t, err, "in use by process")
	listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	require.NoError(t, err)

	// And an address that is taken, with a broker that is not.
	require.NoError(t, server.Shutdown(t.Context()))
	_, err = app.New(t.Context(), app.Options{Config: good, Embedded: true})
	var taken *app.ListenError
	require.ErrorAs(t, err, &taken)
	require.Contains(t, taken.Hint(), "admin.listen")
	require.NoError(t, listener.Close())
	a := run(t, app.Options{Config: good, Embedded: true})
	require.Equal(t, address, a.Addr().String())
}

func TestMissingBroker(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	cfg := configure(t, dir, sink)
	_, err := app.New(t.Context(), app.Options{Config: cfg})
	var broken *app.BrokerError
	require.ErrorAs(t, err, &broken)
	require.ErrorIs(t, err, embednats.ErrNotRunning)
	require.Contains(t, broken.Hint(), "redrive up --data-dir "+dir)

	cfg.Brokers = map[string]config.Broker{"prod": {Type: config.BrokerNATS, URL: "nats://127.0.0.1:1"}}
	cfg.Subscriptions[0].Broker = "prod"
	_, err = app.New(t.Context(), app.Options{Config: cfg})
	require.ErrorAs(t, err, &broken)
	require.ErrorContains(t, err, "broker prod: connect to nats at nats://127.0.0.1:1")
	require.Contains(t, broken.Hint(), "brokers.prod")

	_, err = app.Connect(t.Context(), cfg, "other", app.ConnectOptions{})
	require.ErrorContains(t, err, "broker other: there is no broker of this name")
}

// A command looks at a broker that runs nowhere by starting it, but not at one
// that never was.
func TestConnectStartsTheBroker(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	cfg := configure(t, dir, sink)
	_, err := app.Connect(t.Context(), cfg, "local", app.ConnectOptions{})
	require.ErrorIs(t, err, app.ErrNoData)
	require.NoDirExists(t, dir, "looking writes nothing")

	conn, err := app.Connect(t.Context(), cfg, "local", app.ConnectOptions{Create: true})
	require.NoError(t, err)
	second, err := app.Connect(t.Context(), cfg, "local", app.ConnectOptions{})
	require.NoError(t, err, "the second one finds the first")
	require.NoError(t, second.Close(t.Context()))
	require.NoError(t, conn.Close(t.Context()))
	_, err = embednats.Discover(dir)
	require.ErrorIs(t, err, embednats.ErrNotRunning)

	third, err := app.Connect(t.Context(), cfg, "local", app.ConnectOptions{})
	require.NoError(t, err, "now there is data to look at")
	require.NoError(t, third.Close(t.Context()))
}

func TestStop(t *testing.T) {
	t.Parallel()
	a, err := app.New(t.Context(), app.Options{Config: configure(t, t.TempDir(), sink), Embedded: true})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, a.Stop(ctx), "without a Run it cleans up itself")
	require.NoError(t, a.Stop(ctx))
	require.NoError(t, a.Run(ctx), "there is nothing left to run")
	require.Error(t, a.Run(ctx))
	_, _, err = tryFetch(ctx, a, "/healthz")
	require.Error(t, err)
}

// A context that ends while everything starts, or right after, is a clean stop.
func TestStopWhileStarting(t *testing.T) {
	t.Parallel()
	cause := errors.New("signal")
	for _, after := range []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond} {
		ctx, cancel := context.WithCancelCause(t.Context())
		a, err := app.New(t.Context(), app.Options{Config: configure(t, t.TempDir(), sink), Embedded: true})
		require.NoError(t, err)
		timer := time.AfterFunc(after, func() { cancel(cause) })
		require.NoError(t, a.Run(ctx))
		timer.Stop()
		cancel(nil)
	}
}

package app_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/server/app"
)

// nobody returns an address at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// Every broker that cannot be reached is in one error, with what to do about it.
func TestEveryUnreachableBrokerIsNamed(t *testing.T) {
	t.Parallel()
	a, b := nobody(t), nobody(t)
	cfg := configureBrokers(t, t.TempDir(), fmt.Sprintf(`
  local: {type: embedded, sync: default, max_store: 256MiB}
  one: {type: nats, url: "nats://%s"}
  two: {type: nats, url: "nats://%s", token: {value: planted-secret}}
subscriptions:
  - {source: x, broker: local, handler: {sink: discard}}
  - {source: x, broker: one, handler: {sink: discard}}
  - {source: x, broker: two, handler: {sink: discard}}
`, a, b))
	_, err := app.New(t.Context(), app.Options{Config: cfg, Embedded: true})
	require.ErrorContains(t, err, "2 brokers cannot be used:\n  broker one: ")
	require.ErrorContains(t, err, "\n  broker two: ")
	require.NotContains(t, err.Error(), "planted-secret")
	var both *app.BrokersError
	require.ErrorAs(t, err, &both)
	require.Equal(t, "one: see that the server runs and JetStream is on, or correct brokers.one; two: see that the server runs and JetStream is on, or correct brokers.two", both.Hint())
}

package app_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/server/app"
)

// An inbox in the broker keeps a message that was published twice under one
// business key from taking effect twice, over a restart of the worker too.
func TestInboxInTheBroker(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	cfg := configure(t, dir, fmt.Sprintf(`
subscriptions:
  - source: orders
    handler: {http: {url: %q}}
    idempotency_header: X-Event-Id
    inbox: {store: kv}
`, server.URL))
	for life, want := range []string{`outcome="handled"} 1`, `redrive_duplicates_total{broker="local",source="orders",group="default"} 1`} {
		ctx, cancel := context.WithCancel(t.Context())
		a, err := app.New(ctx, app.Options{Config: cfg, Embedded: true})
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		eventually(t, a, "/readyz", http.StatusOK, "ok")
		conn, err := app.Connect(ctx, cfg, "local", app.ConnectOptions{})
		require.NoError(t, err)
		require.NoError(t, conn.Publish(ctx, []broker.Outbound{{
			Queue: "orders", ID: fmt.Sprint("pub:", life), Body: []byte(`{}`),
			Headers: []broker.Header{{Name: "X-Event-Id", Value: []byte("event-1")}},
		}})[0])
		eventually(t, a, "/metrics", http.StatusOK, want)
		require.NoError(t, conn.Close(ctx))
		cancel()
		require.NoError(t, <-ended)
	}
	require.EqualValues(t, 1, calls.Load())
}

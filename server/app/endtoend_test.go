package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest"
	"github.com/redrive-dev/redrive/server/app"
	"github.com/redrive-dev/redrive/server/internal/embednats"
)

// patience bounds what a test waits for; it is reached only when it fails.
const patience = 60 * time.Second

// logs keeps what is logged.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// configure reads a configuration with data in a folder of the test.
func configure(t *testing.T, dir, subscriptions string) app.Config {
	t.Helper()
	return configureBrokers(t, dir, "{local: {type: embedded, sync: default, max_store: 256MiB}}\n"+subscriptions)
}

// configureBrokers reads a configuration from its section brokers on.
func configureBrokers(t *testing.T, dir, brokers string) app.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "redrive.yaml")
	text := "version: 1\ndata_dir: " + dir + "\nadmin: {listen: \"127.0.0.1:0\"}\nbrokers: " + brokers
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	l, err := app.Load(app.LoadOptions{File: file})
	require.NoError(t, err)
	return l.Config
}

// run starts an app and stops it when the test ends.
func run(t *testing.T, o app.Options) *app.App {
	t.Helper()
	a, err := app.New(t.Context(), o)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- a.Run(context.WithoutCancel(t.Context())) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		require.NoError(t, a.Stop(ctx))
		require.NoError(t, <-done)
		require.NoError(t, a.Stop(ctx), "stopping again is no error")
	})
	return a
}

// fetch asks the health endpoint.
func fetch(t *testing.T, a *app.App, path string) (int, string) {
	t.Helper()
	status, body, err := tryFetch(t.Context(), a, path)
	require.NoError(t, err)
	return status, body
}

func tryFetch(ctx context.Context, a *app.App, path string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.Addr().String()+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// eventually waits until the health endpoint answers like that.
func eventually(t *testing.T, a *app.App, path string, status int, text string) {
	t.Helper()
	var body string
	require.Eventually(t, func() bool {
		got, b, err := tryFetch(t.Context(), a, path)
		body = b
		return err == nil && got == status && strings.Contains(b, text)
	}, patience, 20*time.Millisecond, "%s never answered %d with %q; last: %s", path, status, text, body)
}

// order is a message of the test. Plan says how the endpoint answers.
type order struct {
	ID   int    `json:"id"`
	Plan string `json:"plan"`
}

// endpoint answers as the plan of each order says, and books what it handled.
type endpoint struct {
	account *redrivetest.Account
	mu      sync.Mutex
	calls   map[int]int
}

// ServeHTTP implements http.Handler.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var o order
	if err != nil || json.Unmarshal(body, &o) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	e.calls[o.ID]++
	first := e.calls[o.ID] == 1
	e.mu.Unlock()
	switch {
	case o.Plan == "schema":
		w.WriteHeader(http.StatusBadRequest)
	case o.Plan == "business":
		w.WriteHeader(http.StatusGone)
	case o.Plan == "broken":
		w.WriteHeader(http.StatusInternalServerError)
	case o.Plan == "unavailable once" && first:
		w.WriteHeader(http.StatusServiceUnavailable)
	case o.Plan == "hangs once" && first:
		<-r.Context().Done()
	default:
		e.account.Handled(&broker.Message{Body: body})
		w.WriteHeader(http.StatusNoContent)
	}
}

// drained waits a moment for the queues to be empty.
func drained(ctx context.Context, b broker.Broker) bool {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	return redrivetest.Drained(ctx, b) == nil
}

func plans() []string {
	var out []string
	for plan, n := range map[string]int{"ok": 115, "schema": 30, "business": 10, "unavailable once": 30, "hangs once": 10, "broken": 5} {
		for range n {
			out = append(out, plan)
		}
	}
	return out
}

func TestEndToEnd(t *testing.T) {
	t.Parallel()
	account := redrivetest.NewAccount(nil)
	e := &endpoint{account: account, calls: map[int]int{}}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	cfg := configure(t, dir, fmt.Sprintf(`
subscriptions:
  - source: orders
    handler: {http: {url: %q, timeout: 500ms}}
    retry: {attempts: 4, base: 1ms, max: 20ms, budget: {ratio: -1}}
    breaker: {recovery: 10ms, recovery_max: 50ms}
    lone_hold: 1s
    inbox: {store: sqlite}
`, server.URL))
	var log logs
	a := run(t, app.Options{Config: cfg, Embedded: true, Logger: log.logger(), Version: "v1.2.3"})
	eventually(t, a, "/readyz", http.StatusOK, "ok")
	require.NoError(t, a.Ready(t.Context()))

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := app.Connect(ctx, cfg, "local", app.ConnectOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	published := 0
	publish := func(plans ...string) {
		t.Helper()
		var messages []broker.Outbound
		for _, plan := range plans {
			published++
			body, err := json.Marshal(order{ID: published, Plan: plan})
			require.NoError(t, err)
			messages = append(messages, broker.Outbound{
				Queue: "orders", ID: fmt.Sprintf("pub:%d", published), Body: body,
				Headers: []broker.Header{{Name: "Content-Type", Value: []byte("application/json")}},
			})
		}
		for _, err := range account.Publish(ctx, conn, messages...) {
			require.NoError(t, err)
		}
	}
	publish(plans()...)
	require.Equal(t, 200, published)
	// A message whose attempts are used up is given up only while others succeed, so
	// there are others until all is done.
	for !drained(ctx, conn) {
		require.NoError(t, ctx.Err(), "the queues are never empty")
		publish("ok", "ok", "ok")
	}
	redrivetest.AssertBalanced(ctx, t, account, conn)
	balance, err := account.Balance(ctx, conn)
	require.NoError(t, err)
	require.Equal(t, published, balance.Confirmed)
	require.Equal(t, published-45, balance.Handled)
	require.Zero(t, balance.Repeats)
	require.Empty(t, balance.Both)
	require.Equal(t, 45, balance.In[broker.KindDeadLetter]+balance.In[broker.KindQuarantine])

	_, metrics := fetch(t, a, "/metrics")
	const labels = `{broker="local",source="orders",group="default"`
	for _, want := range []string{
		"redrive_handler_attempts_total" + labels + fmt.Sprintf(`,outcome="handled"} %d`, published-45),
		"redrive_handler_attempts_total" + labels + `,outcome="schema"} 30`,
		"redrive_dead_lettered_total" + labels + `,category="schema",reason="permanent"} 30`,
		"redrive_dead_lettered_total" + labels + `,category="business",reason="permanent"} 10`,
		"redrive_messages_in_flight" + labels + `,state="running"} 0`,
		`redrive_broker_up{broker="local"} 1`,
		`redrive_build_info{version="v1.2.3"`,
	} {
		require.Contains(t, metrics, want)
	}
	require.Contains(t, log.String(), `"msg":"dead-lettered"`)
	require.NotContains(t, log.String(), `plan`, "no body is logged")
}

func TestReload(t *testing.T) {
	t.Parallel()
	cfg := configure(t, t.TempDir(), "subscriptions: [{source: orders, handler: {sink: discard}}]\n")
	var (
		log  logs
		next app.Config
		fail error
	)
	a := run(t, app.Options{
		Config: cfg, Embedded: true, Logger: log.logger(),
		Reload: func(context.Context) (app.Config, error) { return next, fail },
	})
	next = cfg.Clone()
	changes, err := a.Reload(t.Context())
	require.NoError(t, err)
	require.Empty(t, changes)
	require.Contains(t, log.String(), "valid and unchanged")

	next.Log.Level = "debug"
	changes, err = a.Reload(t.Context())
	require.NoError(t, err)
	require.Equal(t, []app.Change{{Path: "log.level", Old: "info", New: "debug"}}, changes)
	require.Contains(t, log.String(), `"setting":"log.level","old":"info","new":"debug"`)
	require.Contains(t, log.String(), "restart to apply it")

	file := filepath.Join(t.TempDir(), "bad.yaml")
	require.NoError(t, os.WriteFile(file, []byte("version: 1\nlog: {level: loud}\nadmin: {listen: nowhere}\n"), 0o600))
	_, fail = app.Load(app.LoadOptions{File: file})
	_, err = a.Reload(t.Context())
	require.Error(t, err)
	require.Contains(t, log.String(), "log.level")
	require.Contains(t, log.String(), "admin.listen")
	require.Contains(t, log.String(), "the old one stays in force")
}

// Workers that use the broker of another process say so when it is gone, and go
// on when it is back, at another port.
func TestBrokerGoesAndComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func() *embednats.Server {
		s, err := embednats.Start(t.Context(), embednats.Config{DataDir: dir, Sync: embednats.SyncDefault})
		require.NoError(t, err)
		return s
	}
	stop := func(s *embednats.Server) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		require.NoError(t, s.Shutdown(ctx))
	}
	server := start()
	cfg := configure(t, dir, "subscriptions: [{source: orders, handler: {sink: discard}}]\n")
	a := run(t, app.Options{Config: cfg})
	eventually(t, a, "/readyz", http.StatusOK, "ok")

	stop(server)
	eventually(t, a, "/readyz", http.StatusServiceUnavailable, "broker local")
	_, metrics := fetch(t, a, "/metrics")
	require.Contains(t, metrics, "redrive_broker_up{broker=\"local\"} 0\n")
	status, _ := fetch(t, a, "/healthz")
	require.Equal(t, http.StatusOK, status, "the process lives")

	server = start()
	t.Cleanup(func() { stop(server) })
	eventually(t, a, "/readyz", http.StatusOK, "ok")
	conn, err := app.Connect(t.Context(), cfg, "local", app.ConnectOptions{})
	require.NoError(t, err)
	for _, err := range conn.Publish(t.Context(), []broker.Outbound{{Queue: "orders", ID: "pub:1", Body: []byte("x")}}) {
		require.NoError(t, err)
	}
	eventually(t, a, "/metrics", http.StatusOK, `outcome="handled"} 1`)
	require.NoError(t, conn.Close(t.Context()))
	require.NoError(t, conn.Close(t.Context()))
}

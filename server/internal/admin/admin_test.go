package admin_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/server/internal/admin"
)

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start runs a server for the test.
func start(t *testing.T, m *admin.Metrics) *admin.Server {
	t.Helper()
	s, err := admin.Start(t.Context(), "127.0.0.1:0", m, silent())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.WithoutCancel(t.Context()))) })
	return s
}

func get(t *testing.T, s *admin.Server, path string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr().String()+path, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body), resp.Header
}

func observed(m *admin.Metrics) {
	w := m.Worker("local", "or\"ders\n", `gr\oup`)
	failed := func(c failure.Category) *redrive.Event {
		return &redrive.Event{Kind: redrive.EventFailed, Failure: &failure.Failure{Category: c}}
	}
	for _, e := range []*redrive.Event{
		{Kind: redrive.EventHandled},
		{Kind: redrive.EventHandled},
		failed(failure.Transient), failed(failure.Schema), failed(failure.Crash),
		{Kind: redrive.EventRetry},
		{Kind: redrive.EventDuplicate},
		{Kind: redrive.EventReleased},
		{Kind: redrive.EventDeadLettered, Category: failure.Schema, Reason: "permanent"},
		{Kind: redrive.EventDeadLettered, Category: failure.Business, Reason: "key_conflict"},
		{Kind: redrive.EventQuarantined, Category: failure.Crash, Reason: "panic"},
		{Kind: redrive.EventTimeout},
		{Kind: redrive.EventMoveFailed},
		{Kind: redrive.EventBreaker, State: breaker.Open},
	} {
		w.Observe(e)
	}
	w.Watch(func() redrive.Snapshot {
		return redrive.Snapshot{Waiting: 1, Handlers: 2, Staying: 3, Stuck: 4, Suspects: 5, Breaker: breaker.Snapshot{State: breaker.HalfOpen, Openings: 6}}
	}, func() error { return nil })
	m.BrokerUp("local", true)
	m.BrokerUp("remote", false)
}

func TestMetricsText(t *testing.T) {
	t.Parallel()
	m := admin.NewMetrics(admin.Build{Version: "v1.2.3", Commit: "abc", Go: "go1.26"})
	observed(m)
	want, err := os.ReadFile("testdata/metrics.txt")
	require.NoError(t, err)
	if diff := cmp.Diff(string(want), string(m.Text())); diff != "" {
		t.Errorf("metrics differ from testdata/metrics.txt (-want +got):\n%s", diff)
	}
	again := string(m.Text())
	require.Equal(t, string(want), again, "two scrapes of one state are the same")
}

// Every metric that is written is in the documentation of the package, and the
// other way round.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	m := admin.NewMetrics(admin.Build{})
	observed(m)
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	documented, written := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(string(doc)) {
		if name, ok := strings.CutPrefix(line, "//\tredrive_"); ok {
			documented["redrive_"+strings.Fields(name)[0]] = true
		}
	}
	for line := range strings.Lines(string(m.Text())) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			written[strings.Fields(rest)[0]] = true
		}
	}
	require.Equal(t, documented, written)
}

func TestMetricsConcurrently(t *testing.T) {
	t.Parallel()
	m := admin.NewMetrics(admin.Build{})
	w := m.Worker("local", "orders", "default")
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 200 {
				w.Observe(&redrive.Event{Kind: redrive.EventHandled})
				_ = m.Text()
			}
		})
	}
	wait.Wait()
	require.Contains(t, string(m.Text()), `outcome="handled"} 1600`)
}

func TestServer(t *testing.T) {
	t.Parallel()
	m := admin.NewMetrics(admin.Build{Version: "v1"})
	s := start(t, m)

	status, body, _ := get(t, s, "/healthz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ok\n", body)
	status, body, _ = get(t, s, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "starting")

	bad := errors.New("gone\x1b[31m")
	s.SetProber(admin.NewProber([]admin.Check{
		{Name: "broker local", Run: func(context.Context) error { return bad }},
		{Name: "subscription orders", Run: func(context.Context) error { return nil }},
	}, time.Now))
	status, body, header := get(t, s, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "broker local: gone\uFFFD[31m\n", body, "an error cannot steer a terminal")
	require.Equal(t, "no-store", header.Get("Cache-Control"))

	s.SetProber(admin.NewProber([]admin.Check{{Name: "x", Run: func(context.Context) error { return nil }}}, time.Now))
	status, body, _ = get(t, s, "/readyz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ok\n", body)

	status, body, header = get(t, s, "/metrics")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", header.Get("Content-Type"))
	require.Contains(t, body, `redrive_build_info{version="v1"`)
	status, _, _ = get(t, s, "/")
	require.Equal(t, http.StatusNotFound, status)
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	s := start(t, admin.NewMetrics(admin.Build{}))
	_, err := admin.Start(t.Context(), s.Addr().String(), admin.NewMetrics(admin.Build{}), silent())
	require.ErrorContains(t, err, s.Addr().String())
}

func TestProber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		p := admin.NewProber([]admin.Check{
			{Name: "quick", Run: func(context.Context) error { calls++; return nil }},
			{Name: "hangs", Run: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		}, time.Now)
		begin := time.Now()
		got := p.Ready(t.Context())
		require.NoError(t, got[0])
		require.EqualError(t, got[1], "hangs: no answer within 2s")
		require.Equal(t, 2*time.Second, time.Since(begin))

		require.Len(t, p.Ready(t.Context()), 2)
		require.Equal(t, 1, calls, "an answer is kept for a moment")
		timer := time.NewTimer(time.Second)
		<-timer.C
		p.Ready(t.Context())
		require.Equal(t, 2, calls)

		// An asker that goes away leaves nothing behind that others would be told.
		timer.Reset(time.Second)
		<-timer.C
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.Ready(ctx)
		p.Ready(t.Context())
		require.GreaterOrEqual(t, calls, 3)
	})
}

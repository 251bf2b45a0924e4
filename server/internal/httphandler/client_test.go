package httphandler

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/failure"
)

func TestRequest(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body []byte
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	})
	c := newClient(t, Config{
		URL: s.URL + "/orders?v=1", Headers: map[string]string{"x-fixed": "yes"},
		SecretHeaders: map[string]Secret{"X-Api-Key": Static("k\n")}, Auth: Auth{Bearer: Static("t")},
	})
	payload := []byte("\x00{\"a\":18446744073709551615}\xff")
	require.NoError(t, c.Handle(t.Context(), Request{
		Body: payload, ContentType: "application/json", Headers: producer("X-Tenant", "a", "Redrive-Attempt", "9"),
		Attempt: 3, MaxAttempts: 5, FirstFailure: testNow.Add(time.Millisecond).In(time.FixedZone("", 3600)),
		CorrelationID: "corr", IdempotencyKey: "key\r\nX-Evil: 1", MessageID: "m",
	}))
	require.Equal(t, payload, body)
	require.Equal(t, "POST /orders?v=1 HTTP/1.1", got.Method+" "+got.RequestURI+" "+got.Proto)
	left := got.Header.Get("Redrive-Headers")
	require.Equal(t, producer("Redrive-Attempt", "9"), readLeftOver(t, left))
	require.Equal(t, http.Header{
		"Content-Type": {"application/json"}, "Content-Length": {"28"}, "User-Agent": {"redrive"}, "Authorization": {"Bearer t"},
		"X-Fixed": {"yes"}, "X-Api-Key": {"k"}, "X-Tenant": {"a"},
		"Redrive-Attempt": {"3"}, "Redrive-Max-Attempts": {"5"}, "Redrive-First-Failure": {"2026-03-01T12:00:00.001Z"},
		"Redrive-Correlation-Id": {"corr"}, "Redrive-Message-Id": {"m"}, "Redrive-Headers": {left},
		"Idempotency-Key": {"base64:a2V5DQpYLUV2aWw6IDE="},
	}, got.Header)
}

func TestEmptyRequest(t *testing.T) {
	t.Parallel()
	var got http.Header
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	c := newClient(t, Config{URL: s.URL, Auth: Auth{User: "u", Password: Static("p\r\n")}})
	require.NoError(t, c.Handle(t.Context(), Request{Attempt: 1}))
	require.Equal(t, http.Header{
		"Content-Type": {"application/octet-stream"}, "Content-Length": {"0"}, "User-Agent": {"redrive"},
		"Redrive-Attempt": {"1"}, "Authorization": {"Basic dTpw"},
	}, got)
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Fail") != "" {
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = w.Write(bytes.Repeat([]byte("x"), 40<<10))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := newClient(t, Config{URL: s.URL})
	for range 50 {
		require.NoError(t, c.Handle(t.Context(), Request{}))
		require.Error(t, c.Handle(t.Context(), Request{Headers: producer("Fail", "1")}))
	}
	require.Equal(t, int32(1), opened.Load())
	c.Close()
	c.Close()
}

func TestConcurrencyIsBounded(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	release := make(chan struct{})
	full := make(chan struct{}, 100)
	s := serve(t, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		full <- struct{}{}
		<-release
		now.Add(-1)
	})
	c := newClient(t, Config{URL: s.URL, MaxConns: 3})
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			if err := c.Handle(t.Context(), Request{}); err != nil {
				t.Errorf("handle: %v", err)
			}
		})
	}
	for range 3 {
		<-full
	}
	// Whoever waits for a connection gives up when it is told to.
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("shutdown")
	cancel(cause)
	require.Same(t, cause, c.Handle(ctx, Request{}))
	close(release)
	wg.Wait()
	require.Equal(t, int32(3), most.Load())
}

// A repeat by net/http itself would be a second attempt that nobody counts.
func TestBrokenConnectionIsNotRepeated(t *testing.T) {
	t.Parallel()
	var served atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if served.Add(1) == 1 {
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	})
	c := newClient(t, Config{URL: s.URL})
	for _, headers := range [][]string{{}, {"X-Idempotency-Key", "k"}} {
		served.Store(0)
		r := Request{Body: []byte("b"), IdempotencyKey: "k", Headers: producer(headers...)}
		require.NoError(t, c.Handle(t.Context(), r))
		err := c.Handle(t.Context(), r)
		require.Equal(t, "transient", kind(err), "%v", err)
		require.Equal(t, int32(2), served.Load())
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, url := range map[string]string{
		"refused":  gone.URL,
		"closed":   raw(t, func(*http.Request) string { return "" }),
		"not http": raw(t, func(*http.Request) string { return "\x1b[2Jsmtp ready\r\n\r\n" }),
		"cut":      raw(t, func(*http.Request) string { return "HTTP/1.1 200 OK\r\nContent-Le" }),
		"big header": raw(t, func(*http.Request) string {
			return "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"
		}),
	} {
		c := newClient(t, Config{URL: url})
		err := c.Handle(t.Context(), Request{})
		require.Equal(t, "transient", kind(err), "%s: %v", name, err)
		var call *CallError
		require.ErrorAs(t, err, &call, name)
		require.Contains(t, err.Error(), "no answer from http://", name)
		require.NotContains(t, err.Error(), "\x1b", name)
		require.False(t, failure.Classify(err).Unclassified, name)
	}
	err := newClient(t, Config{URL: gone.URL + "/hook/path-token?q=query-token"}).Handle(t.Context(), Request{})
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NotContains(t, err.Error(), "token")
}

func TestTimeoutIsTransient(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := newClient(t, Config{URL: s.URL, Timeout: 30 * time.Millisecond})
	err := c.Handle(t.Context(), Request{})
	require.Equal(t, "transient", kind(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, "no answer from "+s.URL+" within 30ms", err.Error())
}

func TestOwnCancellationIsReturnedAsItIs(t *testing.T) {
	t.Parallel()
	cause := errors.New("the worker shuts down")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel(cause)
		<-r.Context().Done()
	})
	c := newClient(t, Config{URL: s.URL})
	require.Same(t, cause, c.Handle(ctx, Request{}))

	deadline, stop := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer stop()
	hang := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	require.Equal(t, context.DeadlineExceeded, newClient(t, Config{URL: hang.URL}).Handle(deadline, Request{}))
}

func TestAnswerWinsOverCancellation(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 422} {
		ctx, cancel := context.WithCancel(t.Context())
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write(bytes.Repeat([]byte("x"), 32<<10))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		c := newClient(t, Config{URL: s.URL, BodyTimeout: time.Hour})
		c.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &bodyRead{Conn: conn, after: cancel}, err
		}
		require.Equal(t, wantKind(status), kind(c.Handle(ctx, Request{})))
		require.ErrorIs(t, ctx.Err(), context.Canceled)
	}
}

// bodyRead runs after once so much was read that somebody must be reading the
// body: the transport by itself reads no more than one buffer of 4 KiB ahead.
type bodyRead struct {
	net.Conn
	bytes int
	after func()
}

func (c *bodyRead) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), 1024)])
	if c.bytes += n; c.bytes > 8<<10 {
		c.after()
	}
	return n, err
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var followed atomic.Bool
	target := serve(t, func(http.ResponseWriter, *http.Request) { followed.Store(true) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", target.URL+"/?token=abc")
			w.WriteHeader(status)
		})
		err := newClient(t, Config{URL: s.URL}).Handle(t.Context(), Request{})
		require.Equal(t, "transient", kind(err))
		require.ErrorContains(t, err, "redirects are not followed")
		require.NotContains(t, err.Error(), "abc")
	}
	require.False(t, followed.Load())
}

func TestSlowBodyDoesNotHoldTheAnswerBack(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Fail") != "" {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
		_, _ = io.WriteString(w, "half of it")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	c := newClient(t, Config{URL: s.URL, BodyTimeout: 30 * time.Millisecond})
	require.NoError(t, c.Handle(t.Context(), Request{}))
	err := c.Handle(t.Context(), Request{Headers: producer("Fail", "1")})
	require.Equal(t, "http 422: half of it", err.Error())
}

func TestGiantBody(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		for {
			if _, err := w.Write(bytes.Repeat([]byte("y"), 32<<10)); err != nil {
				return
			}
		}
	})
	err := newClient(t, Config{URL: s.URL, BodyTimeout: time.Hour}).Handle(t.Context(), Request{})
	require.Equal(t, "http 500: "+strings.Repeat("y", maxMessage), err.Error())
}

func TestCompressedBodyIsNotUnfolded(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("asked for %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte{0x1f, 0x8b, 8, 0})
	})
	err := newClient(t, Config{URL: s.URL}).Handle(t.Context(), Request{})
	require.Equal(t, "schema", kind(err))
}

func TestOddAnswers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ answer, want, text string }{
		"switching":       {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "transient", "http 101: Switching Protocols"},
		"bare 101":        {"HTTP/1.1 101 X\r\n\r\n", "transient", ""},
		"informational":   {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 X\r\n\r\n", "done", ""},
		"unknown status":  {"HTTP/1.1 799 X\r\nContent-Length: 0\r\n\r\n", "transient", "http 799: no message"},
		"hostile reason":  {"HTTP/1.1 500 \x1b[2Jboo\r\nContent-Length: 0\r\n\r\n", "transient", "http 500: Internal Server Error"},
		"hostile body":    {"HTTP/1.1 422 X\r\nContent-Length: 9\r\n\r\n\x1b]0;x\x07\r\n\xff", "schema", "http 422: \uFFFD]0;x\uFFFD  \uFFFD"},
		"short body":      {"HTTP/1.1 422 X\r\nContent-Length: 900\r\n\r\ncut", "schema", "http 422: cut"},
		"broken chunks":   {"HTTP/1.1 422 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ncut\r\nzz", "schema", "http 422: cut"},
		"done, then dead": {"HTTP/1.1 200 X\r\nContent-Length: 900\r\n\r\ncut", "done", ""},
		"odd category":    {"HTTP/1.1 500 X\r\nRedrive-Category: \x7f\r\nContent-Length: 0\r\n\r\n", "transient", ""},
		"two categories":  {"HTTP/1.1 500 X\r\nRedrive-Category: schema\r\nRedrive-Category: done\r\nContent-Length: 0\r\n\r\n", "schema", ""},
	} {
		url := raw(t, func(*http.Request) string { return tc.answer })
		err := newClient(t, Config{URL: url, BodyTimeout: 100 * time.Millisecond}).Handle(t.Context(), Request{})
		require.Equal(t, tc.want, kind(err), "%s: %v", name, err)
		if tc.text != "" {
			require.EqualError(t, err, tc.text, name)
		}
	}
}

package httphandler

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/failure"
)

// kind names an outcome in the words of the table below.
func kind(err error) string {
	if err == nil {
		return "done"
	}
	f := failure.Classify(err)
	name := f.Category.String()
	switch {
	case f.Throttled:
		name = "throttled"
	case f.Category == failure.Transient && !f.Downstream:
		name = "transient-local"
	}
	if f.Quarantine {
		name = "quarantine " + name
	}
	return name
}

// wantKind is the specification, kept apart from the code: exceptions by status,
// and the rest by class.
func wantKind(status int) string {
	exceptions := map[string]string{
		"schema":          "400 413 415 422",
		"transient-local": "408 409 423 425",
		"transient":       "401 403 404 405 407 501",
		"throttled":       "429",
	}
	for kind, list := range exceptions {
		if strings.Contains(list, strconv.Itoa(status)) {
			return kind
		}
	}
	return map[int]string{1: "transient", 2: "done", 3: "transient", 4: "business", 5: "transient"}[status/100]
}

func TestEveryStatus(t *testing.T) {
	t.Parallel()
	for status := 100; status <= 599; status++ {
		err := outcome(status, http.Header{}, nil, testNow, func() string { return "text" })
		require.Equal(t, wantKind(status), kind(err), "status %d", status)
		if err != nil {
			f := failure.Classify(err)
			require.Equal(t, "http "+strconv.Itoa(status), f.Type)
			require.Equal(t, "http "+strconv.Itoa(status)+": text", f.Message)
			require.False(t, f.Unclassified, "status %d", status)
		}
	}
}

func TestEveryStatusOverHTTP(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.Header.Get("Status"))
		w.WriteHeader(status)
	})
	c := newClient(t, Config{URL: s.URL})
	for status := 200; status <= 599; status++ {
		err := c.Handle(t.Context(), Request{Headers: producer("Status", strconv.Itoa(status))})
		require.Equal(t, wantKind(status), kind(err), "status %d", status)
	}
}

func TestRetryAfterOutcomes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status int
		value  string
		want   string
		wait   time.Duration
	}{
		{503, "", "transient", 0},
		{503, "7", "throttled", 7 * time.Second},
		{503, "0", "throttled", 0},
		{503, "soon", "transient", 0},
		{429, "", "throttled", 0},
		{429, "soon", "throttled", 0},
		{429, "Sun, 01 Mar 2026 12:01:00 GMT", "throttled", time.Minute},
		{500, "3", "transient", 3 * time.Second},
		{409, "3", "transient-local", 3 * time.Second},
		{302, "3", "transient", 3 * time.Second},
		{422, "3", "schema", 0},
		{410, "3", "business", 0},
	} {
		h := http.Header{}
		if tc.value != "" {
			h.Set("Retry-After", tc.value)
		}
		err := outcome(tc.status, h, nil, testNow, func() string { return "" })
		require.Equal(t, tc.want, kind(err), "%d %q", tc.status, tc.value)
		require.Equal(t, tc.wait, failure.Classify(err).RetryAfter, "%d %q", tc.status, tc.value)
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	statuses := map[string]string{
		"409": "business", "4xx": "integration", "5xx": "transient", "418": "done",
		"500": "quarantine", "202": "transient-local", "451": "throttled", "422": "quarantine",
	}
	for _, tc := range []struct {
		status   int
		category string
		want     string
	}{
		{409, "", "business"},
		{404, "", "integration"},
		{418, "", "done"},
		{500, "", "quarantine transient"},
		{422, "", "quarantine schema"},
		{202, "", "transient-local"},
		{451, "", "throttled"},
		{200, "", "done"},
		{409, "transient", "transient"},
		{418, "schema", "schema"},
		{200, "business", "business"},
		{204, "quarantine", "quarantine business"},
		{503, "quarantine", "quarantine transient"},
		{429, "quarantine", "quarantine transient"},
		{408, "quarantine", "quarantine transient"},
		{410, "quarantine", "quarantine business"},
		{500, " Integration ", "integration"},
		{500, "done", "done"},
		{500, "throttled", "throttled"},
		{404, "transient-local", "transient-local"},
		{409, "crash", "business"},
		{409, "schema, business", "business"},
		{409, "\x1b[31m", "business"},
	} {
		h := http.Header{}
		if tc.category != "" {
			h.Set("Redrive-Category", tc.category)
		}
		err := outcome(tc.status, h, statuses, testNow, func() string { return "" })
		require.Equal(t, tc.want, kind(err), "%d %q", tc.status, tc.category)
	}
	// A configured class wins over the built-in exception for 503.
	h := http.Header{"Retry-After": {"9"}}
	err := outcome(503, h, statuses, testNow, func() string { return "" })
	require.Equal(t, "transient", kind(err))
	require.Equal(t, 9*time.Second, failure.Classify(err).RetryAfter)
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, " 120\t": 2 * time.Minute, "00120": 2 * time.Minute,
		"31536000": maxRetryAfter, "31536001": maxRetryAfter,
		strings.Repeat("9", 400):         maxRetryAfter,
		"Sun, 01 Mar 2026 12:00:30 GMT":  30 * time.Second,
		"Sunday, 01-Mar-26 12:00:30 GMT": 30 * time.Second,
		"Sun Mar  1 12:00:30 2026":       30 * time.Second,
		"Sun, 01 Mar 2026 11:00:00 GMT":  0,
		"Fri, 31 Dec 9999 23:59:59 GMT":  maxRetryAfter,
		"Mon, 01 Jan 0001 00:00:00 GMT":  0,
	} {
		got, ok := parseRetryAfter(value, testNow)
		require.True(t, ok, "%q", value)
		require.Equal(t, want, got, "%q", value)
	}
	for _, value := range []string{"", " ", "-1", "+1", "1.5", "1s", "0x10", "soon", "1 2", "１２", "2026-03-01T12:00:30Z"} {
		_, ok := parseRetryAfter(value, testNow)
		require.False(t, ok, "%q", value)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"1", "99999999999999999999", "Sun, 01 Mar 2026 12:00:30 GMT", "-1", "\x00"} {
		f.Add(s, int64(0))
	}
	f.Fuzz(func(t *testing.T, value string, unix int64) {
		d, ok := parseRetryAfter(value, time.Unix(unix%(1<<40), 0))
		if d < 0 || d > maxRetryAfter || !ok && d != 0 {
			t.Fatalf("parseRetryAfter(%q) = %v, %v", value, d, ok)
		}
		if n, err := strconv.ParseUint(value, 10, 20); err == nil && (!ok || d != time.Duration(n)*time.Second) {
			t.Fatalf("parseRetryAfter(%q) = %v, %v", value, d, ok)
		}
	})
}

package httphandler

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/broker"
)

// producer makes headers of name, value pairs.
func producer(pairs ...string) []broker.Header {
	var out []broker.Header
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, broker.Header{Name: pairs[i], Value: []byte(pairs[i+1])})
	}
	return out
}

// readLeftOver decodes Redrive-Headers as the documentation describes it, without
// the code that writes it.
func readLeftOver(t *testing.T, value string) []broker.Header {
	t.Helper()
	if value == "" {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(value)
	require.NoError(t, err)
	var items []map[string]string
	require.NoError(t, json.Unmarshal(raw, &items))
	var out []broker.Header
	for _, item := range items {
		name := item["name"]
		if b, ok := item["name_base64"]; ok {
			decoded, err := base64.StdEncoding.DecodeString(b)
			require.NoError(t, err)
			name = string(decoded)
		}
		v, err := base64.StdEncoding.DecodeString(item["value"])
		require.NoError(t, err)
		out = append(out, broker.Header{Name: name, Value: v})
	}
	return out
}

func TestProducerHeaders(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   []broker.Header
		pass map[string]string
		left []broker.Header
	}{
		"plain": {
			in:   producer("X-Tenant", "a", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "content-encoding", "gzip", "X-Empty", ""),
			pass: map[string]string{"X-Tenant": "a", "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Content-Encoding": "gzip", "X-Empty": ""},
		},
		"ours":       {left: producer("Redrive-Attempt", "99", "redrive-anything", "x", "redrive", "{}", "idempotency-key", "mine", "Webhook-Signature", "v1,x", "user-agent", "me")},
		"look-alike": {left: producer("Redrive_Attempt", "99", "REDRIVE.ATTEMPT", "98", "Idempotency_Key", "x", "X_Forwarded_For", "1.2.3.4")},
		"trust":      {left: producer("Authorization", "Bearer x", "Cookie", "a=b", "X-Forwarded-For", "::1", "Forwarded", "for=x", "X-Api-Key", "k", "X-HTTP-Method-Override", "DELETE")},
		"steering":   {left: producer("Host", "evil", "Content-Length", "0", "Transfer-Encoding", "chunked", "Connection", "close", "TE", "trailers", "Trailer", "X", "Upgrade", "h2c", "Keep-Alive", "1", "Proxy-Authorization", "x", "Expect", "100-continue")},
		"injection":  {left: producer("X-A", "a\r\nRedrive-Attempt: 9", "X-B: x\r\nX-C", "v", "X-D", "a\nb", "X-E", "\x00", "X F", "v", "", "v", "X-G:", "v")},
		"bytes":      {left: producer("X-Utf8", "Grüße", "X-Bin", "\xff\xfe", "na\xffme", "v", "X-Pad", " v ", "Ключ", "v", "X-Nil", "\x7f")},
		"repeats": {
			in:   producer("X-A", "1", "x-a", "2", "X-A", "1"),
			pass: map[string]string{"X-A": "1"}, left: producer("x-a", "2", "X-A", "1"),
		},
		"configured":   {left: producer("X-Fixed", "mine", "x_fixed", "mine")},
		"same as ours": {in: producer("content-type", "text/csv", "X-Fixed", "yes"), pass: map[string]string{"Content-Type": "text/csv"}},
	} {
		in := tc.in
		if in == nil {
			in = tc.left
		}
		h := http.Header{"X-Fixed": {"yes"}, "Content-Type": {"text/csv"}, "Redrive-Attempt": {"1"}}
		addProducer(h, in, 8192)
		if diff := cmp.Diff(tc.left, readLeftOver(t, h.Get("Redrive-Headers"))); diff != "" {
			t.Errorf("%s: left over (-want +got):\n%s", name, diff)
		}
		for k, v := range tc.pass {
			if _, ok := h[k]; !ok || h.Get(k) != v {
				t.Errorf("%s: %s = %q, want %q", name, k, h.Get(k), v)
			}
		}
		if got := h.Get("Redrive-Attempt") + h.Get("X-Fixed"); got != "1yes" {
			t.Errorf("%s: own headers became %q", name, got)
		}
		if _, canonical := h["X-Idempotency-Key"]; canonical {
			t.Errorf("%s: net/http repeats requests with this header", name)
		}
	}
}

func TestProducerHeadersAreBounded(t *testing.T) {
	t.Parallel()
	var in []broker.Header
	for i := range 500 {
		in = append(in, broker.Header{Name: "X-" + strconv.Itoa(i), Value: bytes.Repeat([]byte("v"), 50)})
		in = append(in, broker.Header{Name: "X-Bin-" + strconv.Itoa(i), Value: []byte{0, 1, 2}})
	}
	h := http.Header{}
	addProducer(h, in, 4096)
	var wire bytes.Buffer
	require.NoError(t, h.Write(&wire))
	require.Less(t, wire.Len(), 4096+100)
	omitted, err := strconv.Atoi(h.Get("Redrive-Headers-Omitted"))
	require.NoError(t, err)
	left := readLeftOver(t, h.Get("Redrive-Headers"))
	require.Equal(t, len(in), omitted+len(left)+len(h)-1-min(len(left), 1))
}

func TestFieldValue(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", maxFieldValue+1)
	for in, want := range map[string]string{
		"order-1":     "order-1",
		"a b":         "a b",
		" a":          "base64:IGE=",
		"a\r\nX: y":   "base64:YQ0KWDogeQ==",
		"\x00":        "base64:AA==",
		"base64:IGE=": "base64:YmFzZTY0OklHRT0=",
		"sha256:00":   "base64:c2hhMjU2OjAw",
		"Grüße":       "base64:R3LDvMOfZQ==",
	} {
		require.Equal(t, want, fieldValue(in), "%q", in)
	}
	sum := sha256.Sum256([]byte(long))
	require.Equal(t, fmt.Sprintf("sha256:%x", sum), fieldValue(long))
}

func FuzzFieldValue(f *testing.F) {
	f.Add("a", "base64:YQ==")
	f.Add(strings.Repeat("a", 1025), "sha256:")
	f.Fuzz(func(t *testing.T, a, b string) {
		va, vb := fieldValue(a), fieldValue(b)
		if !validValue(va) {
			t.Fatalf("fieldValue(%q) = %q is no header value", a, va)
		}
		if (a == b) != (va == vb) {
			t.Fatalf("fieldValue(%q) = %q, fieldValue(%q) = %q", a, va, b, vb)
		}
		if id := webhookID(Request{IdempotencyKey: a}); strings.Contains(id, ".") {
			t.Fatalf("webhook id %q contains a dot", id)
		}
	})
}

// FuzzProducerHeaders sends what addProducer made through a real encoder and
// parser: a producer adds headers of its own, and can do nothing else.
func FuzzProducerHeaders(f *testing.F) {
	f.Add("X-A", "v", "Redrive-Attempt", "2")
	f.Add("X-A\r\nX-B", "v\r\n\r\nPOST / HTTP/1.1", "redrive_attempt", "\xff")
	f.Add("content-length", "0", "Transfer-Encoding", "chunked")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string) {
		in := producer(n1, v1, n2, v2)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://example.com/x", strings.NewReader("body"))
		require.NoError(t, err)
		req.Header = http.Header{"Redrive-Attempt": {"1"}, "Authorization": {"Bearer t"}, "idempotency-key": {"k"}, "User-Agent": {"redrive"}}
		addProducer(req.Header, in, 1<<20)
		var wire bytes.Buffer
		require.NoError(t, req.Write(&wire))
		back, err := http.ReadRequest(bufio.NewReader(&wire))
		require.NoError(t, err)
		require.Equal(t, "example.com", back.Host)
		require.Equal(t, int64(4), back.ContentLength)
		require.Empty(t, back.TransferEncoding)
		for name, want := range map[string]string{"Redrive-Attempt": "1", "Authorization": "Bearer t", "Idempotency-Key": "k", "User-Agent": "redrive"} {
			require.Equal(t, []string{want}, back.Header[name])
		}
		require.Empty(t, back.Header.Get("Redrive-Headers-Omitted"))
		left := readLeftOver(t, back.Header.Get("Redrive-Headers"))
		own := map[string]bool{"Redrive-Headers": true, "Content-Length": true, "Redrive-Attempt": true, "Authorization": true, "Idempotency-Key": true, "User-Agent": true}
		for _, p := range in {
			i := indexOf(left, p)
			if i >= 0 {
				left = append(left[:i], left[i+1:]...)
				continue
			}
			require.Equal(t, string(p.Value), back.Header.Get(p.Name), "%q", p.Name)
		}
		require.Empty(t, left)
		for name := range back.Header {
			if !own[name] {
				require.True(t, strings.EqualFold(name, n1) || strings.EqualFold(name, n2), "unknown header %q", name)
			}
		}
	})
}

func indexOf(list []broker.Header, p broker.Header) int {
	for i := range list {
		if list[i].Name == p.Name && bytes.Equal(list[i].Value, p.Value) {
			return i
		}
	}
	return -1
}

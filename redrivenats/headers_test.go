package redrivenats

import (
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
)

// overTheWire makes what a receiver sees of headers, by the client library's own
// coding. It fails if the library refuses them.
func overTheWire(t interface{ Fatalf(string, ...any) }, header nats.Header) nats.Header {
	if len(header) == 0 {
		return nil
	}
	block := []byte("NATS/1.0\r\n")
	for name, values := range header {
		for _, v := range values {
			if !validName(name) || !validValue([]byte(v)) {
				t.Fatalf("header %q: %q does not survive", name, v)
			}
			block = append(block, name+": "+v+"\r\n"...)
		}
	}
	out, err := nats.DecodeHeadersMsg(append(block, "\r\n"...))
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	return out
}

func drawHeaders(t *rapid.T) []broker.Header {
	name := rapid.OneOf(
		rapid.SampledFrom([]string{
			"a", "B", "b", "x-tag", "Status", "Description", "", "with space", "colon:", "ä", "redrive", "redrive-key", "redrive-headers",
			"redrive-expires-at", "redrive-time", "Nats-TTL", "nats-rollup", "Nats-Msg-Id", "x\r\ny",
		}),
		rapid.StringOf(rapid.RuneFrom([]rune("ab-_.:\r\n \t\x00é"))),
	)
	value := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.SampledFrom([]string{"", " ", "v", "base64:", "base64:eA==", "a\r\nNats-Rollup: all", "503"}), func(s string) []byte { return []byte(s) }))
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) broker.Header {
		return broker.Header{Name: name.Draw(t, "name"), Value: value.Draw(t, "value")}
	}), 0, 12).Draw(t, "headers")
}

func TestHeadersSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		headers := drawHeaders(t)
		own := copyHeaders{
			key:      rapid.SliceOf(rapid.Byte()).Draw(t, "key"),
			envelope: rapid.SliceOf(rapid.Byte()).Draw(t, "envelope"),
		}
		if rapid.Bool().Draw(t, "expires") {
			own.expiresAt = "2031-02-03T04:05:06.7Z"
		}
		wire := overTheWire(t, encodeHeaders(headers, own))
		for name := range wire {
			if steers(name) {
				t.Fatalf("header %q is sent", name)
			}
		}
		got := decode(stored{header: wire, subjectKnown: true}).message
		var plain, control []broker.Header
		for _, h := range headers {
			if steers(h.Name) {
				control = append(control, h)
			} else {
				plain = append(plain, h)
			}
		}
		equal := []gocmp.Option{cmpopts.EquateEmpty()}
		if diff := gocmp.Diff(plain, got.Headers, equal...); diff != "" {
			t.Fatalf("headers (-want +got):\n%s", diff)
		}
		if diff := gocmp.Diff(control, got.Control, equal...); diff != "" {
			t.Fatalf("control (-want +got):\n%s", diff)
		}
		if diff := gocmp.Diff(own.key, got.Key, equal...); diff != "" {
			t.Fatalf("key (-want +got):\n%s", diff)
		}
		if diff := gocmp.Diff(own.envelope, got.Envelope, equal...); diff != "" {
			t.Fatalf("envelope (-want +got):\n%s", diff)
		}
		if (own.expiresAt != "") != !got.ExpiresAt.IsZero() {
			t.Fatalf("expires at %v, sent %q", got.ExpiresAt, own.expiresAt)
		}
	})
}

// TestCopiedOrderDoesNotRuleOverNewHeaders is a service that copies all headers
// of a message and adds and removes some: what it sent is what arrives.
func TestCopiedOrderDoesNotRuleOverNewHeaders(t *testing.T) {
	sent := encodeHeaders([]broker.Header{{Name: "z", Value: []byte("1")}, {Name: "a", Value: []byte("2")}, {Name: "gone", Value: []byte("3")}}, copyHeaders{})
	sent.Del("gone")
	sent.Set("new", "4")
	got := decode(stored{header: sent, subjectKnown: true}).message.Headers
	want := []broker.Header{{Name: "z", Value: []byte("1")}, {Name: "a", Value: []byte("2")}, {Name: "new", Value: []byte("4")}}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestKeyMayBeEmptyOrMissing(t *testing.T) {
	for _, key := range [][]byte{nil, {}} {
		got := decode(stored{header: encodeHeaders(nil, copyHeaders{key: key}), subjectKnown: true}).message.Key
		if (got == nil) != (key == nil) {
			t.Errorf("key %#v arrived as %#v", key, got)
		}
	}
}

func TestTimeToLive(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Time{
		"10": at.Add(10 * time.Second), "1m": at.Add(time.Minute), "never": {}, "": {}, "0": {}, "-3": {}, "x": {},
	} {
		got := decode(stored{header: nats.Header{"Nats-TTL": {value}}, time: at, subjectKnown: true})
		if !got.message.ExpiresAt.Equal(want) {
			t.Errorf("Nats-TTL %q expires at %v, want %v", value, got.message.ExpiresAt, want)
		}
		if want.IsZero() != (got.expiresAt == "") {
			t.Errorf("Nats-TTL %q is copied as %q", value, got.expiresAt)
		}
	}
	own := decode(stored{header: nats.Header{broker.HeaderExpiresAt: {"soon"}}, subjectKnown: true})
	if _, kept := own.message.Header(broker.HeaderExpiresAt); !kept || own.expiresAt != "" {
		t.Errorf("a time to live that cannot be read: headers %v, copied as %q, want it kept as the producer's", own.message.Headers, own.expiresAt)
	}
}

// FuzzDecode feeds header blocks of any form: nothing panics, nothing that steers
// becomes a header, and what was decoded survives a copy.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("NATS/1.0\r\nNats-Rollup: all\r\na: b\r\n\r\n"))
	f.Add([]byte("NATS/1.0\r\nredrive-headers: [\"a\",[\"TmF0cy1UVEw=\",\"eA==\"],3,null,[[]]]\r\na: b\r\nno header\r\n\r\n"))
	f.Add([]byte("NATS/1.0 503\r\nredrive-key: base64:!\r\nredrive-time: x\r\n"))
	f.Fuzz(func(t *testing.T, block []byte) {
		first := decode(stored{header: parseHeaderBlock(block), subjectKnown: true})
		for _, h := range first.message.Headers {
			if steers(h.Name) {
				t.Fatalf("%q is among the producer's headers", h.Name)
			}
		}
		wire := overTheWire(t, encodeHeaders(first.message.Headers, copyHeaders{
			envelope: first.message.Envelope, key: first.message.Key, expiresAt: first.expiresAt,
		}))
		again := decode(stored{header: wire, subjectKnown: true, ours: true})
		equal := cmpopts.EquateEmpty()
		if diff := gocmp.Diff(first.message.Headers, again.message.Headers, equal); diff != "" {
			t.Fatalf("headers of the copy (-want +got):\n%s", diff)
		}
		if diff := gocmp.Diff(first.message.Envelope, again.message.Envelope, equal); diff != "" {
			t.Fatalf("envelope of the copy (-want +got):\n%s", diff)
		}
		if diff := gocmp.Diff(first.message.Key, again.message.Key, equal); diff != "" {
			t.Fatalf("key of the copy (-want +got):\n%s", diff)
		}
	})
}

func TestHeaderSizeIsThatOfTheLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := nats.Msg{Subject: "s", Data: []byte("x"), Header: encodeHeaders(drawHeaders(t), copyHeaders{key: []byte("k")})}
		if got, want := headerSize(m.Header), m.Size()-len("s")-len("x"); got != want {
			t.Fatalf("headers of %d bytes are said to have %d", want, got)
		}
	})
}

func TestControlSubjectIsKept(t *testing.T) {
	got := decode(stored{subject: "orders.eu", header: nats.Header{}}).message.Control
	if !slices.ContainsFunc(got, func(h broker.Header) bool {
		return h.Name == controlSubject && string(h.Value) == "orders.eu"
	}) {
		t.Errorf("control headers %v do not tell the subject", got)
	}
}

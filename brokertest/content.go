package brokertest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// hostileTTL is longer than any time to live among the hostile headers.
const hostileTTL = 1200 * time.Millisecond

// contentCases show that what the producer wrote arrives as it was, on receive,
// after a retry, and as a dead letter.
func contentCases() []Case {
	all := []Case{
		{Name: "C5-content-on-hostile-copies", Promise: "hostile control headers arrive in Control, and no copy carries them", Proves: []string{"hostile-headers", "any-content"}, run: hostileCopies},
		{Name: "C5-content-expires-at", Promise: "a message's own time to live travels with every copy", run: contentExpiresAt},
		{Name: "C5-content-largest", Promise: "a body of the broker's limit for its kind less 16 KiB comes through retry, dead-letter queue and replay byte for byte", Proves: []string{"any-content"}, run: contentLargest},
		{Name: "C7-content-envelope-limit", Promise: "an envelope as large as Caps allow travels unchanged", run: contentEnvelopeLimit},
	}
	for _, s := range samples() {
		all = append(all, Case{
			Name:    "C5-content-" + s.name,
			Promise: s.promise + " is the same on receive, after a retry, as a dead letter and after its replay",
			Proves:  []string{"any-content"},
			run:     func(e *env) { contentSurvives(e, s.message) },
		})
	}
	return all
}

type sample struct {
	name, promise string
	message       broker.Outbound
}

func samples() []sample {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	var hundred []broker.Header
	for i := range 100 {
		hundred = append(hundred, broker.Header{Name: fmt.Sprintf("x-header-%03d", i), Value: fmt.Appendf(nil, "value %d", i)})
	}
	header := func(name, value string) broker.Header { return broker.Header{Name: name, Value: []byte(value)} }
	return []sample{
		{"json", "a JSON body with key and headers", broker.Outbound{Key: []byte("customer-7"), Body: []byte(`{"id":9007199254740993,"a":[1.0,null]}`), Headers: []broker.Header{header("content-type", "application/json"), header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}}},
		{"invalid-utf8", "a body that is no text", broker.Outbound{Body: []byte("\xff\xfe\x00\xc3\x28 tail")}},
		{"every-byte", "a body of every byte value", broker.Outbound{Body: every}},
		{"empty-body", "an empty body", broker.Outbound{Key: []byte("k"), Body: []byte{}, Headers: []broker.Header{header("a", "b")}}},
		{"64-KiB", "a body of 64 KiB", broker.Outbound{Body: bytes.Repeat(every, 256)}},
		{"line-ends", "a body of line ends and spaces", broker.Outbound{Body: []byte(" \r\n\r\n\t leading and trailing \n\r ")}},
		{"binary-key", "a key that is no text", broker.Outbound{Key: []byte("\x00\xff\x80 / key\r\n"), Body: []byte("binary key")}},
		{"unicode", "key and header in UTF-8", broker.Outbound{Key: []byte("kunde/ä/客"), Body: []byte("ü"), Headers: []broker.Header{header("x-name", "Zoë 客")}}},
		{"100-headers", "a hundred headers", broker.Outbound{Body: []byte("many"), Headers: hundred}},
		{"repeated-headers", "a repeated header, in order", broker.Outbound{Body: []byte("repeated"), Headers: []broker.Header{header("x-tag", "b"), header("x-other", "1"), header("x-tag", "a"), header("x-tag", "b")}}},
		{"headers-in-order", "the order of headers of different names", broker.Outbound{Body: []byte("in order"), Headers: []broker.Header{header("zulu", "1"), header("alpha", "2"), header("mike", "3"), header("Alpha", "4"), header("zulu", "5")}}},
		{"one-byte", "a body of one byte", broker.Outbound{Body: []byte{0}}},
		{"header-case", "headers that differ in case, and an empty value", broker.Outbound{Body: []byte("case"), Headers: []broker.Header{header("X-Case", "upper"), header("x-case", "lower"), header("x-empty", "")}}},
		{"reserved-looking", "headers that look like redrive's own", broker.Outbound{Body: []byte("own"), Headers: []broker.Header{header("x-replayed", "producer's"), header("x-idempotency-key", "k1"), header("redrive-note", "n")}}},
	}
}

func contentSurvives(e *env, m broker.Outbound) {
	m.Queue, m.ID = e.source, e.pubID("content")
	sub := e.open(e.b, unhurried)
	e.publish(m)
	d := e.one(sub)
	e.same("received", m, d.Msg())
	if len(d.Msg().Envelope) > 0 {
		e.Errorf("a fresh message came with an envelope of %d bytes", len(d.Msg().Envelope))
	}
	env := e.envelope(d.Msg(), "retry")
	e.settle(d, broker.Retry{At: time.Now(), Envelope: env, PublishID: e.pubID("retry"), Counted: true})
	d = e.one(sub)
	e.same("retried", m, d.Msg())
	e.sameEnvelope("retried", env, d.Msg())
	env = e.deadLetter(d, e.names.DeadLetter, broker.DefaultGroup)
	letter := e.letters(e.names.DeadLetter, 1)[0]
	e.same("dead-lettered", m, &letter.Message)
	e.sameEnvelope("dead-lettered", env, &letter.Message)
	e.replayed(sub, m, letter)
}

// replayed sends a letter again and looks at what arrives.
func (e *env) replayed(sub broker.Subscription, m broker.Outbound, letter broker.Letter) {
	e.Helper()
	l := letter.Message
	e.publish(broker.Outbound{Queue: e.names.Replay, ID: "rp:" + e.source, Key: l.Key, Body: l.Body, Headers: l.Headers, Envelope: l.Envelope, ExpiresAt: l.ExpiresAt})
	d := e.one(sub)
	e.same("replayed", m, d.Msg())
	e.sameEnvelope("replayed", l.Envelope, d.Msg())
	if len(d.Msg().Control) > 0 {
		e.Errorf("a replay carries control headers:\n%s", listing(d.Msg().Control))
	}
	e.settle(d, broker.Done{})
}

// contentLargest leaves the room that the envelope and headers of a copy need.
func contentLargest(e *env) {
	const room = 16 << 10
	size := 1<<20 - room
	if e.caps.MaxMessage > 0 {
		size = cmp.Or(e.caps.MaxBinary, e.caps.MaxMessage) - room
	}
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i * i >> 3)
	}
	contentSurvives(e, broker.Outbound{Key: []byte("largest"), Body: body, Headers: []broker.Header{{Name: "x-size", Value: []byte("largest")}}})
}

// same compares what is the producer's.
func (e *env) same(where string, want broker.Outbound, got *broker.Message) {
	e.Helper()
	if len(got.Body) != len(want.Body) || sha256.Sum256(got.Body) != sha256.Sum256(want.Body) {
		e.Errorf("%s: body of %d bytes %q, want %d bytes %q", where, len(got.Body), clip(got.Body), len(want.Body), clip(want.Body))
	}
	if !bytes.Equal(got.Key, want.Key) {
		e.Errorf("%s: key %q, want %q", where, got.Key, want.Key)
	}
	if g, w := listing(got.Headers), listing(want.Headers); g != w {
		e.Errorf("%s: headers\n%s\nwant\n%s", where, g, w)
	}
}

func (e *env) sameEnvelope(where string, want []byte, got *broker.Message) {
	e.Helper()
	if !bytes.Equal(got.Envelope, want) {
		e.Errorf("%s: envelope %q, want %q", where, got.Envelope, want)
	}
}

// listing prints headers in order. Those that are redrive's own are left out.
func listing(headers []broker.Header) string {
	own := []string{broker.HeaderEnvelope, broker.HeaderDue, broker.HeaderExpiresAt}
	var b strings.Builder
	for _, h := range slices.DeleteFunc(slices.Clone(headers), func(h broker.Header) bool { return slices.Contains(own, h.Name) }) {
		fmt.Fprintf(&b, "%s: %q\n", h.Name, h.Value)
	}
	return b.String()
}

func hostileCopies(e *env) {
	sub := e.open(e.b, unhurried)
	m := e.publishHostile()
	e.send(1)
	var d broker.Delivery
	for _, got := range e.receive(sub, 2) {
		if string(got.Msg().Body) == "hostile" {
			d = got
		} else {
			e.deadLetter(got, e.names.DeadLetter, broker.DefaultGroup)
		}
	}
	if d == nil {
		e.Fatalf("the message with hostile headers did not come")
	}
	e.same("received", m, d.Msg())
	if e.h.PublishRaw != nil {
		for _, h := range e.h.Hostile {
			if !holds(d.Msg().Control, h) {
				e.Errorf("control header %s: %q did not arrive in Control, which has\n%s", h.Name, h.Value, listing(d.Msg().Control))
			}
		}
	}
	e.settle(d, broker.Retry{At: time.Now(), Envelope: e.envelope(d.Msg(), "retry"), PublishID: e.pubID("retry")})
	d = e.one(sub)
	e.same("retried", m, d.Msg())
	e.deadLetter(d, e.names.DeadLetter, broker.DefaultGroup)
	e.wait(hostileTTL)
	for _, letter := range e.letters(e.names.DeadLetter, 2) {
		if string(letter.Message.Body) == "hostile" {
			e.same("dead-lettered", m, &letter.Message)
			e.replayed(sub, m, letter)
		}
		if len(letter.Message.Control) > 0 {
			e.Errorf("a dead letter carries control headers:\n%s", listing(letter.Message.Control))
		}
	}
}

// publishHostile stores a message with hostile headers, by a native client if
// there is one, and returns what of it is the producer's.
func (e *env) publishHostile() broker.Outbound {
	e.Helper()
	plain := []broker.Header{{Name: "x-plain", Value: []byte("kept")}}
	m := broker.Outbound{Queue: e.source, ID: e.pubID("hostile"), Body: []byte("hostile"), Headers: plain}
	if e.h.PublishRaw != nil {
		e.h.PublishRaw(e, e.source, broker.Message{Body: m.Body, Headers: plain, Control: e.h.Hostile})
		return m
	}
	sent := m
	sent.Headers = slices.Concat(plain, e.h.Hostile)
	if e.b.Publish(e.ctx, []broker.Outbound{sent})[0] != nil {
		e.publish(m) // the adapter refuses such headers, which is safe too
	}
	return m
}

func holds(headers []broker.Header, h broker.Header) bool {
	return slices.ContainsFunc(headers, func(o broker.Header) bool {
		return strings.EqualFold(o.Name, h.Name) && bytes.Equal(o.Value, h.Value)
	})
}

func contentExpiresAt(e *env) {
	sub := e.open(e.b, unhurried)
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	e.publish(broker.Outbound{Queue: e.source, ID: e.pubID("expires"), Body: []byte("expires"), ExpiresAt: end})
	check := func(where string, m *broker.Message) {
		e.Helper()
		if !m.ExpiresAt.Truncate(time.Second).Equal(end) {
			e.Errorf("%s: expires at %v, want %v", where, m.ExpiresAt, end)
		}
	}
	d := e.one(sub)
	check("received", d.Msg())
	e.settle(d, broker.Retry{At: time.Now(), Envelope: e.envelope(d.Msg(), "retry"), PublishID: e.pubID("retry")})
	d = e.one(sub)
	check("retried", d.Msg())
	e.deadLetter(d, e.names.DeadLetter, broker.DefaultGroup)
	check("dead-lettered", &e.letters(e.names.DeadLetter, 1)[0].Message)
}

func contentEnvelopeLimit(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	d := e.one(sub)
	limit := cmp.Or(e.caps.MaxEnvelope, 8<<10)
	env := bytes.Repeat([]byte("e"), limit)
	e.settle(d, broker.Retry{At: time.Now(), Envelope: env, PublishID: e.pubID("retry")})
	d = e.one(sub)
	e.sameEnvelope("retried", env, d.Msg())
	e.settle(d, broker.Dead{Queue: e.names.DeadLetter, Envelope: env, PublishID: e.deadID(d, "")})
	e.sameEnvelope("dead-lettered", env, &e.letters(e.names.DeadLetter, 1)[0].Message)
}

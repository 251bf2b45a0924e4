package redriverabbitmq

import (
	"testing"
	"time"

	amqp10 "github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

// A message over AMQP 1.0 is read as a consumer over AMQP 0-9-1 reads it.
func TestDecode10(t *testing.T) {
	made := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	m := amqp10.NewMessage([]byte("body"))
	m.Data = append(m.Data, []byte(" in two"))
	m.Header = &amqp10.MessageHeader{Durable: true, Priority: 9, TTL: 5 * time.Second}
	m.Properties = &amqp10.MessageProperties{
		MessageID: "id", CorrelationID: uint64(7), ContentType: new("text/plain"), ReplyTo: new("/queues/my%20answers"),
		GroupID: new("app"), CreationTime: &made, UserID: []byte("me"),
	}
	m.ApplicationProperties = map[string]any{"n": int64(1), "text": "Grüße", "redrive": "old envelope", "raw": []byte{0xff, 0xfe}}
	m.Annotations = amqp10.Annotations{
		"x-exchange": "shop", "x-routing-key": "orders", "x-basic-type": "order", "x-own": "kept",
		annotationEnvelope: "new envelope", annotationMark: `{"explained":2}`, annotationBase: int64(5),
		annotationDelivery: int64(1), "x-acquired-count": int64(7), "x-delivery-count": int64(6),
	}
	got := decode10(m, "orders.retry")
	want := &broker.Message{
		ID: "id", Key: []byte("orders"), Body: []byte("body in two"), Envelope: []byte("new envelope"), Time: made, ExpiresAt: made.Add(5 * time.Second),
		Headers: []broker.Header{
			{Name: "content-type", Value: []byte("text/plain")},
			{Name: "correlation-id", Value: []byte("7")},
			{Name: "reply-to", Value: []byte("my answers")},
			{Name: "message-id", Value: []byte("id")},
			{Name: "timestamp", Value: []byte("2026-05-06T07:08:09Z")},
			{Name: "type", Value: []byte("order")},
			{Name: "app-id", Value: []byte("app")},
			{Name: "priority", Value: []byte("9")},
			{Name: "n", Value: []byte("1")},
			{Name: "raw", Value: []byte{0xff, 0xfe}},
			{Name: "text", Value: []byte("Grüße")},
			{Name: "x-own", Value: []byte("kept")},
			{Name: "redrive-types", Value: []byte(`{"n":"l"}`)},
		},
		Control: []broker.Header{
			{Name: "expiration", Value: []byte("5000")},
			{Name: "user-id", Value: []byte("me")},
			{Name: "x-exchange", Value: []byte("shop")},
			{Name: "x-routing-key", Value: []byte("orders")},
		},
	}
	if diff := cmp.Diff(want, &got.message); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if d := countOf(got, broker.CountExact); d.Earlier != 2 || got.handed != 7 || got.note == nil || got.note.Explained != 2 {
		t.Errorf("earlier %d, handed over %d, note %+v: want 2 since the retry, 7 and one", d.Earlier, got.handed, got.note)
	}
	p := got.copy(own{id: "dl:1", envelope: []byte("newest")})
	for name := range p.Headers {
		if annotates(name) || counts(name) || isDeath(name) {
			t.Errorf("a copy carries %s: %v", name, p.Headers[name])
		}
	}
	if p.Headers[broker.HeaderEnvelope] != "newest" || p.Headers["n"] != int64(1) || p.Type != "order" || p.Expiration != "" {
		t.Errorf("the copy is %+v", p)
	}
}

func TestIDsOfAMQP10(t *testing.T) {
	for _, tt := range []struct {
		id     any
		text   string
		header any
	}{
		{"id", "id", nil},
		{uint64(1 << 63), "9223372036854775808", nil},
		{amqp10.UUID{1}, "urn:uuid:01000000-0000-0000-0000-000000000000", nil},
		{[]byte{1, 2}, "", []byte{1, 2}},
		{nil, "", nil},
	} {
		headers := amqp.Table{}
		if got := idText(tt.id, "x-message-id", headers); got != tt.text || !cmp.Equal(headers["x-message-id"], tt.header) {
			t.Errorf("%v: %q and header %v, want %q and %v", tt.id, got, headers["x-message-id"], tt.text, tt.header)
		}
	}
}

// What AMQP 0-9-1 has no type for is text, and nothing is dropped.
func TestFieldsOfAMQP10(t *testing.T) {
	at := time.UnixMilli(1234)
	for _, tt := range []struct{ v, want any }{
		{uint64(7), int64(7)},
		{uint64(1 << 63), "9223372036854775808"},
		{"text", "text"},
		{[]byte("binary"), []byte("binary")},
		{[]byte{0xff}, "\xff"},
		{amqp10.Symbol("s"), "s"},
		{at, at},
		{true, true},
		{nil, nil},
		{map[string]any{"a": []any{int32(1), map[any]any{"b": "c"}}}, amqp.Table{"a": []any{int32(1), amqp.Table{"b": "c"}}}},
		{[]string{"a", "b"}, []any{"a", "b"}},
	} {
		if diff := cmp.Diff(tt.want, fieldOf(tt.v)); diff != "" {
			t.Errorf("%#v (-want +got):\n%s", tt.v, diff)
		}
	}
}

// A letter that the broker moved by our settlement says when, and what steered the
// message is in its envelope and no longer beside it.
func TestDecodeOfAMovedLetter(t *testing.T) {
	d := &amqp.Delivery{Body: []byte("b"), Headers: amqp.Table{
		annotationEnvelope: "", annotationStored: int64(1_700_000_000_000), annotationID: "dl:1",
		"CC": []any{"elsewhere"}, headerDeath: []any{amqp.Table{"queue": "orders", "reason": "rejected"}}, "x-first-death-queue": "orders", "own": "kept",
	}}
	got := decode(d, "")
	want := []broker.Header{{Name: "own", Value: []byte("kept")}}
	if diff := cmp.Diff(want, got.message.Headers); diff != "" || len(got.message.Control) > 0 || got.message.Envelope != nil {
		t.Errorf("control %v, envelope %q, headers (-want +got):\n%s", got.message.Control, got.message.Envelope, diff)
	}
	if got.stored.UnixMilli() != 1_700_000_000_000 || got.id != "dl:1" {
		t.Errorf("stored at %v under %q", got.stored, got.id)
	}
}

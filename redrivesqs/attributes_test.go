package redrivesqs

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
)

// delivered makes of a sealed message what a receiver gets.
func delivered(s sealed) types.Message {
	m := types.Message{
		MessageId: aws.String("id"), ReceiptHandle: aws.String("receipt"), Body: aws.String(s.body),
		MessageAttributes: s.attributes, Attributes: map[string]string{"SentTimestamp": "1000", "ApproximateReceiveCount": "1"},
	}
	if s.group != "" {
		m.Attributes["MessageGroupId"] = s.group
	}
	return m
}

func drawHeaders(t *rapid.T) []broker.Header {
	name := rapid.OneOf(
		rapid.SampledFrom([]string{"a", "b", "A", "content-type", "redrive", "redrive-due", "redrive-sqs", "redrive-expires-at", "AWS.x", ".dot", "ä", "\xff", "two words", ""}),
		rapid.StringMatching(`[a-z]{1,8}`))
	value := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 40), rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) }))
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) broker.Header {
		return broker.Header{Name: name.Draw(t, "name"), Value: value.Draw(t, "value")}
	}), 0, 25).Draw(t, "headers")
}

func TestAnyMessageSurvives(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		fifo := rapid.Bool().Draw(t, "fifo")
		m := outgoing{
			body: rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "body"), headers: drawHeaders(t), publishID: rapid.String().Draw(t, "publish id"),
			key: rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "key"), envelope: rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "envelope"),
			id: rapid.SampledFrom([]string{"", "pub:1", "\x00"}).Draw(t, "id"),
		}
		if rapid.Bool().Draw(t, "copy") {
			m.time, m.due, m.expiresAt = time.UnixMilli(5), time.UnixMilli(77), time.UnixMilli(99)
		}
		s, err := seal(m, fifo)
		if err != nil {
			t.Fatal(err)
		}
		sealedIsLegal(t, s, fifo)
		got := open(delivered(s))
		want := broker.Message{ID: m.id, Key: m.key, Body: m.body, Headers: m.headers, Envelope: m.envelope, Time: m.time, ExpiresAt: m.expiresAt}
		if m.id == "" {
			want.ID = "id"
		}
		if m.time.IsZero() {
			want.Time = time.UnixMilli(1000)
		}
		if m.id == "\x00" {
			want.ID = m.id
		}
		if diff := cmp.Diff(want, got.message, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the message changed (-sent +received):\n%s", diff)
		}
		if !got.due.Equal(m.due) {
			t.Fatalf("due %v became %v", m.due, got.due)
		}
	})
}

func sealedIsLegal(t *rapid.T, s sealed, fifo bool) {
	if len(s.attributes) > maxAttributes {
		t.Fatalf("%d attributes", len(s.attributes))
	}
	if !textual([]byte(s.body)) {
		t.Fatalf("body %q is no text", s.body)
	}
	if fifo && (!tokenLegal(s.group) || !tokenLegal(s.dedupe)) || !fifo && s.dedupe != "" {
		t.Fatalf("group %q, deduplication id %q", s.group, s.dedupe)
	}
	for name, a := range s.attributes {
		if a.StringValue != nil && !textual([]byte(*a.StringValue)) || a.StringValue == nil && len(a.BinaryValue) == 0 {
			t.Fatalf("attribute %s is %+v", name, a)
		}
	}
}

// TestAttributesOfAllTypesSurvive is S8: what a plain producer sent comes out of every
// copy under its own name and type, ten attributes of it too.
func TestAttributesOfAllTypesSurvive(t *testing.T) {
	t.Parallel()
	for _, count := range []int{1, 5, 7, 8, 9, 10} {
		producer := map[string]types.MessageAttributeValue{}
		for i := range count {
			name := fmt.Sprintf("x-%02d", i)
			switch i % 4 {
			case 0:
				producer[name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String("text")}
			case 1:
				producer[name] = types.MessageAttributeValue{DataType: aws.String("Number"), StringValue: aws.String("12.50")}
			case 2:
				producer[name] = types.MessageAttributeValue{DataType: aws.String("Binary.png"), BinaryValue: []byte{0, 255}}
			case 3:
				producer[name] = types.MessageAttributeValue{DataType: aws.String("Number.usd"), StringValue: aws.String("-1e3")}
			}
		}
		first := open(types.Message{MessageId: aws.String("1"), Body: aws.String("b"), MessageAttributes: producer})
		m := outgoing{body: first.message.Body, headers: first.message.Headers, envelope: []byte("{}"), id: "1", time: time.UnixMilli(1), due: time.UnixMilli(2)}
		for range 3 { // A copy of a copy of a copy.
			s, err := seal(m, false)
			if err != nil {
				t.Fatal(err)
			}
			if len(s.attributes) > maxAttributes {
				t.Fatalf("%d attributes on the copy of a message with %d", len(s.attributes), count)
			}
			for name, a := range s.attributes {
				if want, ok := producer[name]; ok && !cmp.Equal(a, want, cmpopts.IgnoreUnexported(a)) {
					t.Errorf("attribute %s of %d became %+v", name, count, a)
				}
			}
			m.headers = open(delivered(s)).message.Headers
		}
		if diff := cmp.Diff(first.message.Headers, m.headers); diff != "" {
			t.Errorf("headers of %d attributes changed:\n%s", count, diff)
		}
		// A replay sends no time and no due: all that fit are attributes again.
		s, err := seal(outgoing{body: m.body, headers: m.headers, envelope: []byte("{}")}, false)
		if err != nil {
			t.Fatal(err)
		}
		back := 0
		for name, want := range producer {
			if a, ok := s.attributes[name]; ok && cmp.Equal(a, want, cmpopts.IgnoreUnexported(a)) {
				back++
			}
		}
		if back < min(count, maxAttributes-2) {
			t.Errorf("%d of %d attributes are attributes again", back, count)
		}
	}
}

func TestTextual(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"": false, "a": true, "\t\r\n": true, "\x00": false, "a\x1fb": false, "ü客\U0001F600": true, "\xff": false, "\ufffe": false,
		"\uffff": false, "\ufffd": true, "\xed\xa0\x80": false, "\x7f": true,
	} {
		if textual([]byte(s)) != want {
			t.Errorf("textual(%q) is %v", s, !want)
		}
	}
}

// TestLimitsAreCheckedBeforeTheCall is S2 for one message of 1 MiB and a byte, with
// whatever makes it that large.
func TestLimitsAreCheckedBeforeTheCall(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]outgoing{
		"body":     {body: bytes.Repeat([]byte("x"), maxMessage+1)},
		"binary":   {body: bytes.Repeat([]byte{0}, maxBinary+1)},
		"envelope": {body: []byte("b"), envelope: bytes.Repeat([]byte("e"), maxMessage)},
		"header":   {body: []byte("b"), headers: []broker.Header{{Name: "h", Value: bytes.Repeat([]byte("v"), maxMessage)}}},
	} {
		_, _, err := prepare(m, queue{name: "q"}, 0)
		tooLarge, ok := err.(*broker.TooLargeError) //nolint:errorlint // not wrapped
		if !ok || tooLarge.Size <= tooLarge.Limit {
			t.Errorf("%s: %v, want a TooLargeError", name, err)
		}
	}
	e, size, err := prepare(outgoing{body: bytes.Repeat([]byte("x"), maxMessage-1000)}, queue{name: "q"}, 901)
	if err != nil || size > maxMessage || e.MessageAttributes == nil {
		t.Errorf("a message that fits: size %d, %v", size, err)
	}
}

func TestDedupeIDs(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, id := range []string{"a", "dl:x:y", strings.Repeat("l", 128), strings.Repeat("l", 129), "two words", "ä", "", "sha256-x", dedupeID("ä")} {
		got := dedupeID(id)
		if !tokenLegal(got) {
			t.Errorf("%q is %q, which SQS refuses", id, got)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q are both %q", id, other, got)
		}
		seen[got] = id
	}
	if dedupeID("dl:x:y") != "dl:x:y" {
		t.Error("a legal id was changed")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add("body", "redrive-sqs", `{"id":"x","headers":["a",["b","c"],["d","ZQ==","v"]],"body":"base64"}`)
	f.Add("-", "redrive-sqs", `{"body":"empty","headers":[["x"]]}`)
	f.Add("YQ==", "redrive-due", "12")
	f.Fuzz(func(t *testing.T, body, name, value string) {
		got := open(types.Message{
			MessageId: aws.String("1"), Body: aws.String(body),
			MessageAttributes: map[string]types.MessageAttributeValue{name: {DataType: aws.String("String"), StringValue: aws.String(value)}},
		})
		if _, err := seal(outgoing{body: got.message.Body, headers: got.message.Headers, key: got.message.Key, envelope: got.message.Envelope}, true); err != nil {
			t.Errorf("what was received cannot be sent again: %v", err)
		}
	})
}

package envelope_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

// reporter is the part of testing.T and rapid.T that checks need.
type reporter interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkWire holds for every result of Encode: within the limit, one line of
// printable ASCII, JSON for every reader, read back as returned, canonical.
func checkWire(t reporter, raw []byte, written envelope.Envelope, limit int) {
	t.Helper()
	if len(raw) > limit {
		t.Fatalf("%d bytes, the limit is %d", len(raw), limit)
	}
	for i, c := range raw {
		if c < 0x20 || c > 0x7e {
			t.Fatalf("byte %d is %#x, not printable ASCII", i, c)
		}
	}
	if !json.Valid(raw) {
		t.Fatalf("not JSON: %s", raw)
	}
	got, err := envelope.Decode(raw)
	if err != nil {
		t.Fatalf("decode what was encoded: %v\n%s", err, raw)
	}
	if diff := cmp.Diff(written, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("decoded differs from returned (-returned +decoded):\n%s", diff)
	}
	again, _, err := envelope.Encode(got, limit)
	if err != nil || !bytes.Equal(raw, again) {
		t.Fatalf("encoding again gives other bytes (%v):\n%s\n%s", err, raw, again)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := envelopes(60, 300).Draw(t, "envelope")
		raw, written, err := envelope.Encode(e, envelope.MaxEncoded)
		if err != nil {
			t.Fatal(err)
		}
		checkWire(t, raw, written, envelope.MaxEncoded)
		ms := cmp.Comparer(func(a, b time.Time) bool { return a.UnixMilli() == b.UnixMilli() })
		delay := cmp.Comparer(func(a, b time.Duration) bool { return a.Milliseconds() == b.Milliseconds() })
		if diff := cmp.Diff(e, written, ms, delay, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(envelope.Envelope{}, "Trimmed")); diff != "" {
			t.Fatalf("something was lost (-given +written):\n%s", diff)
		}
	})
}

// TestSizeBudget draws envelopes far over the limit: the limit always holds, cuts
// come in their order and are recorded, and identities, first and newest attempt
// stay.
func TestSizeBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := envelopes(5, 4000).Draw(t, "envelope")
		e.Trimmed = nil
		before := clone(e)
		limit := rapid.IntRange(envelope.MinLimit, 3*envelope.DefaultLimit).Draw(t, "limit")
		raw, written, err := envelope.Encode(e, limit)
		if diff := cmp.Diff(before, e); diff != "" {
			t.Fatalf("the argument was changed:\n%s", diff)
		}
		if err != nil {
			t.Fatal(err)
		}
		checkWire(t, raw, written, limit)
		checkCuts(t, before, written)
	})
}

func clone(e envelope.Envelope) envelope.Envelope {
	e.Attempts, e.Trimmed = slices.Clone(e.Attempts), slices.Clone(e.Trimmed)
	e.Control = slices.Clone(e.Control)
	for i := range e.Control {
		e.Control[i].Value = bytes.Clone(e.Control[i].Value)
	}
	return e
}

func checkCuts(t *rapid.T, before, after envelope.Envelope) {
	t.Helper()
	cut := map[string]bool{
		"stack":   before.Stack != after.Stack,
		"history": len(before.Attempts) != len(after.Attempts),
		"message": before.Message != after.Message || before.ErrorType != after.ErrorType,
		"control": len(before.Control) != len(after.Control),
	}
	for name, was := range cut {
		if was && !slices.Contains(after.Trimmed, name) {
			t.Fatalf("%s was cut and Trimmed says %v", name, after.Trimmed)
		}
	}
	gone := map[string]bool{
		"stack":   after.Stack == "",
		"history": len(after.Attempts) <= 2,
		"message": after.Message == "",
	}
	for i, later := range []string{"stack", "history", "message", "control"} {
		if !slices.Contains(after.Trimmed, later) {
			continue
		}
		for _, earlier := range []string{"stack", "history", "message"}[:min(i, 3)] {
			if !gone[earlier] {
				t.Fatalf("%s was cut while there was %s left to cut", later, earlier)
			}
		}
	}
	if !strings.HasPrefix(before.Stack, after.Stack) || !strings.HasPrefix(before.Message, after.Message) {
		t.Fatalf("text was not cut at its end")
	}
	if n, m := len(before.Attempts), len(after.Attempts); n > 0 {
		if m < min(n, 2) {
			t.Fatalf("%d attempts became %d", n, m)
		}
		for i, from := range append([]int{0}, rangeOf(n-m+1, n)...) {
			if before.Attempts[from].At.UnixMilli() != after.Attempts[i].At.UnixMilli() {
				t.Fatalf("attempt %d is not the one expected", i)
			}
		}
	}
	identity := cmpopts.IgnoreFields(envelope.Envelope{}, "Attempts", "Trimmed", "Stack", "Message", "ErrorType", "Control",
		"FirstFailure", "LastFailure", "Exhausted")
	if diff := cmp.Diff(before, after, identity); diff != "" {
		t.Fatalf("more was changed than may be cut:\n%s", diff)
	}
}

func rangeOf(from, to int) []int {
	var out []int
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

// TestMinLimit builds the worst envelope whose identities take 400 bytes.
func TestMinLimit(t *testing.T) {
	far := time.UnixMilli(math.MinInt64)
	worst := envelope.Attempt{
		At: far, Category: failure.Integration, ErrorType: strings.Repeat("\x00", 300), Signature: strings.Repeat("é", 300),
		Delay: math.MaxInt64, Worker: strings.Repeat("\xff", 300), Uncounted: strings.Repeat("\x01", 300), Replay: math.MaxInt,
	}
	e := envelope.Envelope{
		Attempts: slices.Repeat([]envelope.Attempt{worst}, 50), Count: math.MaxInt, Uncounted: math.MaxInt,
		MaxAttempts: math.MaxInt, Replays: math.MaxInt, FirstFailure: far, LastFailure: far, Exhausted: far,
		Category: failure.Integration, ErrorType: strings.Repeat("\x00", 300),
		Message: strings.Repeat("\x00", 9000), Stack: strings.Repeat("\x00\n", 9000),
		Control: slices.Repeat([]broker.Header{{Name: "x", Value: bytes.Repeat([]byte{0xff}, 900)}}, 9),
		// Thirteen identities; names, quotes and commas are not part of what they
		// take.
		ID: "0123456789", Key: "0123456789", Incarnation: "0123456789", PublishID: "0123456789", CorrelationID: "0123456789",
		Source: "0123456789", Group: "0123456789", Position: "0123456789", Reason: "0123456789", Signature: "0123456789",
		ClaimCheck: "0123456789", ReplayID: "0123456789", BodyDigest: strings.Repeat("d", 400-120),
	}
	raw, written, err := envelope.Encode(e, envelope.MinLimit)
	if err != nil {
		t.Fatal(err)
	}
	checkWire(t, raw, written, envelope.MinLimit)
	if diff := cmp.Diff([]string{"stack", "history", "message", "control"}, written.Trimmed); diff != "" {
		t.Errorf("trimmed (-want +got):\n%s", diff)
	}
	if len(written.Attempts) != 2 {
		t.Errorf("%d attempts are left, want the first and the last", len(written.Attempts))
	}

	e.Source = strings.Repeat("s", 2*envelope.MinLimit)
	var size *envelope.SizeError
	if _, _, err := envelope.Encode(e, envelope.MinLimit); !errors.As(err, &size) || size.Need <= envelope.MinLimit {
		t.Errorf("identities that do not fit: %v", err)
	}
	if _, _, err := envelope.Encode(envelope.Envelope{}, envelope.MinLimit-1); !errors.As(err, &size) || size.Need != envelope.MinLimit {
		t.Errorf("limit below the smallest: %v", err)
	}
}

func TestStackIsCutAtALine(t *testing.T) {
	e := retrying()
	e.Stack = strings.Repeat("main.charge(0xc000012345)\n\t/src/billing/charge.go:42 +0x1f\n", 400)
	_, written, err := envelope.Encode(e, envelope.DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	if len(written.Stack) < envelope.DefaultLimit/2 || !strings.HasSuffix(written.Stack, "\n") {
		t.Errorf("kept %d bytes ending in %q", len(written.Stack), written.Stack[max(0, len(written.Stack)-10):])
	}
	if diff := cmp.Diff([]string{envelope.TrimmedStack}, written.Trimmed); diff != "" {
		t.Errorf("trimmed (-want +got):\n%s", diff)
	}
}

// TestControlLosesTheLargestFirst: a copied foreign envelope is what makes
// Control large.
func TestControlLosesTheLargestFirst(t *testing.T) {
	e := retrying()
	e.Control = []broker.Header{
		{Name: "Nats-TTL", Value: []byte("1h")},
		{Name: "redrive", Value: bytes.Repeat([]byte("x"), envelope.DefaultLimit)},
		{Name: "expiration", Value: []byte("60000")},
	}
	_, written, err := envelope.Encode(e, envelope.DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	want := []broker.Header{e.Control[0], e.Control[2]}
	if diff := cmp.Diff(want, written.Control); diff != "" {
		t.Errorf("control (-want +got):\n%s", diff)
	}
}

func TestBelongs(t *testing.T) {
	digest := envelope.Digest([]byte("body"))
	e := envelope.Envelope{Source: "orders", Group: "billing", BodyDigest: digest}
	noGroup := envelope.Envelope{Source: "orders", BodyDigest: digest}
	for _, c := range []struct {
		name                  string
		e                     envelope.Envelope
		source, group, digest string
		want                  bool
	}{
		{"same", e, "orders", "billing", digest, true},
		{"other source", e, "payments", "billing", digest, false},
		{"other group", e, "orders", "shipping", digest, false},
		{"other body", e, "orders", "billing", envelope.Digest([]byte("Body")), false},
		{"default group left out", noGroup, "orders", broker.DefaultGroup, digest, true},
		{"no digest on either side", envelope.Envelope{Source: "orders", Group: "billing"}, "orders", "billing", "", false},
	} {
		if got := c.e.Belongs(c.source, c.group, c.digest); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if digest != "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5" {
		t.Errorf("digest of \"body\" is %s", digest)
	}
}

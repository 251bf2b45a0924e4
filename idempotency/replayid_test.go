package idempotency_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/idempotency"
)

func TestReplayPublishIDTellsItsLetter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		letter := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z:%0-9]{0,12}`)).Draw(t, "letter")
		ordinal := rapid.Int().Draw(t, "ordinal")
		id := idempotency.ReplayPublishID(letter, ordinal)
		got, n, ok := idempotency.ParseReplayPublishID(id)
		if !ok || got != letter || n != ordinal {
			t.Fatalf("%q gives %q, %d, %t, want %q, %d", id, got, n, ok, letter, ordinal)
		}
	})
	for _, id := range []string{"", "rp:", "rp:x", "rp:x:", "rp:x:y", "rp:x:+1", "rp:x:01", "rp:%:1", "rp:%zz:1", "rp:%41:1", "rp:a b:1", "dl:x:1", "pub:rp:x:1"} {
		if letter, n, ok := idempotency.ParseReplayPublishID(id); ok {
			t.Errorf("%q gives %q, %d, want nothing", id, letter, n)
		}
	}
}

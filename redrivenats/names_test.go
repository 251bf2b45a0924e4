package redrivenats

import (
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
)

// awkward draws names whose escapes are likely to meet.
func awkward(t *rapid.T, label string) string {
	part := rapid.SampledFrom([]string{"_", "-", "--", ".", "2e", "_2e", "_5f", "a", "F", "f", "/", " ", "ä", "orders", "\x00", "*", ">", "$", "x7"})
	return strings.Join(rapid.SliceOfN(part, 1, 60).Draw(t, label), "")
}

func TestTokenIsInjectiveAndLegal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := awkward(t, "a"), awkward(t, "b")
		ta, tb := token(a), token(b)
		if a != b && ta == tb {
			t.Fatalf("%q and %q are both %q", a, b, ta)
		}
		if len(ta) > maxToken {
			t.Fatalf("token of %q has %d bytes", a, len(ta))
		}
		for i := range len(ta) {
			if c := ta[i]; !isAlphanumeric(c) && c != '-' && c != '_' {
				t.Fatalf("token %q of %q holds %q", ta, a, c)
			}
		}
		if back, ok := unescape(ta); ok && back != a {
			t.Fatalf("%q became %q and back %q", a, ta, back)
		}
	})
}

// TestNamesOfSubscriptionsNeverMeet draws many pairs: no two subscriptions share
// a stream, a subject or a consumer.
func TestNamesOfSubscriptionsNeverMeet(t *testing.T) {
	count := 20_000
	if os.Getenv("REDRIVE_FULL") == "1" {
		count = 1_000_000
	}
	l := layout{"redrive"}
	owner := map[string][2]string{}
	generator := rapid.Custom(func(t *rapid.T) [2]string { return [2]string{awkward(t, "source"), awkward(t, "group")} })
	for i := range count {
		pair := generator.Example(i)
		names := broker.NamesFor(pair[0], pair[1])
		for _, made := range []string{
			"stream " + l.groupStream(pair[0], pair[1]),
			"subject " + l.groupSubject(pair[0], pair[1]),
			"durable " + l.durable(pair[0], pair[1]),
			"retry " + l.retrySubject(names.Retry),
			"dlq " + l.dlqSubject(names.DeadLetter),
		} {
			if other, ok := owner[made]; ok && other != pair {
				t.Fatalf("%q and %q share %s", other, pair, made)
			}
			owner[made] = pair
		}
	}
}

func TestShortenedNamesCannotBeForged(t *testing.T) {
	long := strings.Repeat("long-name.", 30)
	short := token(long)
	if !looksShortened(short) {
		t.Fatalf("%q is not a shortened token", short)
	}
	if token(short) == short {
		t.Errorf("a queue named %q shares its streams with %q", short, long)
	}
	if _, ok := unescape(short); ok {
		t.Error("a shortened token tells a name")
	}
}

func TestReplayEntryIsTheRetryConsumer(t *testing.T) {
	l := layout{"redrive"}
	names := broker.NamesFor("orders.eu", "audit")
	if got, want := l.retrySubject(names.Replay), l.retrySubject(names.Retry); got != want {
		t.Errorf("replays go to %q, retries to %q: want one consumer", got, want)
	}
}

func TestSourceSubject(t *testing.T) {
	l := layout{"redrive"}
	for queue, want := range map[string]string{
		"orders":       "orders",
		"orders.eu":    "orders.eu",
		"orders.*":     "redrive.src.orders_2e_2a",
		"two words":    "redrive.src.two_20words",
		"a..b":         "redrive.src.a_2e_2eb",
		"$SYS.x":       "redrive.src._24SYS_2ex",
		"redrive.dlq.": "redrive.src.redrive_2edlq_2e",
		"redrive.x":    "redrive.src.redrive_2ex",
	} {
		if got := l.sourceSubject(queue); got != want {
			t.Errorf("subject of %q is %q, want %q", queue, got, want)
		}
	}
}

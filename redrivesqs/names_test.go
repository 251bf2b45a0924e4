package redrivesqs

import (
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

// awkward draws names whose escapes are likely to meet.
func awkward(t *rapid.T, label string) string {
	part := rapid.SampledFrom([]string{"_", "-", "--", ".", "2e", "_2e", "_5f", "_5fx", "_5fh", "x20", "a", "F", "f", "/", " ", "ä", "orders", "\x00", ".fifo", ".dlq", ".group", "_2efifo", "_2edlq", "7"})
	return strings.Join(rapid.SliceOfN(part, 1, 40).Draw(t, label), "")
}

func TestNativeNamesAreLegalAndInjective(t *testing.T) {
	t.Parallel()
	l := layout{"redrive"}
	rapid.Check(t, func(t *rapid.T) {
		a, b := awkward(t, "a"), awkward(t, "b")
		for _, name := range []string{a, b} {
			switch native := l.native(name); {
			case !legal(native):
				t.Fatalf("native name %q of %q is not legal", native, name)
			case strings.HasSuffix(native, fifoSuffix) != l.fifo(name):
				t.Fatalf("%q is %q: FIFO or not?", name, native)
			}
			if kind := broker.KindOf(name); kind == broker.KindRetry || kind == broker.KindReplay {
				t.Skip("leads to the queue that the subscription consumes")
			}
			if back, ok := l.logical(l.native(name)); ok && back != name {
				t.Fatalf("%q became %q and back %q", name, l.native(name), back)
			}
		}
		if a != b && l.native(a) == l.native(b) {
			t.Fatalf("%q and %q are both %q", a, b, l.native(a))
		}
	})
}

// fifo says of a logical name whether its queue is a FIFO queue.
func (l layout) fifo(name string) bool {
	if broker.KindOf(name) == broker.KindSource {
		return strings.HasSuffix(name, fifoSuffix)
	}
	source, _, _ := parts(name)
	return strings.HasSuffix(source, fifoSuffix)
}

// TestNamesOfSubscriptionsNeverMeet draws many pairs: no two subscriptions share a
// queue.
func TestNamesOfSubscriptionsNeverMeet(t *testing.T) {
	t.Parallel()
	count := 20_000
	if os.Getenv("REDRIVE_FULL") == "1" {
		count = 1_000_000
	}
	l := layout{"redrive"}
	owner := map[string][2]string{}
	generator := rapid.Custom(func(t *rapid.T) [2]string {
		return [2]string{awkward(t, "source"), rapid.SampledFrom([]string{"default", "audit", "a-b", "-x", "x-", "_2d", "g.group", "--", "g"}).Draw(t, "group")}
	})
	for i := range count {
		pair := generator.Example(i)
		if kind := broker.KindOf(pair[0]); kind != broker.KindSource {
			continue
		}
		names := broker.NamesFor(pair[0], pair[1])
		for _, made := range []string{l.group(pair[0], pair[1]), l.native(names.DeadLetter), l.native(names.Quarantine(failure.Crash))} {
			if other, ok := owner[made]; ok && other != pair {
				t.Fatalf("%q and %q share %s", other, pair, made)
			}
			owner[made] = pair
		}
		if got, want := l.native(names.Retry), l.group(pair[0], pair[1]); got != want {
			t.Fatalf("retries of %q go to %q, which is not %q", pair, got, want)
		}
		if got, want := l.native(names.Replay), l.group(pair[0], pair[1]); got != want {
			t.Fatalf("replays of %q go to %q, which is not %q", pair, got, want)
		}
		if got := l.group(pair[0], pair[1]); pair[1] != broker.DefaultGroup && !strings.HasPrefix(got, l.groupPrefix(pair[0])) {
			t.Fatalf("queue %q of group %q does not begin with %q", got, pair, l.groupPrefix(pair[0]))
		}
	}
}

func TestNamesOfQueuesThatExistAreKept(t *testing.T) {
	t.Parallel()
	l := layout{"redrive"}
	for logical, native := range map[string]string{
		"orders":                              "orders",
		"events_2024":                         "events_2024",
		"orders.fifo":                         "orders.fifo",
		"orders--eu":                          "orders--eu",
		"orders.eu":                           "orders_2eeu",
		"orders.dlq":                          "orders_2edlq",
		"orders.fifo.dlq":                     "orders_2edlq.fifo",
		"orders.fifo--audit.dlq":              "orders--audit_2edlq.fifo",
		"orders.fifo.retry":                   "orders.fifo",
		"orders--audit.replay":                "orders--audit_2egroup",
		"orders.dlq.quarantine.crash":         "orders_2edlq_2equarantine_2ecrash",
		"two words":                           "two_5fx20words",
		"x_2ey":                               "x_5f5f2ey",
		broker.QueueOutcomes:                  "redrive_2eoutcomes",
		broker.QueueHeartbeats:                "redrive_2eheartbeats",
		strings.Repeat("a", 76) + ".fifo":     strings.Repeat("a", 40) + "_5fh" + digest(strings.Repeat("a", 76) + ".fifo")[:10] + ".fifo",
		strings.Repeat("long-name.", 10):      "long-name_2elong-name_2elong-name_2elong_5fh" + digest(strings.Repeat("long-name.", 10))[:10],
		strings.Repeat("a", 60) + ".fifo.dlq": strings.Repeat("a", 60) + "_2edlq.fifo",
	} {
		if got := l.native(logical); got != native {
			t.Errorf("%q is %q, want %q", logical, got, native)
		}
	}
}

package broker_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

// pairs is how many pairs of subscriptions the injectivity test compares.
func pairs() int {
	if os.Getenv("REDRIVE_FULL") == "1" {
		return 1_000_000
	}
	return 200_000
}

// tricky is what names are drawn from: the separators, the escapes and pieces of
// the suffixes. Short names over it collide at once if the escaping is wrong.
var tricky = []string{"-", "-", "_", "_", "2", "d", "5", "f", "a", ".", ".retry", ".dlq", ".replay", "--", "_2d", "_5f", "default"}

func trickyName(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(5) {
		b.WriteString(tricky[r.IntN(len(tricky))])
	}
	return b.String()
}

// own lists the queues of a subscription, but for its source.
func own(n broker.Names) []string {
	out := []string{n.Retry, n.DeadLetter, n.Replay}
	for _, c := range failure.Categories() {
		out = append(out, n.Quarantine(c))
	}
	return out
}

// TestNamesAreInjective draws subscriptions and shows that no two share a name,
// and that no subscription gives two of its queues one name.
func TestNamesAreInjective(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	type subscription struct{ source, group string }
	taken := map[string]bool{}
	seen := map[subscription]bool{}
	for range pairs() {
		s := subscription{trickyName(r), trickyName(r)}
		if s.group == "default" || r.IntN(4) == 0 {
			s.group = broker.DefaultGroup
		}
		if seen[s] {
			continue
		}
		seen[s] = true
		for _, name := range own(broker.NamesFor(s.source, s.group)) {
			if taken[name] {
				t.Fatalf("%q belongs to %+v and to another queue", name, s)
			}
			taken[name] = true
		}
	}
	if n := len(seen); n < pairs()/10 {
		t.Errorf("only %d distinct subscriptions among %d", n, pairs())
	}
}

func TestNamesOfAnyStringsAreInjective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[-_2d5fa.]{0,8}`))
		s1, g1, s2, g2 := name.Draw(t, "source"), name.Draw(t, "group"), name.Draw(t, "source"), name.Draw(t, "group")
		a, b := broker.NamesFor(s1, g1), broker.NamesFor(s2, g2)
		same := s1 == s2 && a.Group == b.Group
		if (a.Retry == b.Retry) != same || (a.DeadLetter == b.DeadLetter) != same || (a.Replay == b.Replay) != same {
			t.Fatalf("%+v and %+v: want the same names only for the same subscription", a, b)
		}
		if (broker.EscapeName(s1) == broker.EscapeName(s2)) != (s1 == s2) {
			t.Fatalf("EscapeName of %q and %q is %q and %q", s1, s2, broker.EscapeName(s1), broker.EscapeName(s2))
		}
		if e := broker.EscapeName(s1); strings.Contains(e, "--") || strings.HasPrefix(e, "-") || strings.HasSuffix(e, "-") {
			t.Fatalf("EscapeName(%q) = %q has a dash that could be taken for a separator", s1, e)
		}
	})
}

func TestNamesFor(t *testing.T) {
	for _, c := range []struct{ source, group, retry, quarantine string }{
		{"orders", "", "orders.retry", "orders.dlq.quarantine.schema"},
		{"orders", "default", "orders.retry", "orders.dlq.quarantine.schema"},
		{"orders", "billing", "orders--billing.retry", "orders--billing.dlq.quarantine.schema"},
		{"my-orders", "a-b", "my-orders--a-b.retry", "my-orders--a-b.dlq.quarantine.schema"},
		{"orders--billing", "", "orders_2d_2dbilling.retry", "orders_2d_2dbilling.dlq.quarantine.schema"},
		{"a_2d", "", "a_5f2d.retry", "a_5f2d.dlq.quarantine.schema"},
		{"snake_case", "", "snake_5fcase.retry", "snake_5fcase.dlq.quarantine.schema"},
		{"snake_two", "", "snake_two.retry", "snake_two.dlq.quarantine.schema"},
	} {
		n := broker.NamesFor(c.source, c.group)
		if n.Retry != c.retry || n.Quarantine(failure.Schema) != c.quarantine {
			t.Errorf("NamesFor(%q, %q): %q and %q, want %q and %q", c.source, c.group, n.Retry, n.Quarantine(failure.Schema), c.retry, c.quarantine)
		}
	}
}

func TestKindOf(t *testing.T) {
	n := broker.NamesFor("orders", "billing")
	for name, want := range map[string]broker.QueueKind{
		"orders": broker.KindSource, n.Retry: broker.KindRetry, n.DeadLetter: broker.KindDeadLetter, n.Replay: broker.KindReplay,
		n.Quarantine(failure.Crash): broker.KindQuarantine, "orders.dlq.quarantine.other": broker.KindSource,
		"orders.dlq.quarantine.": broker.KindSource, ".dlq.quarantine.crash": broker.KindSource, "": broker.KindSource,
	} {
		if got := broker.KindOf(name); got != want {
			t.Errorf("KindOf(%q) = %q, want %q", name, got, want)
		}
	}
}

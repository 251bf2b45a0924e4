package redrivekafka

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

func pairs() int {
	if os.Getenv("REDRIVE_FULL") == "1" {
		return 1_000_000
	}
	return 100_000
}

// TestTopicsAreInjective draws subscriptions from what names are confused by, and
// shows that no two share a topic.
func TestTopicsAreInjective(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	pieces := []string{"-", "--", "_", "_2d", "_5f", "a", ".", ".retry", ".dlq", ".1s", "default", "ä", "/", " ", "redrive-x.", "redrive-s.", strings.Repeat("long", 60)}
	name := func() string {
		var b strings.Builder
		for range 1 + r.IntN(4) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		return b.String()
	}
	type subscription struct{ source, group string }
	taken, seen := map[string]subscription{}, map[subscription]bool{}
	for range pairs() {
		s := subscription{name(), name()}
		if r.IntN(3) == 0 {
			s.group = broker.DefaultGroup
		}
		if seen[s] || checkNames(broker.Spec{Source: s.source, Group: s.group}) != nil {
			continue
		}
		seen[s] = true
		names := broker.NamesFor(s.source, s.group)
		ts := topicsOf(names)
		all := append([]string{ts.replay, ts.deadLetter}, ts.retry[:]...)
		for _, c := range failure.Categories() {
			all = append(all, topicName(names.Quarantine(c)))
		}
		for _, topic := range all {
			if other, ok := taken[topic]; ok {
				t.Fatalf("%q belongs to %+v and to %+v", topic, other, s)
			}
			if !legalTopic(topic) {
				t.Fatalf("%q is no topic", topic)
			}
			taken[topic] = s
		}
	}
}

func TestTopicNamesAreLegalAndRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z._-]{1,300}`)).Draw(t, "name")
		topic := topicName(name)
		if !legalTopic(topic) {
			t.Fatalf("%q gives %q", name, topic)
		}
		if back, ok := queueName(topic); ok && back != name {
			t.Fatalf("%q gives %q, which is read as %q", name, topic, back)
		}
	})
}

func TestTopicOfALegalNameIsThatName(t *testing.T) {
	for _, name := range []string{"orders", "my_face", "a--b", "Orders.v1", "snake_2dcase"} {
		if got := topicName(name); got != name {
			t.Errorf("the topic of %q is %q", name, got)
		}
	}
	for name, want := range map[string]string{"größe": "redrive-x.gr_c3_b6_c3_9fe", "a b": "redrive-x.a_20b", "redrive-x.a": "redrive-x.redrive-x.a", "": "redrive-x."} {
		if got := topicName(name); got != want {
			t.Errorf("the topic of %q is %q, want %q", name, got, want)
		}
	}
}

// A name of a subscription's queues tells the subscription, so that a list of topics
// tells all of them.
func TestSubscriptionsAreReadFromNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[-_a25df.]{1,8}`)
		source, group := name.Draw(t, "source"), name.Draw(t, "group")
		base := strings.TrimSuffix(broker.NamesFor(source, group).Replay, ".replay")
		s, g, ok := cutSubscription(base)
		if !ok || s != source || g != group {
			t.Fatalf("%q is read as %q and %q, %v: want %q and %q", base, s, g, ok, source, group)
		}
	})
}

func TestTierIsTheFirstThatIsLongEnough(t *testing.T) {
	for wait, want := range map[time.Duration]string{
		-time.Hour: "1s", 0: "1s", time.Second: "1s", time.Second + 1: "5s", 20 * time.Second: "30s",
		2 * time.Minute: "2m", 3 * time.Minute: "10m", time.Hour: "1h", 48 * time.Hour: "1h",
	} {
		if got := tiers[tierFor(wait)].name; got != want {
			t.Errorf("a wait of %v goes to the tier %s, want %s", wait, got, want)
		}
	}
}

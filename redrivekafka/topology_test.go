package redrivekafka_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivekafka"
)

// admin is a plain client of the cluster.
func (r *rig) admin(t *testing.T) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func create(t *testing.T, admin *kadm.Client, topic string, partitions int32, config map[string]string) {
	t.Helper()
	settings := map[string]*string{}
	for k, v := range config {
		settings[k] = &v
	}
	if _, err := admin.CreateTopic(t.Context(), partitions, 1, settings, topic); err != nil {
		t.Fatal(err)
	}
}

// Every setting with which a message could be lost is refused by a rule of its own,
// unless the user accepts that rule.
func TestEnsureRefusesTopicsThatLose(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		topic  string
		config map[string]string
		rule   string
	}{
		"letters deleted by age":         {"orders.dlq", map[string]string{"retention.ms": "604800000"}, redrivekafka.RuleLetterRetention},
		"letters deleted by size":        {"orders.dlq.quarantine.crash", map[string]string{"retention.ms": "-1", "retention.bytes": "1000000"}, redrivekafka.RuleLetterRetention},
		"letters compacted":              {"orders.dlq", map[string]string{"cleanup.policy": "compact"}, redrivekafka.RuleLetterCompacted},
		"letters must be smaller":        {"orders.dlq", map[string]string{"retention.ms": "-1", "max.message.bytes": "1000"}, redrivekafka.RuleLetterSize},
		"retries deleted too early":      {"orders.retry.1h", map[string]string{"retention.ms": "3600000"}, redrivekafka.RuleRetryRetention},
		"retries compacted":              {"orders.retry.1s", map[string]string{"cleanup.policy": "compact"}, redrivekafka.RuleRetryCompacted},
		"replays must be smaller":        {"orders.replay", map[string]string{"retention.ms": "-1", "max.message.bytes": "1000"}, redrivekafka.RuleRetrySize},
		"outcomes deleted by age":        {broker.QueueOutcomes, map[string]string{"retention.ms": "1000"}, redrivekafka.RuleLetterRetention},
		"heartbeats that keep every one": {broker.QueueHeartbeats, map[string]string{"cleanup.policy": "delete"}, redrivekafka.RuleHeartbeats},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newFake(t)
			create(t, r.admin(t), tt.topic, 1, tt.config)
			b := r.open(t, func(*config) {})
			spec := broker.Spec{Source: "orders"}
			err := b.Topology().Ensure(t.Context(), spec)
			var refused *broker.RefusedError
			if !errors.As(err, &refused) || len(refused.Problems) != 1 || refused.Problems[0].Rule != tt.rule || refused.Problems[0].Queue != tt.topic {
				t.Fatalf("ensure: %v, want a refusal of %s by %s", err, tt.topic, tt.rule)
			}
			if _, err := b.Open(t.Context(), spec); !errors.As(err, &refused) {
				t.Errorf("open: %v, want the same refusal", err)
			}
			spec.Accept = []string{tt.rule}
			if err := b.Topology().Ensure(t.Context(), spec); err != nil {
				t.Errorf("ensure although the rule is accepted: %v", err)
			}
		})
	}
}

// What redrive makes passes its own rules, and has as many partitions as the source.
func TestEnsureMakesTopicsThatKeep(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	admin := r.admin(t)
	create(t, admin, "orders", 3, map[string]string{"max.message.bytes": "2000000", "retention.ms": "1000000"})
	b := r.open(t, func(*config) {})
	for range 2 {
		if err := b.Topology().Ensure(t.Context(), broker.Spec{Source: "orders", Group: "billing"}); err != nil {
			t.Fatal(err)
		}
	}
	details, err := admin.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"orders", "orders--billing.dlq", "orders--billing.dlq.quarantine.business", "orders--billing.dlq.quarantine.crash",
		"orders--billing.dlq.quarantine.integration", "orders--billing.dlq.quarantine.schema", "orders--billing.dlq.quarantine.transient",
		"orders--billing.replay", "orders--billing.retry.10m", "orders--billing.retry.1h", "orders--billing.retry.1s", "orders--billing.retry.2m",
		"orders--billing.retry.30s", "orders--billing.retry.5s", "redrive.heartbeats", "redrive.outcomes",
	}
	if got := details.Names(); !slices.Equal(got, want) {
		t.Errorf("topics %q, want %q", got, want)
	}
	for name, d := range details {
		partitions := 3
		if name == broker.QueueOutcomes || name == broker.QueueHeartbeats {
			partitions = 1
		}
		if len(d.Partitions) != partitions {
			t.Errorf("topic %s has %d partitions, want %d", name, len(d.Partitions), partitions)
		}
	}
	queues, err := b.Topology().Queues(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(queues, func(q broker.Queue) bool { return q.Name == "orders" })
	if i < 0 || !slices.Equal(queues[i].Groups, []string{"billing"}) {
		t.Errorf("queues are %+v, want orders with the group billing", queues)
	}
}

func TestNamesOfOwnQueuesAreNoSources(t *testing.T) {
	t.Parallel()
	b := newFake(t).open(t, func(*config) {})
	for _, spec := range []broker.Spec{{}, {Source: "orders.dlq"}, {Source: "orders.retry.5s"}, {Source: "orders.replay"}, {Source: "orders", Group: "redrive.orders"}} {
		if err := b.Topology().Ensure(t.Context(), spec); !errors.Is(err, broker.ErrUnsupported) {
			t.Errorf("ensure %+v: %v, want ErrUnsupported", spec, err)
		}
	}
}

// Depth counts what is not settled, whatever the order in which it is settled, and
// survives a close.
func TestStatsKnowWhatIsSettledBeyondTheOffset(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	b := r.open(t, func(*config) {})
	sub, err := b.Open(t.Context(), broker.Spec{Source: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	var out []broker.Outbound
	for i := range byte(6) {
		out = append(out, broker.Outbound{Queue: "orders", Body: []byte{'a' + i}})
	}
	if err := errors.Join(b.Publish(t.Context(), out)...); err != nil {
		t.Fatal(err)
	}
	got := map[string]broker.Delivery{}
	for len(got) < 6 {
		ds, err := sub.Receive(t.Context(), 6)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			got[string(d.Msg().Body)] = d
		}
	}
	for _, body := range []string{"b", "d", "e"} {
		if _, err := got[body].Settle(t.Context(), broker.Done{}); err != nil {
			t.Fatal(err)
		}
	}
	depth := func(want int64) {
		t.Helper()
		if st, err := b.Stats(t.Context(), "orders"); err != nil || st.Depth() != want {
			t.Errorf("depth %d, %v, want %d", st.Depth(), err, want)
		}
	}
	depth(3)
	if err := sub.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	depth(3)
	if sub, err = b.Open(t.Context(), broker.Spec{Source: "orders"}); err != nil {
		t.Fatal(err)
	}
	var again []byte
	for len(again) < 3 {
		ds, err := sub.Receive(t.Context(), 6)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			again = append(again, d.Msg().Body...)
			if _, err := d.Settle(t.Context(), broker.Done{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if string(again) != "acf" {
		t.Errorf("%q came again, want what was not settled, acf", again)
	}
	depth(0)
}

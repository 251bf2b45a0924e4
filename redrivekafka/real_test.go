package redrivekafka_test

import (
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/internal/servertest"
	"github.com/redrive-dev/redrive/internal/workertest"
)

// newReal starts a Kafka that the tests may kill.
func newReal(t *testing.T) *rig {
	t.Helper()
	server := servertest.Kafka(t, servertest.Options{})
	r := &rig{t: t, brokers: []string{server.URL}, links: map[broker.Broker]*link{}}
	r.restart = func() {
		server.Kill()
		server.Restart()
	}
	// A compacted topic takes no records without keys.
	r.refuse = func(t brokertest.T, topic string) func() {
		t.Helper()
		client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
		if err != nil {
			t.Fatalf("connect a plain client: %v", err)
		}
		t.Cleanup(client.Close)
		set := func(policy string) {
			t.Helper()
			answers, err := kadm.NewClient(client).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &policy}}, topic)
			if err == nil {
				_, err = answers.On(topic, nil)
			}
			if err != nil {
				t.Fatalf("set the policy of %s: %v", topic, err)
			}
		}
		set("compact")
		return sync.OnceFunc(func() { set("delete") })
	}
	return r
}

// realHarness has more patience than a cluster in this process needs: a killed Kafka
// takes seconds to come back.
func (r *rig) realHarness() brokertest.Harness {
	h := r.harness()
	h.Tolerance = 30 * time.Second
	h.Timeout = 4 * time.Minute
	return h
}

// TestConformanceOnKafka runs the suite on a real Kafka, which is killed.
func TestConformanceOnKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("a real Kafka takes a minute")
	}
	brokertest.Run(t, newReal(t).realHarness())
}

// TestConformanceOfWorkersOnKafka runs workers on a real Kafka, which is killed.
func TestConformanceOfWorkersOnKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("a real Kafka takes a minute")
	}
	brokertest.RunCases(t, newReal(t).realHarness(), workertest.Cases())
}

package redrivekafka_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

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
	r.refuse = func(bt brokertest.T, topic string) func() {
		bt.Helper()
		admin := r.admin(t)
		if _, err := admin.DeleteTopic(bt.Context(), topic); err != nil {
			bt.Fatalf("delete topic %s: %v", topic, err)
		}
		return sync.OnceFunc(func() {
			forever := "-1"
			for end := time.Now().Add(20 * time.Second); ; {
				// A topic that is being deleted is still in the way for a moment.
				_, err := admin.CreateTopic(bt.Context(), 1, 1, map[string]*string{"retention.ms": &forever}, topic)
				if err == nil || errors.Is(err, kerr.TopicAlreadyExists) && time.Now().After(end) {
					return
				}
				if time.Now().After(end) {
					bt.Fatalf("create topic %s again: %v", topic, err)
				}
			}
		})
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
	h := newReal(t).realHarness()
	h.Refuse = nil // A worker makes the missing topic again when it starts.
	brokertest.RunCases(t, h, workertest.Cases())
}

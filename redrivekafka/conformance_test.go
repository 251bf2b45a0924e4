package redrivekafka_test

import (
	"context"
	"flag"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/internal/workertest"
	"github.com/redrive-dev/redrive/redrivekafka"
)

// TestMain lets more cases run at once than there are processors: nearly all of their
// time is waiting for leases, sessions and delays.
func TestMain(m *testing.M) {
	flag.Parse()
	if fuzzing := flag.Lookup("test.fuzz"); fuzzing == nil || fuzzing.Value.String() == "" {
		if err := flag.Set("test.parallel", "24"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

type config = redrivekafka.Config

// rig is the suite's way to one cluster.
type rig struct {
	t       *testing.T
	brokers []string
	edit    func(*config)
	restart func()
	refuse  func(t brokertest.T, topic string) (heal func())

	mu    sync.Mutex
	links map[broker.Broker]*link
}

// newFake starts a cluster in this process.
func newFake(t *testing.T, options ...kfake.Opt) *rig {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(100 * time.Millisecond),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	r := &rig{t: t, brokers: cluster.ListenAddrs(), links: map[broker.Broker]*link{}}
	r.refuse = func(_ brokertest.T, topic string) func() {
		var mu sync.Mutex
		healed := false
		cluster.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
			mu.Lock()
			defer mu.Unlock()
			produce, ok := request.(*kmsg.ProduceRequest)
			if !ok || healed {
				return nil, nil, false
			}
			cluster.KeepControl()
			for _, rt := range produce.Topics {
				if name := topicOf(cluster, rt); name != topic {
					return nil, nil, false
				}
			}
			response, ok := produce.ResponseKind().(*kmsg.ProduceResponse)
			if !ok {
				return nil, nil, false
			}
			response.Version = produce.Version
			for _, rt := range produce.Topics {
				answer := kmsg.NewProduceResponseTopic()
				answer.Topic, answer.TopicID = rt.Topic, rt.TopicID
				for _, rp := range rt.Partitions {
					p := kmsg.NewProduceResponseTopicPartition()
					p.Partition, p.ErrorCode = rp.Partition, kerr.TopicAuthorizationFailed.Code
					answer.Partitions = append(answer.Partitions, p)
				}
				response.Topics = append(response.Topics, answer)
			}
			return response, nil, true
		})
		return func() {
			mu.Lock()
			defer mu.Unlock()
			healed = true
		}
	}
	return r
}

func topicOf(cluster *kfake.Cluster, rt kmsg.ProduceRequestTopic) string {
	if rt.Topic != "" {
		return rt.Topic
	}
	if info := cluster.TopicIDInfo(rt.TopicID); info != nil {
		return info.Topic
	}
	return ""
}

const lease = 2 * time.Second

func (r *rig) harness() brokertest.Harness {
	h := brokertest.Harness{
		Open: func(t brokertest.T) broker.Broker { return r.open(t, func(*config) {}) },
		Kill: func(_ brokertest.T, b broker.Broker) {
			r.mu.Lock()
			defer r.mu.Unlock()
			// Nothing is said to the group, as the end of a process says nothing.
			r.links[b].Cut()
		},
		Refuse: r.refuse,
		Link: func(t brokertest.T) (broker.Broker, brokertest.Link) {
			b := r.open(t, func(c *config) { c.PublishTimeout = 2 * time.Second })
			r.mu.Lock()
			defer r.mu.Unlock()
			return b, r.links[b]
		},
		PublishRaw: r.publishRaw,
		Lease:      lease,
		Tolerance:  15 * time.Second, // Of a loaded machine: a good one needs a fraction of a second.
		Timeout:    2 * time.Minute,
		Hostile:    []broker.Header{},
	}
	if r.restart != nil {
		h.Restart = func(brokertest.T) { r.restart() }
	}
	return h
}

func (r *rig) open(t brokertest.T, edit func(*config)) *redrivekafka.Broker {
	t.Helper()
	l := newLink()
	c := config{
		Brokers: r.brokers, Options: []kgo.Opt{kgo.Dialer(l.dial), kgo.WithHooks(l)},
		SessionTimeout: 3 * time.Second, HeartbeatInterval: 100 * time.Millisecond, RebalanceTimeout: 10 * time.Second,
		PublishTimeout: 5 * time.Second,
	}
	if r.edit != nil {
		r.edit(&c)
	}
	edit(&c)
	b, err := redrivekafka.Connect(t.Context(), c)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	r.mu.Lock()
	r.links[b] = l
	r.mu.Unlock()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Logf("close: %v", err)
		}
	})
	return b
}

func (r *rig) publishRaw(t brokertest.T, queue string, m broker.Message) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	if err != nil {
		t.Fatalf("connect a plain client: %v", err)
	}
	defer client.Close()
	record := &kgo.Record{Topic: queue, Key: m.Key, Value: m.Body}
	for _, list := range [][]broker.Header{m.Headers, m.Control} {
		for _, h := range list {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
		}
	}
	if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
		t.Fatalf("publish with a plain client: %v", err)
	}
}

// TestConformance runs the suite on a cluster in this process.
func TestConformance(t *testing.T) {
	brokertest.Run(t, newFake(t).harness())
}

// TestConformanceOfWorkers runs workers on a cluster in this process.
func TestConformanceOfWorkers(t *testing.T) {
	t.Parallel() // It has a cluster of its own.
	brokertest.RunCases(t, newFake(t).harness(), workertest.Cases())
}

// TestConformanceInOrder runs the suite where the order of keys is kept.
func TestConformanceInOrder(t *testing.T) {
	t.Parallel() // It has a cluster of its own.
	r := newFake(t)
	r.edit = func(c *config) { c.Ordered = true }
	var cases []brokertest.Case
	for _, c := range brokertest.Cases() {
		if os.Getenv("REDRIVE_FULL") == "1" || !strings.HasPrefix(c.Name, "link-") {
			cases = append(cases, c)
		}
	}
	brokertest.RunCases(t, r.harness(), cases)
}

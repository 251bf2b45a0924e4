package redrivekafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/broker"
)

var _ broker.Broker = (*Broker)(nil)

// Broker is a connection to a Kafka cluster. It is safe for concurrent use.
type Broker struct {
	config   Config
	cluster  string
	producer *kgo.Client
	admin    *kadm.Client
	topics   *topicCache

	mu            sync.Mutex
	subscriptions map[*subscription]struct{}
	closed        bool
}

// Connect connects and returns a Broker. Its clients connect again for ever;
// operations fail while the cluster is away.
func Connect(ctx context.Context, config Config) (*Broker, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	topics := &topicCache{}
	options := append(config.producerOptions(), kgo.ProducerBatchMaxBytesFn(topics.batchLimit))
	producer, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("redrivekafka: %w", err)
	}
	b := &Broker{
		config: config, cluster: config.Cluster, producer: producer, admin: kadm.NewClient(producer),
		topics: topics, subscriptions: map[*subscription]struct{}{},
	}
	topics.client, topics.admin = producer, b.admin
	ctx, cancel := context.WithTimeout(ctx, 2*config.ConnectTimeout)
	defer cancel()
	metadata, err := b.admin.BrokerMetadata(ctx)
	if err != nil {
		producer.Close()
		return nil, fmt.Errorf("connect to kafka at %s: %w", strings.Join(config.Brokers, ","), err)
	}
	if b.cluster == "" {
		b.cluster = metadata.Cluster
	}
	if b.cluster == "" {
		b.cluster = "kafka"
	}
	return b, nil
}

// Close closes every subscription and the connections. It is idempotent.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	open := make([]*subscription, 0, len(b.subscriptions))
	for s := range b.subscriptions {
		open = append(open, s)
	}
	b.mu.Unlock()
	var errs []error
	for _, s := range open {
		errs = append(errs, s.Close(ctx))
	}
	b.producer.Close()
	return errors.Join(errs...)
}

func (b *Broker) register(s *subscription) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("kafka broker: %w", broker.ErrClosed)
	}
	b.subscriptions[s] = struct{}{}
	return nil
}

func (b *Broker) unregister(s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subscriptions, s)
}

// bounded is a context that ends when an operation should have been answered.
func (b *Broker) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, b.config.PublishTimeout)
}

// maxRelease is the longest delay of a Release: it holds a place in its partition.
const maxRelease = time.Hour

// Caps reports what Kafka can do for the queue.
func (b *Broker) Caps(ctx context.Context, queue string) (broker.Caps, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	caps := broker.Caps{
		Server:         "Kafka",
		Marks:          true,
		Count:          broker.CountApproximate,
		StableIdentity: true,
		MaxRelease:     maxRelease,
		Ordered:        b.config.Ordered,
		Partitioned:    true,
		LettersMode:    broker.Observe,
		Notes: []string{
			"Messages are bound to partitions, each of which one worker of a group has at a time: more workers than partitions have nothing to do, and a paused worker keeps its share.",
			"Kafka does not count deliveries: a crash counts for all messages that its worker may have been handed, as told by a note beside the committed offset.",
			"A confirmed write is in the memory of all in-sync replicas, and on disk when the operating system has written it.",
			"One letter cannot be deleted from a topic.",
		},
	}
	versions, err := b.admin.ApiVersions(ctx)
	if err != nil {
		return broker.Caps{}, fmt.Errorf("versions of the brokers: %w", err)
	}
	for _, v := range versions {
		if v.Err == nil {
			caps.Server = "Kafka " + v.VersionGuess()
			break
		}
	}
	info, err := b.topics.find(ctx, topicName(queue))
	switch {
	case errors.Is(err, broker.ErrUnroutable):
		caps.MaxMessage = defaultMaxMessage
	case err != nil:
		return broker.Caps{}, err
	default:
		caps.MaxMessage = info.limit
	}
	return caps, nil
}

// Topology returns the part of the Broker that reads and creates queues.
func (b *Broker) Topology() broker.Topology { return topology{b} }

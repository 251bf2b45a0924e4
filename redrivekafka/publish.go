package redrivekafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/broker"
)

// byKey is the partition of a record that its key chooses.
const byKey = -1

// partitioner sends copies to the partition that they name, and all others where
// their keys belong.
type partitioner struct{ kgo.Partitioner }

// ForTopic implements kgo.Partitioner.
func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return topicPartitioner{p.Partitioner.ForTopic(topic)}
}

type topicPartitioner struct{ keys kgo.TopicPartitioner }

// RequiresConsistency implements kgo.TopicPartitioner.
func (p topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition != byKey || p.keys.RequiresConsistency(r)
}

// Partition implements kgo.TopicPartitioner.
func (p topicPartitioner) Partition(r *kgo.Record, n int) int {
	if r.Partition == byKey {
		return p.keys.Partition(r, n)
	}
	return int(r.Partition) % n
}

// OnNewBatch implements kgo.TopicPartitionerOnNewBatch.
func (p topicPartitioner) OnNewBatch() {
	if keys, ok := p.keys.(kgo.TopicPartitionerOnNewBatch); ok {
		keys.OnNewBatch()
	}
}

// Publish stores messages. Each waits for its confirmation by all in-sync replicas.
func (b *Broker) Publish(ctx context.Context, messages []broker.Outbound) []error {
	errs := make([]error, len(messages))
	records := make([]*kgo.Record, len(messages))
	for i := range messages {
		m := &messages[i]
		if m.Queue == broker.QueueHeartbeats && len(m.Key) == 0 {
			errs[i] = fmt.Errorf("publish to %s: a heartbeat needs a key, of which the newest is kept", m.Queue)
			continue
		}
		records[i] = &kgo.Record{
			Topic: entryTopic(m.Queue), Key: m.Key, Value: m.Body, Partition: byKey,
			Headers: encodeHeaders(m.Headers, copyHeaders{envelope: m.Envelope, expiresAt: m.ExpiresAt}),
		}
	}
	b.produce(ctx, records, errs)
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("publish to %q: %w", messages[i].Queue, err)
		}
	}
	return errs
}

// entryTopic is the topic that takes what is published to a queue. A retry queue takes
// it in its first tier.
func entryTopic(queue string) string {
	if broker.KindOf(queue) == broker.KindRetry {
		return retryTopic(queue, 0)
	}
	return topicName(queue)
}

// produce sends records and fills in the errors of those that are not confirmed. nil
// records are left out.
func (b *Broker) produce(ctx context.Context, records []*kgo.Record, errs []error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	limits := make([]int, len(records))
	waiting := 0
	for i, r := range records {
		if r == nil {
			continue
		}
		if limits[i], errs[i] = b.admit(ctx, r); errs[i] == nil {
			waiting++
		}
	}
	if waiting == 0 {
		return
	}
	p := &pending{errs: make([]error, len(records)), left: waiting, done: make(chan struct{})}
	for i, r := range records {
		if r == nil || errs[i] != nil {
			continue
		}
		b.producer.Produce(ctx, r, func(r *kgo.Record, err error) { p.confirm(i, produceError(r, limits[i], err)) })
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		// The client gives the records up too, and may be slow to say so.
	}
	p.collect(ctx, records, errs)
	for i, err := range errs {
		if errors.Is(err, broker.ErrUnroutable) && records[i] != nil {
			b.topics.forget(records[i].Topic)
		}
	}
}

// admit checks a record against what is known of its topic.
func (b *Broker) admit(ctx context.Context, r *kgo.Record) (limit int, err error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	info, err := b.topics.find(ctx, r.Topic)
	if err != nil {
		return 0, err
	}
	if size := recordSize(r); size > info.limit {
		return info.limit, fmt.Errorf("topic %s: %w", r.Topic, &broker.TooLargeError{Size: size, Limit: info.limit})
	}
	return info.limit, nil
}

// pending are the records of one call that wait for their confirmations.
type pending struct {
	mu   sync.Mutex
	errs []error
	said []bool
	left int
	done chan struct{}
}

func (p *pending) confirm(i int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said == nil {
		p.said = make([]bool, len(p.errs))
	}
	p.said[i], p.errs[i] = true, err
	if p.left--; p.left == 0 {
		close(p.done)
	}
}

func (p *pending) collect(ctx context.Context, records []*kgo.Record, errs []error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range records {
		switch {
		case r == nil || errs[i] != nil:
		case p.said != nil && p.said[i]:
			errs[i] = p.errs[i]
		default:
			errs[i] = fmt.Errorf("topic %s: %w: no confirmation: %w", r.Topic, broker.ErrUnknown, context.Cause(ctx))
		}
	}
}

// sending is a copy on its way.
type sending struct {
	// name is that of the move that it belongs to.
	name   string
	record *kgo.Record
	done   chan struct{}
	// err says why it was not confirmed. It is read after done is closed.
	err error
}

// send sends one copy. It goes on after the context has ended, for as long as a
// confirmation may take, so that a repeat of the move waits for it and does not make
// another one.
func (b *Broker) send(ctx context.Context, name string, r *kgo.Record) (*sending, error) {
	limit, err := b.admit(ctx, r)
	if err != nil {
		return nil, err
	}
	s := &sending{name: name, record: r, done: make(chan struct{})}
	b.producer.Produce(context.WithoutCancel(ctx), r, func(r *kgo.Record, err error) {
		s.err = produceError(r, limit, err)
		if errors.Is(s.err, broker.ErrUnroutable) {
			b.topics.forget(r.Topic)
		}
		close(s.done)
	})
	return s, nil
}

// wait waits for the confirmation. over says that there is nothing more to wait for.
func (s *sending) wait(ctx context.Context) (over bool, err error) {
	select {
	case <-s.done:
		return true, s.err
	case <-ctx.Done():
		return false, fmt.Errorf("topic %s: %w: no confirmation: %w", s.record.Topic, broker.ErrUnknown, context.Cause(ctx))
	}
}

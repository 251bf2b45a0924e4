package controller

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/worker"
)

// kafkaSite is a server whose queues are topics.
type kafkaSite struct {
	*serverSite
	admin *kadm.Client
}

func newKafka(ctx context.Context, r *run) (site, error) {
	s, err := newServerSite(ctx, r, worker.TypeKafka)
	if err != nil {
		return nil, err
	}
	return &kafkaSite{serverSite: s}, nil
}

func (k *kafkaSite) start(ctx context.Context) error {
	if err := k.serverSite.start(ctx); err != nil {
		return err
	}
	if k.admin == nil {
		client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(k.connection().URL, ",")...))
		if err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
		k.admin = kadm.NewClient(client)
	}
	return nil
}

func (k *kafkaSite) close(ctx context.Context) error {
	if k.admin != nil {
		k.admin.Close()
	}
	return k.serverSite.close(ctx)
}

// reader is a consumer group of Kafka and the topics that it reads.
type reader struct {
	group  string
	topics []string
}

// readers are those of the subscriptions.
func (k *kafkaSite) readers(ctx context.Context, names []broker.Names) ([]reader, error) {
	topics, err := k.admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the topics: %w", err)
	}
	var out []reader
	for _, n := range names {
		source := reader{group: n.Group, topics: []string{n.Source}}
		if n.Group == broker.DefaultGroup {
			source.group = "redrive." + n.Source
		}
		retries := reader{group: "redrive." + n.Retry}
		for _, topic := range topics.Names() {
			if topic == n.Replay || strings.HasPrefix(topic, n.Retry+".") {
				retries.topics = append(retries.topics, topic)
			}
		}
		out = append(out, source, retries)
	}
	return out, nil
}

// position is where a reader is in a partition: what comes before is settled.
type position struct {
	topic     string
	partition int32
	at, end   int64
}

func (k *kafkaSite) positions(ctx context.Context, names []broker.Names) (map[string][]position, error) {
	readers, err := k.readers(ctx, names)
	if err != nil {
		return nil, err
	}
	out := map[string][]position{}
	for _, r := range readers {
		if len(r.topics) == 0 {
			continue
		}
		committed, err := k.admin.FetchOffsets(ctx, r.group)
		if err != nil {
			return nil, fmt.Errorf("offsets of %s: %w", r.group, err)
		}
		starts, err := k.admin.ListStartOffsets(ctx, r.topics...)
		if err == nil {
			err = starts.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("starts of %v: %w", r.topics, err)
		}
		ends, err := k.admin.ListEndOffsets(ctx, r.topics...)
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("ends of %v: %w", r.topics, err)
		}
		ends.Each(func(end kadm.ListedOffset) {
			p := position{topic: end.Topic, partition: end.Partition, end: end.Offset}
			if start, ok := starts.Lookup(end.Topic, end.Partition); ok {
				p.at = start.Offset
			}
			if c, ok := committed.Lookup(end.Topic, end.Partition); ok {
				p.at = max(p.at, c.At)
			}
			out[r.group] = append(out[r.group], p)
		})
	}
	return out, nil
}

func (k *kafkaSite) behind(ctx context.Context, names []broker.Names) (int64, error) {
	all, err := k.positions(ctx, names)
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, group := range all {
		for _, p := range group {
			sum += p.end - p.at
		}
	}
	return sum, nil
}

// pending reads the records themselves, since what is not settled is not to be
// judged by who should have settled it.
func (k *kafkaSite) pending(ctx context.Context, names []broker.Names) ([]checker.Letter, error) {
	all, err := k.positions(ctx, names)
	if err != nil {
		return nil, err
	}
	var out []checker.Letter
	for _, group := range all {
		found, err := k.read(ctx, group)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// read reads what one group has still to settle.
func (k *kafkaSite) read(ctx context.Context, positions []position) ([]checker.Letter, error) {
	from := map[string]map[int32]kgo.Offset{}
	left := map[string]map[int32]int64{} // the last offset to come
	for _, p := range positions {
		if p.at >= p.end {
			continue
		}
		if from[p.topic] == nil {
			from[p.topic], left[p.topic] = map[int32]kgo.Offset{}, map[int32]int64{}
		}
		from[p.topic][p.partition], left[p.topic][p.partition] = kgo.NewOffset().At(p.at), p.end-1
	}
	if len(from) == 0 {
		return nil, nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(k.connection().URL), kgo.ConsumePartitions(from))
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var out []checker.Letter
	for len(left) > 0 {
		fetched := client.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			return nil, fmt.Errorf("read what is left in kafka: %w", err)
		}
		fetched.EachRecord(func(r *kgo.Record) {
			out = append(out, letter(r.Topic, messageOf(r)))
			if r.Offset >= left[r.Topic][r.Partition] {
				delete(left[r.Topic], r.Partition)
			}
			if len(left[r.Topic]) == 0 {
				delete(left, r.Topic)
			}
		})
	}
	for i := range out {
		out[i].Place = checker.Pending
	}
	return out, nil
}

// messageOf is the message in a record: what redrive adds are headers whose names
// begin with its own.
func messageOf(r *kgo.Record) *broker.Message {
	m := &broker.Message{Body: r.Value}
	for _, h := range r.Headers {
		switch {
		case h.Key == broker.HeaderEnvelope:
			m.Envelope = h.Value
		case !strings.HasPrefix(h.Key, broker.HeaderEnvelope):
			m.Headers = append(m.Headers, broker.Header{Name: h.Key, Value: h.Value})
		}
	}
	return m
}

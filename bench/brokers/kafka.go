package brokers

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/internal/servertest"
	"github.com/redrive-dev/redrive/redrivekafka"
)

func kafka(z sizes) *system {
	return &system{
		id: "kafka", name: "Kafka", kind: servertest.KindKafka, sizes: z, ratio: 0.9, late: 250 * time.Millisecond, arrival: 4 * time.Millisecond,
		loop: "The raw loop polls up to 256 records, hands them to a handler one by one and commits their offsets, confirmed, before it polls again. " +
			"To dead-letter, it produces all of them with `acks=all` and waits for every confirmation before it commits. One partition.",
		delays: "Delays are rounded up to those of the delay topics.",
		connect: func(ctx context.Context, url string) (adapter, error) {
			return redrivekafka.Connect(ctx, redrivekafka.Config{Brokers: []string{url}, SessionTimeout: 10 * time.Second})
		},
		drain: drainKafka,
	}
}

func drainKafka(ctx context.Context, url, queue string, dead bool, t *tally) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(url), kgo.ConsumerGroup("raw-"+queue), kgo.ConsumeTopics(queue), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		fetched := client.PollRecords(ctx, window)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetched.Err(); err != nil {
			return err
		}
		records := fetched.Records()
		for _, r := range records {
			t.handle(r.Value)
		}
		if dead {
			if err := produceAll(ctx, client, queue+".dlq", records); err != nil {
				return err
			}
		}
		if err := client.CommitRecords(ctx, records...); err != nil {
			return quiet(ctx, err)
		}
		t.settle(len(records))
	}
}

func produceAll(ctx context.Context, client *kgo.Client, topic string, records []*kgo.Record) error {
	var mu sync.Mutex
	var all sync.WaitGroup
	var errs []error
	for _, r := range records {
		all.Add(1)
		client.Produce(ctx, &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value, Headers: r.Headers}, func(_ *kgo.Record, err error) {
			defer all.Done()
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	all.Wait()
	return quiet(ctx, errors.Join(errs...))
}

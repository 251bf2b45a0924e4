package redriverabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

// Stats reads depth. RabbitMQ tells at once how many messages are ready. What is
// in hand of consumers it tells through the management API, some seconds late;
// what this Broker has in hand is added. It does not tell how old a message of a
// quorum queue is.
func (b *Broker) Stats(ctx context.Context, queue string) (broker.Stats, error) {
	stats, err := b.stats(ctx, queue)
	if err != nil {
		return broker.Stats{}, fmt.Errorf("stats of queue %q: %w", queue, err)
	}
	return stats, nil
}

func (b *Broker) stats(ctx context.Context, queue string) (broker.Stats, error) {
	stats := broker.Stats{AsOf: time.Now()}
	names := []string{queueOf(queue)}
	kind := broker.KindOf(queue)
	if kind == broker.KindHeartbeats {
		newest, err := b.beats.read(ctx)
		stats.Ready, stats.Oldest = int64(len(newest)), oldest(newest)
		return stats, err
	}
	if kind == broker.KindRetry {
		for _, t := range tiers() {
			names = append(names, tierQueue(queue, t))
		}
	}
	ready := make([]int64, len(names))
	err := b.trunk.ask(ctx, func(ch *amqp.Channel) error {
		for i, name := range names {
			q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
			if err != nil {
				return err
			}
			ready[i] = int64(q.Messages)
		}
		return nil
	})
	if hasCode(err, amqp.NotFound) {
		if kind != broker.KindSource {
			return stats, nil // It is made with its subscription.
		}
		return stats, fmt.Errorf("%w: %w", broker.ErrUnroutable, err)
	}
	if err != nil {
		return stats, err
	}
	stats.Ready = ready[0]
	for _, n := range ready[1:] {
		stats.Delayed += n
	}
	held, early := b.inHand(names[0])
	stats.InFlight = held
	if b.manage != nil {
		if err := b.addManaged(ctx, queue, names, &stats); err != nil {
			return stats, err
		}
	}
	stats.InFlight = max(stats.InFlight-early, 0)
	stats.Delayed += early
	return stats, nil
}

// addManaged adds what only the management API tells.
func (b *Broker) addManaged(ctx context.Context, queue string, names []string, stats *broker.Stats) error {
	for i, name := range names {
		info, err := b.manage.queue(ctx, name)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if i == 0 {
			stats.InFlight = max(stats.InFlight, info.Unacked)
		}
		stats.Delayed += info.Moving
		if broker.KindOf(queue) != broker.KindSource {
			stats.Delayed += info.Delayed
		}
	}
	return b.addWaiting(ctx, queue, stats)
}

// inHand counts the messages of a queue that this Broker's subscriptions have
// taken, and those among them that are not due.
func (b *Broker) inHand(queue string) (all, early int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subscriptions {
		lane := 0
		switch queue {
		case nativeName(s.spec.Source):
		case nativeName(s.names.Retry):
			lane = 1
		default:
			continue
		}
		s.mu.Lock()
		for d := range s.inflight {
			if d.retry == (lane == 1) {
				all++
			}
		}
		all += int64(len(s.arrived[lane]))
		for _, w := range s.early {
			if w.d.retry == (lane == 1) {
				all++
				early++
			}
		}
		s.mu.Unlock()
	}
	return all, early
}

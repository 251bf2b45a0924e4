package redriverabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

// Publish stores messages, many at a time. Each is sent persistent and mandatory,
// and counts as stored when the broker has confirmed it and not sent it back.
func (b *Broker) Publish(ctx context.Context, messages []broker.Outbound) []error {
	errs := make([]error, len(messages))
	for start := 0; start < len(messages); start += b.config.PublishWindow {
		end := min(start+b.config.PublishWindow, len(messages))
		b.publishWindow(ctx, messages[start:end], errs[start:end])
	}
	return errs
}

func (b *Broker) publishWindow(ctx context.Context, messages []broker.Outbound, errs []error) {
	promises := make([]*promise, len(messages))
	for i := range messages {
		queue, p, err := b.prepare(ctx, &messages[i])
		switch {
		case err != nil:
			errs[i] = err
		case broker.KindOf(messages[i].Queue) == broker.KindHeartbeats:
			errs[i] = b.beats.publish(ctx, p)
		default:
			promises[i], errs[i] = b.publisher.send(ctx, queue, p)
		}
	}
	patience := b.config.PublishTimeout
	for i, pr := range promises {
		if pr != nil {
			errs[i] = pr.wait(ctx, patience)
		}
		if errors.Is(errs[i], errTimeout) {
			// The others were sent at the same time: they are late as well.
			patience = time.Millisecond
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("publish to %q: %w", messages[i].Queue, errs[i])
		}
	}
}

// prepare makes the publication of a message, and says where it goes.
func (b *Broker) prepare(ctx context.Context, o *broker.Outbound) (queue string, p *amqp.Publishing, err error) {
	if ctx.Err() != nil {
		return "", nil, fmt.Errorf("not sent: %w", context.Cause(ctx))
	}
	if broker.KindOf(o.Queue) == broker.KindHeartbeats && len(o.Key) == 0 {
		return "", nil, errors.New("a heartbeat without a key: nothing tells which one it replaces")
	}
	now := time.Now()
	mine := own{id: o.ID, envelope: o.Envelope, key: o.Key, expiresAt: formatExpiry(o.ExpiresAt), time: now}
	if mine.id == "" {
		mine.id = "r:" + rand.Text() // So that it is known when it comes back.
	}
	m := encode(o.Headers, mine)
	m.Body = o.Body
	if broker.KindOf(o.Queue) != broker.KindSource {
		m.Headers[HeaderStoredAt] = now.UnixMilli()
	}
	return queueOf(o.Queue), &m, nil
}

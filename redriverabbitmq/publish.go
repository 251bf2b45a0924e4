package redriverabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

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
		promises[i], errs[i] = b.begin(ctx, &messages[i])
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

func (b *Broker) begin(ctx context.Context, o *broker.Outbound) (*promise, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("not sent: %w", context.Cause(ctx))
	}
	if broker.KindOf(o.Queue) == broker.KindHeartbeats && len(o.Key) == 0 {
		return nil, errors.New("a heartbeat without a key: nothing tells which one it replaces")
	}
	now := time.Now()
	mine := own{id: o.ID, envelope: o.Envelope, key: o.Key, expiresAt: formatExpiry(o.ExpiresAt), time: now}
	if mine.id == "" {
		mine.id = "r:" + rand.Text() // So that it is known when it comes back.
	}
	p := encode(o.Headers, mine)
	p.Body = o.Body
	if broker.KindOf(o.Queue) != broker.KindSource {
		p.Headers[HeaderStoredAt] = now.UnixMilli()
	}
	return b.publisher.send(ctx, queueOf(o.Queue), &p)
}

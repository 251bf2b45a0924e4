package redrivenats

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

// Stranded is what a consumer with max_deliver has given up: messages that it
// will never deliver again and that nobody was told of. The server announces them
// once, to whoever listens at that moment, so they are found by looking.
type Stranded struct {
	// Stream and Consumer say where.
	Stream, Consumer string
	// MaxDeliver is the consumer's limit.
	MaxDeliver int
	// Count is how many messages it has given up, at least.
	Count int
	// Sequences are those of given-up messages that are still in the stream, oldest
	// first, up to the limit of the look. Only a work queue tells them: elsewhere
	// handled messages stay in the stream as well.
	Sequences []uint64
}

// Stranded looks for consumers of a stream that gave messages up, sorted as the
// server lists them. It has no effect. At most limit sequences are read for each.
func (b *Broker) Stranded(ctx context.Context, stream string, limit int) ([]Stranded, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("stranded messages of stream %s: %w", stream, err)
	}
	retention := s.CachedInfo().Config.Retention
	var out []Stranded
	list := s.ListConsumers(ctx)
	for info := range list.Info() {
		// A consumer that gave a message up counts it as redelivered for ever, and no
		// longer as pending.
		count := info.NumRedelivered - info.NumAckPending
		if info.Config.MaxDeliver <= 0 || info.NumRedelivered == 0 {
			continue
		}
		found := Stranded{Stream: stream, Consumer: info.Name, MaxDeliver: info.Config.MaxDeliver, Count: count}
		if retention == jetstream.WorkQueuePolicy {
			if found.Sequences, err = b.leftBehind(ctx, stream, info, limit); err != nil {
				return nil, fmt.Errorf("stranded messages of stream %s: %w", stream, err)
			}
			found.Count = max(found.Count, len(found.Sequences))
		}
		if found.Count > 0 {
			out = append(out, found)
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return nil, fmt.Errorf("stranded messages of stream %s: %w", stream, err)
	}
	return out, nil
}

// leftBehind reads the messages below what a work queue's consumer has settled:
// those that it handled are gone. Without anything pending that is all that it
// ever delivered.
func (b *Broker) leftBehind(ctx context.Context, stream string, info *jetstream.ConsumerInfo, limit int) ([]uint64, error) {
	settled := info.AckFloor.Stream
	if info.NumAckPending == 0 {
		settled = info.Delivered.Stream
	}
	var out []uint64
	for next := uint64(1); len(out) < limit; {
		m, err := b.getMessage(ctx, stream, getRequest{Seq: next, NextFor: orAll(info.Config.FilterSubject)})
		if errors.Is(err, broker.ErrGone) || err == nil && m.sequence > settled {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, m.sequence)
		next = m.sequence + 1
	}
	return out, nil
}

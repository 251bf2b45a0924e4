package redriverabbitmq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

// heartbeats reads the stream of heartbeats, which any number of servers can do
// without harm. It remembers the newest record of each key, and reads on from where
// it stopped.
type heartbeats struct {
	b         *Broker
	trunk     *trunk
	publisher *publisher

	// lock is held by whoever reads.
	lock sync.Mutex
	// next is the offset to go on from.
	next   int64
	newest map[string]beat
}

type beat struct {
	letter broker.Letter
	offset int64
}

// beatLife is how long the newest record of a worker is shown.
const beatLife = 24 * time.Hour

const headerOffset = "x-stream-offset"

// Mode is Observe.
func (*heartbeats) Mode() broker.Mode { return broker.Observe }

// Scan shows the newest record of each key, oldest first.
func (h *heartbeats) Scan(ctx context.Context, from broker.Cursor, n int) ([]broker.Letter, broker.Cursor, error) {
	all, err := h.read(ctx)
	if err != nil {
		return nil, from, fmt.Errorf("scan of queue %q: %w", broker.QueueHeartbeats, err)
	}
	var out []broker.Letter
	for _, l := range all {
		if positionAfter(l.Position, string(from)) && len(out) < n {
			out = append(out, l)
			from = broker.Cursor(l.Position)
		}
	}
	return out, from, nil
}

// positionAfter compares offsets, which are written with a fixed number of digits.
func positionAfter(position, cursor string) bool { return position > cursor }

// Drain is not supported: others read the records too.
func (*heartbeats) Drain(context.Context, int, func(context.Context, []broker.Letter) error) error {
	return fmt.Errorf("drain queue %q: %w", broker.QueueHeartbeats, broker.ErrUnsupported)
}

// Get reads the record at a position, if it is still the newest of its key.
func (h *heartbeats) Get(ctx context.Context, position string) (broker.Letter, error) {
	all, err := h.read(ctx)
	if err != nil {
		return broker.Letter{}, err
	}
	for _, l := range all {
		if l.Position == position {
			return l, nil
		}
	}
	return broker.Letter{}, fmt.Errorf("record %s of queue %q: %w", position, broker.QueueHeartbeats, broker.ErrGone)
}

// Remove is not supported: records end by their age.
func (*heartbeats) Remove(context.Context, string) error {
	return fmt.Errorf("remove from queue %q: %w", broker.QueueHeartbeats, broker.ErrUnsupported)
}

func oldest(letters []broker.Letter) time.Time {
	var at time.Time
	for _, l := range letters {
		if at.IsZero() || l.StoredAt.Before(at) {
			at = l.StoredAt
		}
	}
	return at
}

// read catches up with the stream.
func (h *heartbeats) read(ctx context.Context) ([]broker.Letter, error) {
	done := make(chan error, 1)
	var out []broker.Letter
	go func() {
		h.lock.Lock()
		defer h.lock.Unlock()
		err := h.patiently(ctx, func() error { return h.trunk.ask(ctx, h.catchUp) })
		out = h.sorted()
		done <- err
	}()
	select {
	case err := <-done:
		if hasCode(err, amqp.NotFound) {
			return nil, nil // It is made with the first subscription.
		}
		return out, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// patiently repeats what fails while the stream looks for its place, as it does
// for a moment after it was made and after a restart of its node.
func (h *heartbeats) patiently(ctx context.Context, try func() error) error {
	end := time.Now().Add(h.b.config.Timeout)
	for {
		err := try()
		if err == nil || errors.Is(err, errTimeout) || hasCode(err, amqp.NotFound) || !hasCode(err, amqp.ResourceError, amqp.InternalError) || time.Now().After(end) {
			return err
		}
		timer := time.NewTimer(glance)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// publish stores a record. Two of one are no harm: the newest counts.
func (h *heartbeats) publish(ctx context.Context, p *amqp.Publishing) error {
	return h.patiently(ctx, func() error {
		pr, err := h.publisher.send(ctx, nativeName(broker.QueueHeartbeats), p)
		if err != nil {
			return err
		}
		return pr.wait(ctx, h.b.config.PublishTimeout)
	})
}

func (h *heartbeats) sorted() []broker.Letter {
	var out []broker.Letter
	for key, b := range h.newest {
		if !b.letter.StoredAt.IsZero() && time.Since(b.letter.StoredAt) > beatLife {
			delete(h.newest, key)
			continue
		}
		out = append(out, b.letter)
	}
	slices.SortFunc(out, func(a, b broker.Letter) int { return cmp.Compare(a.Position, b.Position) })
	return out
}

// catchUp reads from where the last call stopped to the newest chunk. It runs with
// the lock held. The last chunk tells where the stream ends; a stream that is empty
// tells nothing, for a moment.
func (h *heartbeats) catchUp(ch *amqp.Channel) error {
	name := nativeName(broker.QueueHeartbeats)
	if h.newest == nil {
		h.newest = map[string]beat{}
	}
	last := int64(-1)
	err := h.consume(ch, name, "last", func(d *amqp.Delivery, offset int64) bool {
		last = max(last, offset)
		return true
	})
	if err != nil || last < h.next {
		return err
	}
	return h.consume(ch, name, h.next, func(d *amqp.Delivery, offset int64) bool {
		if offset < h.next {
			return true // The chunk begins earlier.
		}
		h.keep(d, offset)
		h.next = offset + 1
		return offset < last
	})
}

func (h *heartbeats) keep(d *amqp.Delivery, offset int64) {
	m := decode(d, broker.QueueHeartbeats)
	h.newest[string(m.message.Key)] = beat{offset: offset, letter: broker.Letter{
		Message: m.message, Position: fmt.Sprintf("%020d", offset), StoredAt: storedAt(m, d),
	}}
}

// consume reads until take has enough, or nothing comes for a moment.
func (h *heartbeats) consume(ch *amqp.Channel, name string, from any, take func(*amqp.Delivery, int64) bool) error {
	const window = 500
	if err := ch.Qos(window, 0, false); err != nil {
		return err
	}
	const tag = "redrive-heartbeats"
	deliveries, err := ch.Consume(name, tag, false, false, false, false, amqp.Table{headerOffset: from})
	if err != nil {
		return err
	}
	timer := time.NewTimer(4 * quiet)
	defer timer.Stop()
	for enough := false; !enough; {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return errDisconnected
			}
			offset, ok := intField(d.Headers, headerOffset)
			if !ok {
				return errors.New("a record without an offset: the queue is no stream")
			}
			enough = !take(&d, offset)
			if err := ch.Ack(d.DeliveryTag, false); err != nil {
				return err
			}
			timer.Reset(4 * quiet)
		case <-timer.C:
			enough = true
		}
	}
	if err := ch.Cancel(tag, false); err != nil {
		return err
	}
	for range deliveries {
		// They were sent before the broker heard of the end.
	}
	return nil
}

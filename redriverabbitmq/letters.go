package redriverabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

// view is what Letters sees of one queue. A queue of RabbitMQ cannot be looked at:
// whatever is read was delivered, is counted, and is hidden from others meanwhile.
type view struct {
	b     *Broker
	queue string
}

// Letters gives access to a queue by taking from it, and to the queue of
// heartbeats by reading.
func (b *Broker) Letters(ctx context.Context, queue string) (broker.Letters, error) {
	if _, err := b.trunk.get(ctx); err != nil {
		return nil, fmt.Errorf("letters of queue %q: %w", queue, err)
	}
	if broker.KindOf(queue) == broker.KindHeartbeats {
		return b.beats, nil
	}
	return view{b, queue}, nil
}

// Mode is DrainOnly.
func (view) Mode() broker.Mode { return broker.DrainOnly }

const drainInstead = "a look at a queue of RabbitMQ is a delivery: take the letters with Drain"

func (v view) unsupported(what string) error {
	return fmt.Errorf("%s of queue %q: %s: %w", what, v.queue, drainInstead, broker.ErrUnsupported)
}

// Scan is not supported.
func (v view) Scan(context.Context, broker.Cursor, int) ([]broker.Letter, broker.Cursor, error) {
	return nil, "", v.unsupported("scan")
}

// Get is not supported.
func (v view) Get(context.Context, string) (broker.Letter, error) {
	return broker.Letter{}, v.unsupported("get")
}

// Remove is not supported.
func (v view) Remove(context.Context, string) error { return v.unsupported("remove") }

// Drain takes letters in batches and acknowledges each batch after sink has kept
// it. What sink refused goes back in its place, as far as the broker keeps places.
func (v view) Drain(ctx context.Context, batch int, sink func(context.Context, []broker.Letter) error) error {
	if batch <= 0 {
		return fmt.Errorf("drain queue %q: a batch of %d", v.queue, batch)
	}
	if err := v.b.drains.run(ctx, v.queue, batch, sink); err != nil {
		return fmt.Errorf("drain queue %q: %w", v.queue, err)
	}
	return nil
}

// quiet is how long a drain waits for the next letter before it asks whether the
// queue is empty.
const quiet = 50 * time.Millisecond

// drains are the runs of a Broker over queues.
type drains struct {
	b *Broker
	// closing are channels that stay open for a moment after their run.
	closing sync.WaitGroup
	gone    chan struct{}
}

func (d *drains) run(ctx context.Context, queue string, batch int, sink func(context.Context, []broker.Letter) error) error {
	conn, err := d.b.trunk.get(ctx)
	if err != nil {
		return err
	}
	type opened struct {
		r   *drain
		err error
	}
	done := make(chan opened, 1)
	go func() {
		r, err := d.begin(conn, queue, batch)
		done <- opened{r, err}
	}()
	var r *drain
	select {
	case o := <-done:
		if r, err = o.r, o.err; err != nil {
			if hasCode(err, amqp.NotFound) {
				return nil // There is no queue, and no letter.
			}
			return err
		}
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				_ = o.r.ch.Close() // Nobody waits for it any more.
			}
		}()
		return context.Cause(ctx)
	}
	err = r.batches(ctx, sink)
	return errors.Join(err, d.end(ctx, r))
}

// drain is one run over a queue.
type drain struct {
	b          *Broker
	ch         *amqp.Channel
	queue      string
	batch      int
	deliveries <-chan amqp.Delivery
}

func (d *drains) begin(conn *amqp.Connection, queue string, batch int) (*drain, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	r := &drain{b: d.b, ch: ch, queue: queue, batch: batch}
	if err = ch.Qos(min(batch, 60_000), 0, false); err != nil {
		return nil, err
	}
	r.deliveries, err = ch.Consume(queueOf(queue), consumerTag, false, false, false, false, nil)
	return r, err
}

// batches hands over batch after batch until the queue is empty.
func (r *drain) batches(ctx context.Context, sink func(context.Context, []broker.Letter) error) error {
	for {
		letters, last, err := r.next(ctx)
		if err == nil && len(letters) == 0 {
			return nil
		}
		if err == nil {
			err = sink(ctx, letters)
		}
		if err != nil {
			return err // What is in hand goes back when the run ends.
		}
		if err := r.acknowledge(ctx, last); err != nil {
			return err
		}
	}
}

// next reads a batch. An empty one means that the queue is empty: it said so, and
// nothing came before and after.
func (r *drain) next(ctx context.Context) (letters []broker.Letter, last uint64, err error) {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for asked := 0; len(letters) < r.batch; {
		select {
		case d, ok := <-r.deliveries:
			if !ok {
				return nil, 0, errDisconnected
			}
			letters, last = append(letters, r.b.letter(&d, r.queue)), d.DeliveryTag
			timer.Reset(quiet)
		case <-timer.C:
			if len(letters) > 0 {
				return letters, last, nil
			}
			empty, err := r.empty(ctx)
			if err != nil || empty && asked > 0 {
				return nil, 0, err
			}
			if empty {
				asked++
			}
			timer.Reset(quiet)
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		}
	}
	return letters, last, nil
}

// empty asks whether no letter is ready. One may be on its way.
func (r *drain) empty(ctx context.Context) (bool, error) {
	var q amqp.Queue
	err := r.call(ctx, func() (err error) {
		q, err = r.ch.QueueDeclarePassive(queueOf(r.queue), true, false, false, false, nil)
		return err
	})
	return err == nil && q.Messages == 0, err
}

// acknowledge removes everything up to a delivery, and returns when the broker
// has read that.
func (r *drain) acknowledge(ctx context.Context, tag uint64) error {
	err := r.call(ctx, func() error {
		if err := r.ch.Ack(tag, true); err != nil {
			return err
		}
		return r.ch.Qos(min(r.batch, 60_000), 0, false)
	})
	if err != nil {
		return unknown("remove the letters", err)
	}
	return nil
}

// call asks the server something, for as long as the context and the patience
// with the server last.
func (r *drain) call(ctx context.Context, question func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.b.config.Timeout, errTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- question() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end stops the deliveries and gives back what is in hand. The context of the
// drain may be over, which is no reason to keep letters. The channel stays open for
// a moment: one that is closed right after its acknowledgements makes the broker
// forget some.
func (d *drains) end(ctx context.Context, r *drain) error {
	err := r.call(context.WithoutCancel(ctx), func() error {
		if err := r.ch.Cancel(consumerTag, false); err != nil {
			return err
		}
		for range r.deliveries {
			// They are given back below.
		}
		if err := r.ch.Nack(0, true, true); err != nil {
			return err
		}
		return r.ch.Qos(min(r.batch, 60_000), 0, false)
	})
	if err != nil {
		_ = r.ch.Close() // Then they go back with the channel.
		return fmt.Errorf("give back what was not taken: %w", err)
	}
	d.closing.Go(func() {
		timer := time.NewTimer(linger)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-d.gone:
		}
		_ = r.ch.Close() // Else it ends with the connection.
	})
	return nil
}

// rest waits until the broker has written the newest acknowledgements, at the end
// of the Broker.
func (d *drains) rest(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		d.closing.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		close(d.gone)
	}
}

// letter makes a letter of a delivery.
func (b *Broker) letter(d *amqp.Delivery, queue string) broker.Letter {
	m := decode(d, queue)
	return broker.Letter{Message: m.message, Position: m.id, StoredAt: storedAt(m, d)}
}

// storedAt is when a copy was sent, or when the broker dead-lettered the message
// by itself.
func storedAt(m *decoded, d *amqp.Delivery) time.Time {
	if !m.stored.IsZero() {
		return m.stored
	}
	if deaths, ok := d.Headers[headerDeath].([]any); ok && len(deaths) > 0 {
		if entry, ok := deaths[0].(amqp.Table); ok {
			if at, ok := entry["time"].(time.Time); ok {
				return at
			}
		}
	}
	return m.message.Time
}

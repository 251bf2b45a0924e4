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

// state is how far the settling of a delivery has come.
type state uint8

const (
	open state = iota
	settling
	settled
)

// delivery is one hand-over of a message.
type delivery struct {
	s       *subscription
	handle  handle
	decoded *decoded
	retry   bool
	arrived time.Time
	counted broker.Deliveries
	// markID names the stored copy in the store of marks, empty without one.
	markID string

	// mu may be taken while the subscription's lock is held, never the other way
	// round.
	mu    sync.Mutex
	state state
	// deadline is when the adapter gives the message back.
	deadline time.Time
	// lost says why the delivery is not ours any more.
	lost error
	// marked says that there is a note to delete.
	marked bool
	// copied names the copy that a settlement made before it failed, so that its
	// repeat does not make another one; promise is the one that promised names, whose
	// confirmation may still come.
	copied, promised string
	promise          *promise
}

func (d *delivery) Msg() *broker.Message { return &d.decoded.message }

// Identity is zero: RabbitMQ has no name for a stored message.
func (d *delivery) Identity() broker.Incarnation { return broker.Incarnation{} }

func (d *delivery) Deliveries() broker.Deliveries { return d.counted }

// Extend keeps the message here for longer, after it has asked the broker whether
// the connection is there. The broker itself sets no lease but its consumer
// timeout, beyond which nothing is extended.
func (d *delivery) Extend(ctx context.Context, wish time.Duration) error {
	if err := d.held(); err != nil {
		return err
	}
	if err := d.handle.alive(ctx); err != nil {
		return fmt.Errorf("extend: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost != nil {
		return d.lost
	}
	d.deadline = d.bounded(time.Now().Add(wish))
	return nil
}

// bounded keeps a deadline before the broker's own.
func (d *delivery) bounded(deadline time.Time) time.Time {
	if last := d.arrived.Add(d.s.b.maxHold()); deadline.After(last) {
		return last
	}
	return deadline
}

// held returns an error if the delivery is settled or its lease has ended.
func (d *delivery) held() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state == settled {
		return fmt.Errorf("message of queue %q: %w", d.s.spec.Source, broker.ErrSettled)
	}
	return d.lost
}

// Mark stores a note for the next delivery.
func (d *delivery) Mark(ctx context.Context, mark broker.Mark) error {
	if err := d.held(); err != nil {
		return err
	}
	// A note of a message that somebody else has by now would be wrong there.
	if err := d.handle.alive(ctx); err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	return d.note(ctx, mark)
}

func (d *delivery) note(ctx context.Context, mark broker.Mark) error {
	if d.markID == "" {
		return fmt.Errorf("mark: the message has no id, or there is no store for marks: %w", broker.ErrUnsupported)
	}
	if err := d.s.b.config.Marks.StoreMark(ctx, d.markID, mark); err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.marked = true
	return nil
}

// Settle ends the delivery. Done returns when the broker has read the
// acknowledgement; one of the last half second before a connection breaks or the
// broker is killed can be undone, and the message then comes again.
func (d *delivery) Settle(ctx context.Context, outcome broker.Outcome) (broker.Receipt, error) {
	if err := d.begin(); err != nil {
		return broker.Receipt{}, err
	}
	receipt, err := d.settle(ctx, outcome)
	d.mu.Lock()
	if err != nil {
		d.state = open
		if d.lost != nil {
			err = errors.Join(d.lost, err)
		}
		d.mu.Unlock()
		return broker.Receipt{}, fmt.Errorf("message of queue %q: %w", d.s.spec.Source, err)
	}
	d.state = settled
	marked := d.marked
	d.mu.Unlock()
	d.s.release(d)
	if _, released := outcome.(broker.Release); !released && marked {
		_ = d.s.b.config.Marks.DeleteMark(ctx, d.markID) // What is left behind nobody asks for again.
	}
	return receipt, nil
}

func (d *delivery) begin() error {
	closed := d.s.isClosed() // Before the delivery's lock, which comes after the subscription's.
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.state == settled:
		return fmt.Errorf("message of queue %q: %w", d.s.spec.Source, broker.ErrSettled)
	case d.state == settling:
		return fmt.Errorf("message of queue %q is being settled by another call: %w", d.s.spec.Source, broker.ErrSettled)
	case d.lost != nil:
		return d.lost
	case closed:
		return fmt.Errorf("subscription of %q: %w", d.s.spec.Source, broker.ErrClosed)
	}
	d.state = settling
	return nil
}

func (d *delivery) settle(ctx context.Context, outcome broker.Outcome) (broker.Receipt, error) {
	switch o := outcome.(type) {
	case broker.Done:
		return broker.Receipt{}, d.handle.acknowledge(ctx)
	case broker.Release:
		return broker.Receipt{}, d.giveBack(ctx, o)
	case broker.Retry:
		if o.PublishID == "" {
			return broker.Receipt{}, errors.New("retry: PublishID is empty")
		}
	case broker.Dead:
		if o.PublishID == "" || o.Queue == "" {
			return broker.Receipt{}, errors.New("dead-letter: PublishID or Queue is empty")
		}
	}
	if receipt, ok, err := d.handle.native(ctx, outcome); ok || err != nil {
		return receipt, err
	}
	switch o := outcome.(type) {
	case broker.Retry:
		return broker.Receipt{}, d.move(ctx, "retry:"+o.PublishID, func() (string, amqp.Publishing) { return d.retryCopy(o) })
	case broker.Dead:
		return broker.Receipt{}, d.move(ctx, "dead:"+o.Queue+":"+o.PublishID, func() (string, amqp.Publishing) { return d.letter(o) })
	}
	return broker.Receipt{}, fmt.Errorf("outcome %T: %w", outcome, broker.ErrUnsupported)
}

func (d *delivery) giveBack(ctx context.Context, o broker.Release) error {
	var note *broker.Mark
	if !o.Mark.IsZero() {
		note = &o.Mark
		if d.markID != "" {
			// The note explains a delivery that this release ends: one that a lost connection
			// ends is not explained, since the process may be the next to go.
			if err := d.handle.alive(ctx); err != nil {
				return fmt.Errorf("give back: %w", err)
			}
			if err := d.note(ctx, o.Mark); err != nil {
				return err
			}
		}
	}
	if t, ok := d.handle.(*ticket10); ok {
		return t.release(ctx, o, note)
	}
	return d.handle.giveBack(ctx, note)
}

// retryCopy makes the copy that waits, and says where.
func (d *delivery) retryCopy(o broker.Retry) (string, amqp.Publishing) {
	p := d.decoded.copy(own{id: o.PublishID, envelope: o.Envelope, due: o.At, stored: time.Now()})
	return waitingQueue(d.s.names.Retry, time.Until(o.At)), p
}

// waitingQueue is where a message goes that is due after a time.
func waitingQueue(retry string, rest time.Duration) string {
	if t, ok := tierFor(rest); ok {
		return tierQueue(retry, t)
	}
	return nativeName(retry)
}

func (d *delivery) letter(o broker.Dead) (string, amqp.Publishing) {
	return nativeName(o.Queue), d.decoded.copy(own{id: o.PublishID, envelope: o.Envelope, stored: time.Now()})
}

// move is publish, confirm, settle. A copy whose confirmation has come, or may
// still come, is not made again.
func (d *delivery) move(ctx context.Context, name string, build func() (string, amqp.Publishing)) error {
	d.mu.Lock()
	copied, pr := d.copied == name, d.promise
	if d.promised != name || pr != nil && !pr.pending() {
		pr = nil
	}
	d.mu.Unlock()
	if !copied {
		if pr == nil {
			queue, p := build()
			sent, err := d.s.b.publisher.send(ctx, queue, &p)
			if err != nil {
				return err
			}
			pr = sent
			d.mu.Lock()
			d.promised, d.promise = name, pr
			d.mu.Unlock()
		}
		if err := pr.wait(ctx, d.s.b.config.PublishTimeout); err != nil {
			return err
		}
		d.mu.Lock()
		d.copied, d.promise = name, nil
		d.mu.Unlock()
	}
	return d.handle.acknowledge(ctx)
}

// forget says that the delivery is not ours any more, and why.
func (d *delivery) forget(why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost == nil && d.state != settled {
		d.lost = fmt.Errorf("message of queue %q: %w: %w", d.s.spec.Source, broker.ErrLeaseLost, why)
	}
}

// expire gives up a delivery whose lease has ended, and reports whether it did. One
// that is being settled is left to that.
func (d *delivery) expire(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state != open || d.lost != nil || now.Before(d.deadline) {
		return false
	}
	d.lost = fmt.Errorf("message of queue %q: %w: nobody extended it, and it was given back", d.s.spec.Source, broker.ErrLeaseLost)
	return true
}

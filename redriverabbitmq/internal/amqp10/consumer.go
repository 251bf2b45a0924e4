package amqp10

import (
	"context"
	"errors"
	"fmt"
	"sync"

	amqp "github.com/Azure/go-amqp"
)

var (
	// ErrLost says that the link is over: the server has given the delivery back, or
	// will.
	ErrLost = errors.New("the link of the delivery is over")
	// ErrUnconfirmed says that a settlement was sent, or may have been, and that it
	// is not known whether it took effect.
	ErrUnconfirmed = errors.New("settlement not confirmed")
)

// Delivery is a message that the server has handed over.
type Delivery struct {
	// Message is what came. It must not be changed.
	Message *amqp.Message

	consumer *Consumer
	mu       sync.Mutex
	sent     bool
}

// Settlement is what to tell the server about a delivery.
type Settlement struct {
	// Accept removes the message. With it nothing else is used.
	Accept bool
	// Failed counts the delivery as a failure of the message.
	Failed bool
	// Elsewhere dead-letters the message, with its queue's dead-letter exchange.
	Elsewhere bool
	// Annotations are merged into those of the message.
	Annotations map[string]any
}

// Consumer consumes one queue. It is safe for concurrent use.
type Consumer struct {
	conn     *Conn
	queue    string
	receiver *amqp.Receiver
	barrier  *amqp.Receiver
	fence    *fence
	window   int
	// over is closed when the link of the fence has ended.
	over chan struct{}

	mu sync.Mutex
	// unsettled counts what was handed out here and not settled.
	unsettled int
	// owed is the credit that settlements have made free and that the server was not
	// told of, and paused that it is not to be told.
	owed   int
	paused bool
}

// fencePriority is lower than that of any consumer, so that the fence never becomes
// the one consumer of a queue that allows a single active one.
const fencePriority = -128

// Consume opens the link of a queue and its fence, with credit for window messages.
func (c *Conn) Consume(ctx context.Context, queue string, window int) (*Consumer, error) {
	receiver, err := c.session.NewReceiver(ctx, address(queue), &amqp.ReceiverOptions{Credit: -1})
	if err != nil {
		return nil, fmt.Errorf("consume queue %s: %w", queue, err)
	}
	q := &Consumer{conn: c, queue: queue, receiver: receiver, window: window}
	q.barrier, err = c.session.NewReceiver(ctx, address(queue), &amqp.ReceiverOptions{
		Credit: -1, Properties: map[string]any{"rabbitmq:priority": int32(fencePriority)},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fence of queue %s: %w", queue, err), receiver.Close(ctx))
	}
	lasting := context.WithoutCancel(ctx)
	q.over = make(chan struct{})
	go func() {
		_, _ = q.barrier.Receive(lasting, nil) // It never has credit: only its end comes.
		close(q.over)
	}()
	q.fence = &fence{drain: func() error { return q.drain(lasting) }}
	if err := receiver.IssueCredit(uint32(window)); err != nil {
		return nil, fmt.Errorf("consume queue %s: %w", queue, err)
	}
	return q, nil
}

// drain asks the queue once. A connection that does not answer in time is given up:
// the library knows no way to ask again.
func (q *Consumer) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, q.conn.options.Timeout)
	defer cancel()
	err := q.barrier.DrainCredit(ctx, nil)
	if err == nil {
		// The library ends a drain without an error when the link ends.
		select {
		case <-q.conn.Done():
			err = q.conn.Err()
		case <-q.over:
			err = fmt.Errorf("the server has ended the fence of queue %s", q.queue)
		default:
		}
	}
	if err != nil {
		q.conn.Abort()
	}
	return err
}

// Receive waits for a message. Messages that have arrived come without waiting.
func (q *Consumer) Receive(ctx context.Context) (*Delivery, error) {
	m, err := q.receiver.Receive(ctx, nil)
	if err != nil {
		return nil, err
	}
	return q.handOut(m), nil
}

// Arrived returns a message that has arrived, nil if there is none.
func (q *Consumer) Arrived() *Delivery {
	m := q.receiver.Prefetched()
	if m == nil {
		return nil
	}
	return q.handOut(m)
}

func (q *Consumer) handOut(m *amqp.Message) *Delivery {
	q.mu.Lock()
	q.unsettled++
	q.mu.Unlock()
	return &Delivery{Message: m, consumer: q}
}

// Confirm returns nil when the server has applied everything that was sent before.
func (q *Consumer) Confirm(ctx context.Context) error { return q.fence.confirm(ctx) }

// Settle tells the server what becomes of the delivery, and waits until it is
// applied. An error that wraps ErrUnconfirmed says that it may have been; a repeat
// then waits again and sends nothing, whatever it says. An error that wraps ErrLost
// says that it was not, and will not be. After any other error nothing was sent.
func (d *Delivery) Settle(ctx context.Context, s Settlement) error {
	if err := d.Send(ctx, s); err != nil {
		return err
	}
	if err := d.consumer.Confirm(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	}
	return nil
}

// Sent reports whether a settlement may have been sent.
func (d *Delivery) Sent() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sent
}

// Send tells the server what becomes of the delivery, and does not wait.
func (d *Delivery) Send(ctx context.Context, s Settlement) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sent {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	select {
	case <-d.consumer.conn.Done():
		return fmt.Errorf("%w: %w", ErrLost, d.consumer.conn.Err())
	default:
	}
	// From here on nobody can say that it was not written.
	d.sent = true
	d.consumer.fence.settled()
	var err error
	if s.Accept {
		err = d.consumer.receiver.AcceptMessage(ctx, d.Message)
	} else {
		err = d.consumer.receiver.ModifyMessage(ctx, d.Message, &amqp.ModifyMessageOptions{
			DeliveryFailed: s.Failed, UndeliverableHere: s.Elsewhere, Annotations: annotations(s.Annotations),
		})
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	}
	d.consumer.free()
	return nil
}

func annotations(m map[string]any) amqp.Annotations {
	if len(m) == 0 {
		return nil
	}
	out := make(amqp.Annotations, len(m))
	for name, v := range m {
		out[name] = v
	}
	return out
}

// free gives the server credit again for what was settled, an eighth of the window at
// a time: each time is a command to the queue.
func (q *Consumer) free() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unsettled--
	q.owed++
	if q.paused || q.owed < max(1, q.window/8) {
		return
	}
	if q.receiver.IssueCredit(uint32(q.owed)) == nil {
		q.owed = 0
	}
}

// Pause takes the credit back: when it returns, nothing more comes than what Arrived
// returns. No Receive may wait meanwhile.
func (q *Consumer) Pause(ctx context.Context) error {
	q.mu.Lock()
	if q.paused {
		q.mu.Unlock()
		return nil
	}
	q.paused = true
	q.mu.Unlock()
	if err := q.receiver.DrainCredit(ctx, nil); err != nil {
		q.conn.Abort() // The library could not drain it another time.
		return fmt.Errorf("pause queue %s: %w", q.queue, err)
	}
	return nil
}

// Resume ends Pause.
func (q *Consumer) Resume() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.paused {
		return nil
	}
	q.paused, q.owed = false, 0
	if room := q.window - q.unsettled; room > 0 {
		if err := q.receiver.IssueCredit(uint32(room)); err != nil {
			return fmt.Errorf("resume queue %s: %w", q.queue, err)
		}
	}
	return nil
}

// Close takes the links down, the fence first. What is not settled goes back to the
// queue.
func (q *Consumer) Close(ctx context.Context) error {
	err := q.Confirm(ctx)
	return errors.Join(err, q.barrier.Close(ctx), q.receiver.Close(ctx))
}

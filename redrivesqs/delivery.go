package redrivesqs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/redrive-dev/redrive/broker"
)

// state is how far the settling of a delivery has come.
type state uint8

const (
	unsettled state = iota
	settling
	settled
)

// sending is a copy on its way.
type sending = item[types.SendMessageBatchRequestEntry, string]

// delivery is one hand-over of a message.
type delivery struct {
	s        *subscription
	message  broker.Message
	id       string
	position string
	group    string
	// receivedAt is when the message came, from which SQS counts its 12 hours.
	receivedAt time.Time
	// count is the number of receives, this one included.
	count int
	// ordinal is the number of retries in place.
	ordinal    int
	deliveries broker.Deliveries
	due        time.Time

	// mu may be taken while the subscription's lock is held, never the other way
	// round.
	mu      sync.Mutex
	state   state
	receipt string
	// deadline is when SQS may give the message to somebody else.
	deadline time.Time
	// lost says that the message was delivered again.
	lost bool
	// marked and retried say that the journal has a note, and a retry.
	marked, retried bool
	// copied names the copy that a settlement made before it failed, so that its
	// repeat does not make another one.
	copied string
	moved  broker.Receipt
	// sending and removing are requests whose caller had no time to wait for the
	// answer: a repeat waits for it, and asks again only if it was a refusal.
	sendingName string
	sending     *sending
	removing    *item[string, struct{}]
}

// Msg returns the message.
func (d *delivery) Msg() *broker.Message { return &d.message }

// Identity names the stored copy.
func (d *delivery) Identity() broker.Incarnation {
	return broker.Incarnation{Cluster: d.s.cluster, Queue: d.s.queue.name, Position: d.position}
}

// Deliveries tells about earlier deliveries.
func (d *delivery) Deliveries() broker.Deliveries { return d.deliveries }

func position(messageID string, ordinal int) string {
	if ordinal == 0 {
		return messageID
	}
	return messageID + "#" + strconv.Itoa(ordinal)
}

// held returns an error if the delivery is settled or its lease has ended.
func (d *delivery) held() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state == settled {
		return fmt.Errorf("message %s of queue %q: %w", d.id, d.s.queue.name, broker.ErrSettled)
	}
	return d.leaseError()
}

// leaseError is called with the lock held.
func (d *delivery) leaseError() error {
	switch late := time.Since(d.deadline); {
	case d.lost:
		return fmt.Errorf("message %s of queue %q was delivered again: %w", d.id, d.s.queue.name, broker.ErrLeaseLost)
	case late > 0:
		return fmt.Errorf("lease of message %s of queue %q ended %v ago: %w", d.id, d.s.queue.name, late, broker.ErrLeaseLost)
	}
	return nil
}

// handle returns the newest receipt handle.
func (d *delivery) handle() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.receipt
}

// Extend makes the lease last for d from now, in full seconds, and no longer than 12
// hours after the message was received: SQS does not go beyond.
func (d *delivery) Extend(ctx context.Context, wish time.Duration) error {
	if err := d.held(); err != nil {
		return err
	}
	from := time.Now()
	seconds, whole := visibility(wish, d.receivedAt, from)
	if !whole && seconds < 1 {
		return fmt.Errorf("message %s of queue %q was held for %v, the longest that SQS allows: %w", d.id, d.s.queue.name, maxVisibility, broker.ErrLeaseLost)
	}
	if err := d.show(ctx, seconds); err != nil {
		return fmt.Errorf("extend: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost {
		return fmt.Errorf("message %s of queue %q was delivered again: %w", d.id, d.s.queue.name, broker.ErrLeaseLost)
	}
	d.deadline = from.Add(time.Duration(seconds) * time.Second)
	return nil
}

// show sets when the message can be received again.
func (d *delivery) show(ctx context.Context, seconds int32) error {
	_, err := d.s.lines.visible.do(ctx, lease{d.handle(), seconds}, 0)
	return err
}

// Mark stores a note for the next delivery.
func (d *delivery) Mark(ctx context.Context, mark broker.Mark) error {
	if !d.s.b.journal.durable {
		return fmt.Errorf("mark message %s: no store for marks is configured: %w", d.id, broker.ErrUnsupported)
	}
	if err := d.held(); err != nil {
		return err
	}
	return d.note(ctx, mark)
}

func (d *delivery) markID() string { return markID(d.s.queue.name, d.id, d.ordinal) }

func (d *delivery) note(ctx context.Context, mark broker.Mark) error {
	if err := d.s.b.journal.marks.StoreMark(ctx, d.markID(), mark); err != nil {
		return fmt.Errorf("mark message %s of queue %q: %w", d.id, d.s.queue.name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.marked = true
	return nil
}

// Settle ends the delivery. Done is tried even after the lease has ended, since the
// work is done; the other outcomes are then refused with ErrLeaseLost.
func (d *delivery) Settle(ctx context.Context, outcome broker.Outcome) (broker.Receipt, error) {
	if err := d.begin(outcome); err != nil {
		return broker.Receipt{}, err
	}
	receipt, err := d.settle(ctx, outcome)
	d.mu.Lock()
	if err != nil {
		d.state = unsettled
		d.mu.Unlock()
		return broker.Receipt{}, fmt.Errorf("message %s of queue %q: %w", d.id, d.s.queue.name, err)
	}
	d.state = settled
	d.mu.Unlock()
	_, released := outcome.(broker.Release)
	_, retry := outcome.(broker.Retry)
	d.s.ended(d, released || retry && d.s.queue.fifo) //nolint:contextcheck // what goes back is others'
	if !released {
		d.forget(ctx, retry && d.s.queue.fifo)
	}
	return receipt, nil
}

func (d *delivery) begin(outcome broker.Outcome) error {
	closed := d.s.isClosed() // Before the delivery's lock, which comes after the subscription's.
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.state {
	case settled:
		return fmt.Errorf("message %s of queue %q: %w", d.id, d.s.queue.name, broker.ErrSettled)
	case settling:
		return fmt.Errorf("message %s of queue %q is being settled by another call: %w", d.id, d.s.queue.name, broker.ErrSettled)
	case unsettled:
	}
	if _, done := outcome.(broker.Done); !done {
		if err := d.leaseError(); err != nil {
			return err
		}
	}
	if closed {
		return fmt.Errorf("subscription of %q: %w", d.s.spec.Source, broker.ErrClosed)
	}
	d.state = settling
	return nil
}

func (d *delivery) settle(ctx context.Context, outcome broker.Outcome) (broker.Receipt, error) {
	switch o := outcome.(type) {
	case broker.Done:
		return broker.Receipt{}, d.remove(ctx)
	case broker.Release:
		return broker.Receipt{}, d.giveBack(ctx, o)
	case broker.Retry:
		if o.PublishID == "" {
			return broker.Receipt{}, errors.New("retry: PublishID is empty")
		}
		if d.s.queue.fifo {
			return d.stay(ctx, o)
		}
		wait := time.Until(o.At)
		return d.move(ctx, "retry:"+o.PublishID, d.copy(o.Envelope, o.PublishID, o.At), d.s.queue, delaySeconds(wait))
	case broker.Dead:
		return d.bury(ctx, o)
	}
	return broker.Receipt{}, fmt.Errorf("outcome %T: %w", outcome, broker.ErrUnsupported)
}

// remove deletes the message and waits until SQS says so. A receipt that is too old
// is refused, or accepted with no effect: then the message comes again.
func (d *delivery) remove(ctx context.Context) error {
	d.mu.Lock()
	it, handle := d.removing, d.receipt
	d.mu.Unlock()
	line := d.s.lines.remove
	if it == nil {
		if ctx.Err() != nil {
			return fmt.Errorf("delete: %w: %w", errNotSent, cause(ctx))
		}
		it = newItem[string, struct{}](handle, 0)
		line.add(it)
	}
	_, err := line.wait(ctx, it)
	d.mu.Lock()
	d.removing = it.unread(ctx, err)
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

func (d *delivery) giveBack(ctx context.Context, o broker.Release) error {
	if !o.Mark.IsZero() && d.s.b.journal.durable {
		if err := d.note(ctx, o.Mark); err != nil {
			return err
		}
	}
	seconds, _ := visibility(min(o.After, maxRelease), d.receivedAt, time.Now())
	if err := d.show(ctx, seconds); err != nil {
		return fmt.Errorf("give back: %w", err)
	}
	return nil
}

// stay lets a message of a FIFO queue wait in its place, where it holds up its group.
// What SQS cannot keep is in the journal first.
func (d *delivery) stay(ctx context.Context, o broker.Retry) (broker.Receipt, error) {
	durable := d.s.b.journal.durable
	now := time.Now()
	wait := max(o.At.Sub(now), 0)
	if !durable && wait > maxRelease {
		return broker.Receipt{}, fmt.Errorf("retry in %v: without a store for marks a message of a FIFO queue can wait %v at the most: %w", wait, maxRelease, broker.ErrUnsupported)
	}
	// It has to fit beside the message when it is dead-lettered.
	if _, _, err := prepare(d.copy(o.Envelope, o.PublishID, o.At), d.s.queue, 0); err != nil {
		return broker.Receipt{}, err
	}
	w := waiting{d.ordinal + 1, d.count, o.At, o.Envelope, o.PublishID}
	if err := d.s.b.journal.storeRetry(ctx, retryID(d.s.queue.name, d.id), w); err != nil {
		return broker.Receipt{}, fmt.Errorf("note the retry: %w", err)
	}
	d.mu.Lock()
	d.retried = true
	d.mu.Unlock()
	// Whoever finds the due time in the journal waits for the rest of a second. Without
	// one the message must not come before its time.
	receipt := broker.Receipt{Native: true}
	seconds, whole := visibility(wait, d.receivedAt, now)
	if durable && whole {
		seconds = int32(min(wait, maxVisibility) / time.Second)
	} else if wait > 0 {
		receipt.Due = now.Add(time.Duration(seconds) * time.Second)
	}
	if err := d.show(ctx, seconds); err != nil {
		return broker.Receipt{}, fmt.Errorf("let wait: %w", err)
	}
	if receipt.Due.Before(o.At) {
		receipt.Due = time.Time{}
	}
	return receipt, nil
}

func (d *delivery) bury(ctx context.Context, o broker.Dead) (broker.Receipt, error) {
	if o.PublishID == "" || o.Queue == "" {
		return broker.Receipt{}, errors.New("dead-letter: PublishID or Queue is empty")
	}
	q, err := d.s.b.queue(ctx, d.s.b.layout.native(o.Queue))
	if err != nil {
		return broker.Receipt{}, err
	}
	return d.move(ctx, "dead:"+o.Queue+":"+o.PublishID, d.copy(o.Envelope, o.PublishID, time.Time{}), q, 0)
}

// copy takes the body, the key and the producer's headers as they came.
func (d *delivery) copy(envelope []byte, publishID string, due time.Time) outgoing {
	m := &d.message
	out := outgoing{
		body: m.Body, headers: m.Headers, envelope: envelope, key: m.Key, id: m.ID, publishID: publishID,
		expiresAt: m.ExpiresAt, time: m.Time,
	}
	if time.Now().Before(due) {
		out.due = due
	}
	return out
}

// move is send, confirm, delete. What was confirmed is kept, so that a repeat after a
// failed deletion makes no second copy.
func (d *delivery) move(ctx context.Context, name string, m outgoing, to queue, delay int32) (broker.Receipt, error) {
	d.mu.Lock()
	copied, receipt := d.copied == name, d.moved
	d.mu.Unlock()
	if !copied {
		id, err := d.send(ctx, name, m, to, delay)
		if err != nil {
			return broker.Receipt{}, err
		}
		receipt = broker.Receipt{Copy: id}
		d.mu.Lock()
		d.copied, d.moved = name, receipt
		d.mu.Unlock()
	}
	return receipt, d.remove(ctx)
}

// send sends a copy, or waits for the answer about one that is on its way.
func (d *delivery) send(ctx context.Context, name string, m outgoing, to queue, delay int32) (string, error) {
	d.mu.Lock()
	it := d.sending
	if d.sendingName != name {
		it = nil
	}
	d.mu.Unlock()
	line := d.s.b.linesOf(to).send
	if it == nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("send to queue %q: %w: %w", to.name, errNotSent, cause(ctx))
		}
		e, size, err := prepare(m, to, delay)
		if err != nil {
			return "", err
		}
		it = newItem[types.SendMessageBatchRequestEntry, string](e, size)
		line.add(it)
	}
	id, err := line.wait(ctx, it)
	d.mu.Lock()
	d.sendingName, d.sending = name, it.unread(ctx, err)
	d.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("send to queue %q: %w", to.name, err)
	}
	return id, nil
}

// forget deletes what the journal has about a copy that is no more. A failure leaves
// a row that nobody asks for.
func (d *delivery) forget(ctx context.Context, keepRetry bool) {
	d.mu.Lock()
	marked, retried := d.marked, d.retried && !keepRetry
	d.mu.Unlock()
	if !marked && !retried {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.s.b.config.RequestTimeout)
	defer cancel()
	if marked {
		_ = d.s.b.journal.marks.DeleteMark(ctx, d.markID()) // Else a store forgets it after 30 days.
	}
	if retried {
		_ = d.s.b.journal.marks.DeleteMark(ctx, retryID(d.s.queue.name, d.id)) // Likewise.
	}
}

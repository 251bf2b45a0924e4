package redrivekafka

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/broker"
)

// state is how far the settling of a delivery has come.
type state uint8

const (
	open state = iota
	settling
	settled
)

// delivery is one hand-over of a record. The lock of the subscription guards what
// changes.
type delivery struct {
	s       *subscription
	r       *record
	message broker.Message
	mark    broker.Mark
	earlier int

	state state
	// deadline is when the record is handed out again, and index the place in the list
	// of what is handed out, -1 for none.
	deadline time.Time
	index    int
	// outcome ended the record in memory, and the group does not know yet: sequence is
	// the change that tells it.
	outcome  broker.Outcome
	sequence uint64
	// copied names the copy that a settlement made before it failed, so that its repeat
	// does not make another one.
	copied  string
	sending *sending
	receipt broker.Receipt
}

func (d *delivery) Msg() *broker.Message { return &d.message }

// Identity names the stored record: the topic with its id, partition and offset.
func (d *delivery) Identity() broker.Incarnation {
	return identity(d.s.b.cluster, d.r.p.info, d.r.p.id, d.r.offset)
}

func identity(cluster string, info topicInfo, partition int32, offset int64) broker.Incarnation {
	return broker.Incarnation{
		Cluster: cluster, Queue: info.identity(),
		Position: strconv.Itoa(int(partition)) + ":" + strconv.FormatInt(offset, 10),
	}
}

func (d *delivery) Deliveries() broker.Deliveries {
	return broker.Deliveries{Earlier: d.earlier, Kind: broker.CountApproximate, Mark: d.mark}
}

// where names the record in errors.
func (d *delivery) where() string {
	return fmt.Sprintf("offset %d of partition %d of topic %s", d.r.offset, d.r.p.id, d.r.p.topic)
}

// Extend makes the lease last for d from now, if the group still knows this member.
func (d *delivery) Extend(ctx context.Context, wish time.Duration) error {
	from := time.Now()
	for again := true; again; {
		d.s.mu.Lock()
		if err := d.heldError(from); err != nil {
			d.s.mu.Unlock()
			return fmt.Errorf("extend: %w", err)
		}
		b := d.r.p.lane.join()
		d.s.mu.Unlock()
		if err := b.wait(ctx); err != nil {
			return fmt.Errorf("extend: %s: %w", d.where(), err)
		}
		again = b.moved
	}
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	if d.index < 0 || d.r.p.gone {
		return fmt.Errorf("extend: %s: %w", d.where(), broker.ErrLeaseLost)
	}
	d.deadline = from.Add(wish)
	if d.deadline.Before(d.s.expiry) {
		d.s.expiry = d.deadline
		d.s.notify()
	}
	return nil
}

// heldError says why the delivery is not ours, nil if it is. The caller holds the
// lock.
func (d *delivery) heldError(now time.Time) error {
	switch {
	case d.state == settled:
		return fmt.Errorf("%s: %w", d.where(), broker.ErrSettled)
	case d.r.p.gone:
		return fmt.Errorf("%s: the partition was given to another member: %w", d.where(), broker.ErrLeaseLost)
	case d.index < 0 || now.After(d.deadline):
		return fmt.Errorf("%s: the lease ended %v ago: %w", d.where(), now.Sub(d.deadline), broker.ErrLeaseLost)
	case d.r.finished && d.outcome == nil:
		return fmt.Errorf("%s: another delivery ended it: %w", d.where(), broker.ErrLeaseLost)
	}
	return nil
}

// Mark stores a note for the next delivery, beside the committed offset.
func (d *delivery) Mark(ctx context.Context, mark broker.Mark) error {
	d.s.mu.Lock()
	err := d.heldError(time.Now())
	var sequence uint64
	if err == nil {
		sequence, err = d.note(mark, true)
	}
	d.s.mu.Unlock()
	if err == nil {
		err = d.s.confirm(ctx, d.r.p, sequence)
	}
	if err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	return nil
}

// note changes the mark of the record. With whole, a mark that does not fit beside
// the offset is refused; else what does not fit is known to this process alone.
func (d *delivery) note(mark broker.Mark, whole bool) (uint64, error) {
	p, before := d.r.p, d.r.mark
	d.r.mark = mark
	p.remember(d.r)
	if whole {
		n, position := p.current()
		if _, fits := encodeNote(position, n); !fits {
			d.r.mark = before
			p.remember(d.r)
			return 0, fmt.Errorf("%s: the notes of the partition do not fit in the %d bytes that Kafka keeps beside an offset: %w", d.where(), maxNote, broker.ErrFull)
		}
	}
	return p.touch(), nil
}

// Settle ends the delivery. Done counts even after the lease has ended, unless
// another delivery has ended the record; the other outcomes are then refused with
// ErrLeaseLost. It returns when the group knows: what is finished beyond the
// committed offset is told by the note beside it.
func (d *delivery) Settle(ctx context.Context, outcome broker.Outcome) (broker.Receipt, error) {
	if err := d.begin(outcome); err != nil {
		return broker.Receipt{}, err
	}
	err := contextError(ctx)
	if err == nil {
		err = d.settle(ctx, outcome)
	}
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	if err != nil {
		d.state = open
		if errors.Is(err, broker.ErrUnknown) && time.Now().After(d.deadline) {
			// What is finished here is told to the group as soon as it answers: whoever
			// waits need not.
			err = errors.Join(broker.ErrLeaseLost, err)
		}
		return broker.Receipt{}, fmt.Errorf("%s: %w", d.where(), err)
	}
	d.state = settled
	d.s.unhold(d)
	return d.receipt, nil
}

func (d *delivery) begin(outcome broker.Outcome) error {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	_, done := outcome.(broker.Done)
	switch {
	case d.state == settled:
		return fmt.Errorf("%s: %w", d.where(), broker.ErrSettled)
	case d.state == settling:
		return fmt.Errorf("%s is being settled by another call: %w", d.where(), broker.ErrSettled)
	case d.s.phase == closed:
		return fmt.Errorf("subscription of %q: %w", d.s.spec.Source, broker.ErrClosed)
	case d.outcome != nil:
		if reflect.TypeOf(d.outcome) != reflect.TypeOf(outcome) {
			return fmt.Errorf("%s was ended by another outcome, which is not confirmed yet: %w", d.where(), broker.ErrSettled)
		}
	case done:
		if d.r.p.gone || d.r.finished {
			return d.heldError(d.deadline)
		}
	default:
		if err := d.heldError(time.Now()); err != nil {
			return err
		}
	}
	d.state = settling
	return nil
}

func (d *delivery) settle(ctx context.Context, outcome broker.Outcome) error {
	switch o := outcome.(type) {
	case broker.Done:
		return d.finish(ctx, o)
	case broker.Release:
		return d.giveBack(ctx, o)
	case broker.Retry:
		if d.s.b.config.Ordered {
			return d.retryInPlace(ctx, o)
		}
		return d.move(ctx, o, "retry:"+o.PublishID, func() (*kgo.Record, error) { return d.retry(o) })
	case broker.Dead:
		return d.move(ctx, o, "dead:"+o.Queue+":"+o.PublishID, func() (*kgo.Record, error) { return d.letter(o) })
	}
	return fmt.Errorf("outcome %T: %w", outcome, broker.ErrUnsupported)
}

// finish ends the record and waits until the group knows.
func (d *delivery) finish(ctx context.Context, outcome broker.Outcome) error {
	d.s.mu.Lock()
	p := d.r.p
	if d.outcome == nil {
		if p.gone || d.r.finished {
			d.s.mu.Unlock()
			return fmt.Errorf("it is no longer this member's: %w", broker.ErrLeaseLost)
		}
		p.finish(d.r)
		d.outcome, d.sequence = outcome, p.touch()
		if p.paused {
			p.lane.regulate(p)
		}
	}
	sequence := d.sequence
	d.s.mu.Unlock()
	return d.s.confirm(ctx, p, sequence)
}

// giveBack makes the record ready for its next delivery, here or, after the partition
// has moved, elsewhere.
func (d *delivery) giveBack(ctx context.Context, o broker.Release) error {
	s, r := d.s, d.r
	s.mu.Lock()
	if r.p.gone {
		s.mu.Unlock()
		return fmt.Errorf("the partition was given to another member: %w", broker.ErrLeaseLost)
	}
	due := time.Now().Add(min(o.After, maxRelease))
	if !o.Mark.IsZero() {
		r.mark = o.Mark
	}
	later := o.After > 0
	r.due, r.waits = due, later
	r.p.remember(r)
	sequence := r.p.touch()
	s.mu.Unlock()
	if err := s.confirm(ctx, r.p, sequence); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requeue(d, later)
	return nil
}

// requeue ends a delivery whose record stays.
func (s *subscription) requeue(d *delivery, later bool) {
	s.unhold(d)
	if d.r.p.gone || d.r.finished {
		return
	}
	if later {
		s.wait(d.r)
		return
	}
	s.again = append(s.again, d.r)
	s.notify()
}

// retryInPlace keeps the record at the head of its key. Its time, its mark and, if
// there is room, its envelope are in the note beside the offset.
func (d *delivery) retryInPlace(ctx context.Context, o broker.Retry) error {
	s, r := d.s, d.r
	copied := &kgo.Record{Key: r.message.Key, Value: r.message.Body, Headers: encodeHeaders(r.message.Headers, copyHeaders{envelope: o.Envelope})}
	if size, limit := recordSize(copied), r.p.info.limit; size > limit {
		// It would be too large to be dead-lettered, too.
		return &broker.TooLargeError{Size: size, Limit: limit}
	}
	s.mu.Lock()
	if r.p.gone {
		s.mu.Unlock()
		return fmt.Errorf("the partition was given to another member: %w", broker.ErrLeaseLost)
	}
	r.due, r.waits, r.mark = o.At, true, broker.Mark{}
	r.envelope, r.message.Envelope = o.Envelope, o.Envelope
	// A failure is known: the next delivery is a first one to whoever counts crashes.
	r.deliveries = 0
	r.p.remember(r)
	sequence := r.p.touch()
	s.mu.Unlock()
	if err := s.confirm(ctx, r.p, sequence); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requeue(d, true)
	return nil
}

// move is produce, confirm, finish. What is on its way, or confirmed, is kept, so that
// a repeat after a failure makes no second copy.
func (d *delivery) move(ctx context.Context, outcome broker.Outcome, name string, build func() (*kgo.Record, error)) error {
	if !d.hasCopied(name) {
		if err := d.send(ctx, name, build); err != nil {
			return err
		}
	}
	return d.finish(ctx, outcome)
}

func (d *delivery) hasCopied(name string) bool {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	return d.copied == name
}

// send makes the copy, unless it is on its way, and waits for its confirmation. One
// call at a time settles a delivery, so that nobody else touches sending.
func (d *delivery) send(ctx context.Context, name string, build func() (*kgo.Record, error)) error {
	if d.sending == nil || d.sending.name != name {
		r, err := build()
		if err != nil {
			return err
		}
		if d.sending, err = d.s.b.send(ctx, name, r); err != nil {
			return err
		}
	}
	over, err := d.sending.wait(ctx)
	if err == nil {
		r := d.sending.record
		d.s.mu.Lock()
		d.copied = name
		d.receipt = broker.Receipt{Copy: strconv.Itoa(int(r.Partition)) + ":" + strconv.FormatInt(r.Offset, 10)}
		d.s.mu.Unlock()
	}
	if over {
		d.sending = nil
	}
	return err
}

// retry makes the copy that waits. The tier follows from the wait; the time itself is
// in a header and exact.
func (d *delivery) retry(o broker.Retry) (*kgo.Record, error) {
	if o.PublishID == "" {
		return nil, errors.New("retry: PublishID is empty")
	}
	tier := tierFor(time.Until(o.At))
	return d.copy(d.s.topics.retry[tier], copyHeaders{envelope: o.Envelope, due: o.At}), nil
}

// letter makes the dead letter.
func (d *delivery) letter(o broker.Dead) (*kgo.Record, error) {
	if o.PublishID == "" || o.Queue == "" {
		return nil, errors.New("dead-letter: PublishID or Queue is empty")
	}
	return d.copy(topicName(o.Queue), copyHeaders{envelope: o.Envelope}), nil
}

// copy takes body, key and the producer's headers as they came, to the partition of
// the same number, or to that number modulo what there are.
func (d *delivery) copy(topic string, own copyHeaders) *kgo.Record {
	m := &d.message
	own.expiresAt, own.time = m.ExpiresAt, m.Time
	return &kgo.Record{
		Topic: topic, Partition: d.r.p.id, Key: m.Key, Value: m.Body,
		Headers: encodeHeaders(m.Headers, own),
	}
}

package redrivenats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

// Headers of a message schedule, ADR-51 of NATS.
const (
	headerSchedule       = jetstream.ScheduleHeader
	headerScheduleTarget = jetstream.ScheduleTargetHeader
)

// Words of the acknowledgement protocol.
const (
	ackBody      = "+ACK"
	progressBody = "+WPI"
	nakBody      = "-NAK"
)

var ackWord = []byte(ackBody) //nolint:gochecknoglobals // never written to

// state is how far the settling of a delivery has come.
type state uint8

const (
	open state = iota
	settling
	settled
)

// delivery is one hand-over of a message.
type delivery struct {
	s          *subscription
	lane       *lane
	reply      string
	sequence   uint64
	decoded    decoded
	deliveries broker.Deliveries
	// count is the server's count of deliveries, this one included, and waited the
	// part of it that came before the copy was due.
	count, waited int

	// mu may be taken while the subscription's lock is held, never the other way
	// round.
	mu    sync.Mutex
	state state
	// deadline is when the server may give the message to somebody else.
	deadline time.Time
	// lost says that the message was delivered again, or that the server does not
	// know of this delivery any more.
	lost bool
	// ack is the newest acknowledgement that was sent.
	ack *request
	// markRevision is the row of the newest note, 0 if there is none.
	markRevision uint64
	// copied names the copy that a settlement made before it failed, so that its
	// repeat does not make another one.
	copied  string
	receipt broker.Receipt
}

func (d *delivery) Msg() *broker.Message { return &d.decoded.message }

func (d *delivery) Identity() broker.Incarnation { return d.lane.identity(d.sequence) }

func (d *delivery) Deliveries() broker.Deliveries { return d.deliveries }

func (d *delivery) markKey() string {
	return markKey(d.lane.stream, d.lane.created, d.sequence)
}

// Extend makes the lease last for d from now. The server confirms the extension
// and does not say whether the message was still ours: ErrLeaseLost is told
// from this process's clock, and when the message was delivered to this process
// again.
func (d *delivery) Extend(ctx context.Context, wish time.Duration) error {
	if err := d.held(); err != nil {
		return err
	}
	// The server's extension is always one ack_wait. A negative acknowledgement
	// with a delay sets any time, and the message stays ours to settle meanwhile.
	body, lasts := progressBody, d.lane.ackWait
	if wish > d.lane.ackWait {
		body, lasts = nakWithDelay(wish), wish
	}
	from := time.Now()
	if err := d.tell(ctx, body); err != nil {
		return fmt.Errorf("extend: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost {
		return fmt.Errorf("message %d of stream %s was delivered again: %w", d.sequence, d.lane.stream, broker.ErrLeaseLost)
	}
	d.deadline = from.Add(lasts)
	return nil
}

// held returns an error if the delivery is settled or its lease has ended.
func (d *delivery) held() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state == settled {
		return fmt.Errorf("message %d of stream %s: %w", d.sequence, d.lane.stream, broker.ErrSettled)
	}
	return d.leaseError()
}

// leaseError is called with the lock held.
func (d *delivery) leaseError() error {
	switch late := time.Since(d.deadline); {
	case d.lost:
		return fmt.Errorf("message %d of stream %s was delivered again, or the server has forgotten this delivery: %w", d.sequence, d.lane.stream, broker.ErrLeaseLost)
	case late > 0:
		return fmt.Errorf("lease of message %d of stream %s ended %v ago: %w", d.sequence, d.lane.stream, late, broker.ErrLeaseLost)
	}
	return nil
}

// tell sends a word about this delivery and waits for the server's answer.
func (d *delivery) tell(ctx context.Context, body string) error {
	_, err := d.lane.b.req.do(ctx, &nats.Msg{Subject: d.reply, Data: []byte(body)})
	return d.explain(err)
}

func (d *delivery) explain(err error) error {
	if errors.Is(err, errNoResponders) {
		return fmt.Errorf("consumer %s: %w", d.lane.consumer, err)
	}
	return err
}

func nakWithDelay(delay time.Duration) string {
	return nakBody + ` {"delay":` + strconv.FormatInt(delay.Nanoseconds(), 10) + "}"
}

// Mark stores a note for the next delivery.
func (d *delivery) Mark(ctx context.Context, mark broker.Mark) error {
	if err := d.held(); err != nil {
		return err
	}
	return d.note(ctx, mark)
}

func (d *delivery) note(ctx context.Context, mark broker.Mark) error {
	revision, err := d.lane.b.putMark(ctx, d.markKey(), markRow{
		Mark: mark, Deliveries: d.deliveries.Earlier + 1, Waited: d.waited,
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.markRevision = max(d.markRevision, revision)
	return nil
}

// Settle ends the delivery. Done is tried even after the lease has ended, since
// the work is done; the other outcomes are then refused with ErrLeaseLost.
func (d *delivery) Settle(ctx context.Context, outcome broker.Outcome) (broker.Receipt, error) {
	if err := d.begin(outcome); err != nil {
		return broker.Receipt{}, err
	}
	receipt, err := d.settle(ctx, outcome)
	revision, err := d.end(err)
	if err != nil {
		return broker.Receipt{}, err
	}
	if _, released := outcome.(broker.Release); !released && revision > 0 {
		d.lane.b.dropMark(ctx, revision)
	}
	return receipt, nil
}

// end closes what begin opened, and returns the row of the newest note.
func (d *delivery) end(err error) (revision uint64, _ error) {
	d.mu.Lock()
	if err != nil {
		d.state = open
		if lost := d.leaseError(); lost != nil && errors.Is(err, broker.ErrUnknown) {
			// A server that lost its newest deliveries in a crash does not answer their
			// acknowledgements, ever.
			err = errors.Join(lost, err)
		}
		d.mu.Unlock()
		return 0, fmt.Errorf("message %d of stream %s: %w", d.sequence, d.lane.stream, err)
	}
	d.state = settled
	revision = d.markRevision
	d.mu.Unlock()
	d.s.release(d)
	return revision, nil
}

func (d *delivery) begin(outcome broker.Outcome) error {
	closed := d.s.isClosed() // Before the delivery's lock, which comes after the subscription's.
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.state {
	case settled:
		return fmt.Errorf("message %d of stream %s: %w", d.sequence, d.lane.stream, broker.ErrSettled)
	case settling:
		return fmt.Errorf("message %d of stream %s is being settled by another call: %w", d.sequence, d.lane.stream, broker.ErrSettled)
	case open:
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
		return broker.Receipt{}, d.acknowledge(ctx)
	case broker.Release:
		return broker.Receipt{}, d.giveBack(ctx, o)
	case broker.Retry, broker.Dead:
		return d.move(ctx, o)
	}
	return broker.Receipt{}, fmt.Errorf("outcome %T: %w", outcome, broker.ErrUnsupported)
}

// forgottenPatience is how long the acknowledgement of a delivery may take that
// the server seems to have forgotten: it answers at once, or never.
const forgottenPatience = 500 * time.Millisecond

// acknowledge removes the message and waits until the server has done so.
func (d *delivery) acknowledge(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("acknowledge: %w", context.Cause(ctx))
	}
	q, err := d.lane.b.req.sendWord(d.reply, ackWord)
	if err != nil {
		return fmt.Errorf("acknowledge: %w", d.explain(err))
	}
	patience := d.lane.b.req.timeout
	d.mu.Lock()
	d.ack = q
	if d.lost {
		patience = min(patience, forgottenPatience)
	}
	d.mu.Unlock()
	if _, err := q.wait(ctx, patience); err != nil {
		return fmt.Errorf("acknowledge: %w", d.explain(err))
	}
	return nil
}

// forget says that the server does not know of this delivery.
func (d *delivery) forget() {
	d.mu.Lock()
	d.lost = true
	ack := d.ack
	d.mu.Unlock()
	if ack != nil {
		ack.abandon()
	}
}

func (d *delivery) giveBack(ctx context.Context, o broker.Release) error {
	if !o.Mark.IsZero() {
		if err := d.note(ctx, o.Mark); err != nil {
			return err
		}
	}
	body := nakBody
	if after := min(o.After, maxRelease); after > 0 {
		body = nakWithDelay(after)
	}
	if err := d.tell(ctx, body); err != nil {
		return fmt.Errorf("give back: %w", err)
	}
	return nil
}

// move is publish, confirm, settle. What the confirmation named is kept, so that
// a repeat after a failed acknowledgement makes no second copy.
func (d *delivery) move(ctx context.Context, outcome broker.Outcome) (broker.Receipt, error) {
	name := moveName(outcome)
	receipt, copied := d.wasCopied(name)
	if !copied {
		m, err := d.copyFor(outcome)
		if err != nil {
			return broker.Receipt{}, err
		}
		receipt, err = d.lane.b.store(ctx, m)
		if err != nil {
			return broker.Receipt{}, err
		}
		d.setCopied(name, receipt)
	}
	return receipt, d.acknowledge(ctx)
}

// moveName tells moves of one delivery apart.
func moveName(outcome broker.Outcome) string {
	switch o := outcome.(type) {
	case broker.Retry:
		return "retry:" + o.PublishID
	case broker.Dead:
		return "dead:" + o.Queue + ":" + o.PublishID
	}
	return ""
}

// copyFor makes the copy of a move.
func (d *delivery) copyFor(outcome broker.Outcome) (*nats.Msg, error) {
	switch o := outcome.(type) {
	case broker.Retry:
		if d.lane.b.naks.Load() {
			return d.postponed(o)
		}
		return d.schedule(o)
	case broker.Dead:
		return d.letter(o)
	}
	return nil, fmt.Errorf("outcome %T makes no copy: %w", outcome, broker.ErrUnsupported)
}

// wasCopied returns where a move that failed later has put its copy.
func (d *delivery) wasCopied(name string) (broker.Receipt, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.receipt, d.copied == name
}

func (d *delivery) setCopied(name string, receipt broker.Receipt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.copied, d.receipt = name, receipt
}

// store publishes a copy and returns where it lies.
func (b *Broker) store(ctx context.Context, m *nats.Msg) (broker.Receipt, error) {
	if err := b.checkSize(m); err != nil {
		return broker.Receipt{}, err
	}
	ack, err := b.req.publish(ctx, m)
	if err != nil {
		return broker.Receipt{}, err
	}
	if doubtful(ack, m) {
		if ack, err = b.settleDuplicate(ctx, m, ack, true); err != nil {
			return broker.Receipt{}, err
		}
	}
	return receiptOf(ack, m), nil
}

// doubtful reports whether a copy that the server calls a repeat may be missing. A
// retry that waits by acknowledgements and is not there any more was handled.
func doubtful(ack pubAck, m *nats.Msg) bool {
	return ack.Duplicate && m.Header.Get(broker.HeaderDue) == ""
}

func receiptOf(ack pubAck, m *nats.Msg) broker.Receipt {
	if m.Header.Get(headerSchedule) != "" {
		// The schedule's sequence is not that of the message that it will make.
		return broker.Receipt{}
	}
	return broker.Receipt{Copy: strconv.FormatUint(ack.Sequence, 10)}
}

// schedule makes the copy that waits. It has no Nats-Msg-Id: a schedule that has
// fired looks like a lost duplicate. Its subject, made of the publish id, takes
// that place: a repeat replaces the schedule.
func (d *delivery) schedule(o broker.Retry) (*nats.Msg, error) {
	if o.PublishID == "" {
		return nil, errors.New("retry: PublishID is empty")
	}
	b := d.lane.b
	m := d.copy(copyHeaders{envelope: o.Envelope})
	m.Subject = b.layout.scheduleSubject(d.s.names.Retry, o.PublishID)
	m.Header[headerSchedule] = []string{"@at " + dueTime(o.At).UTC().Format(time.RFC3339Nano)}
	m.Header[headerScheduleTarget] = []string{b.layout.retrySubject(d.s.names.Retry)}
	m.Header[jetstream.ExpectedStreamHeader] = []string{b.layout.retryStream()}
	return m, nil
}

// dueTime keeps a time within what the server's clock arithmetic can hold.
func dueTime(at time.Time) time.Time {
	earliest, latest := time.Unix(0, 0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	switch {
	case at.Before(earliest):
		return earliest
	case at.After(latest):
		return latest
	}
	return at
}

// letter makes the dead letter. The publish id lets the server drop a repeat.
func (d *delivery) letter(o broker.Dead) (*nats.Msg, error) {
	if o.PublishID == "" || o.Queue == "" {
		return nil, errors.New("dead-letter: PublishID or Queue is empty")
	}
	b := d.lane.b
	m := d.copy(copyHeaders{envelope: o.Envelope, queue: shortenedName(o.Queue)})
	m.Subject = b.layout.dlqSubject(o.Queue)
	m.Header[jetstream.MsgIDHeader] = []string{headerID(o.PublishID)}
	m.Header[jetstream.ExpectedStreamHeader] = []string{b.layout.dlqStream()}
	return m, nil
}

// copy takes the body, the key and the producer's headers as they came, and
// never the headers that steer the server.
func (d *delivery) copy(own copyHeaders) *nats.Msg {
	m := &d.decoded.message
	own.key, own.expiresAt, own.time = m.Key, d.decoded.expiresAt, m.Time
	own.veiled = d.lane.b.level < levelBatches
	return &nats.Msg{Data: m.Body, Header: encodeHeaders(m.Headers, own)}
}

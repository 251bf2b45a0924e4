package broker

import (
	"context"
	"time"
)

// Broker is a connection to one broker. All methods are safe for concurrent
// use. Adapters return concrete types with a Close of their own.
type Broker interface {
	// Caps reports what the broker can do for the queue, probed on the live
	// server and never assumed.
	Caps(ctx context.Context, queue string) (Caps, error)
	// Open starts consuming. It creates what the subscription needs and refuses
	// a queue on which a message could be lost, with a *RefusedError that lists
	// every problem.
	Open(ctx context.Context, spec Spec) (Subscription, error)
	// Publish stores messages. The result has one entry per message: nil only
	// after a durable confirmation that the message was routed to a queue, an
	// error that wraps ErrUnknown if it may or may not be stored, any other error
	// if it is certainly not. The slice always has the length of the argument.
	Publish(ctx context.Context, messages []Outbound) []error
	// Stats reads depth and age without any effect on the queue.
	Stats(ctx context.Context, queue string) (Stats, error)
	// Letters gives access to the messages of a dead-letter queue, quarantine or
	// any other queue that can be looked at.
	Letters(ctx context.Context, queue string) (Letters, error)
	// Topology reads and creates queues.
	Topology() Topology
}

// Spec says what to consume and how. Source and Group make the subscription.
type Spec struct {
	// Source is the queue, topic or stream to consume.
	Source string
	// Group is the consumer group; DefaultGroup if empty.
	Group string
	// Lease is how long a delivery stays ours without an extension.
	// Default: 30 s.
	Lease time.Duration
	// MaxInFlight bounds the deliveries that are handed out and not settled.
	// Default: 256.
	MaxInFlight int
	// Worker names the consuming process in the broker's own tools.
	Worker string
	// Accept are the rules, by [Problem.Rule], whose violation does not stop Open and
	// Ensure: the user takes the risk that they name.
	Accept []string
}

// DefaultGroup is the consumer group of a subscription that names none.
const DefaultGroup = "default"

// WithDefaults returns a copy with the defaults filled in.
func (s Spec) WithDefaults() Spec {
	if s.Group == "" {
		s.Group = DefaultGroup
	}
	if s.Lease <= 0 {
		s.Lease = 30 * time.Second
	}
	if s.MaxInFlight <= 0 {
		s.MaxInFlight = 256
	}
	return s
}

// Subscription is an open consumer. Deliveries can be settled after fetching
// has stopped, until Close.
type Subscription interface {
	// Receive waits for at least one delivery and returns at most max. It returns
	// the context's error when the context ends first; no message is lost to a
	// cancelled Receive, but what was on the way may come again after its lease.
	// An empty result without an error is allowed and means "ask again".
	Receive(ctx context.Context, max int) ([]Delivery, error)
	// Pause tells the broker that no Receive will come for a while. Membership of
	// the group and the leases of open deliveries are kept.
	Pause(ctx context.Context) error
	// Resume ends Pause.
	Resume(ctx context.Context) error
	// Drain stops fetching for good: deliveries on their way that nobody received
	// go back to the broker. Open deliveries can still be settled.
	Drain(ctx context.Context) error
	// Close drains, gives up what is not settled and frees everything. It is
	// idempotent.
	Close(ctx context.Context) error
}

// Delivery is one hand-over of a message. Its methods are safe for concurrent
// use, but Settle succeeds once.
type Delivery interface {
	// Msg returns the message. Its slices must not be changed.
	Msg() *Message
	// Identity names the stored copy that was delivered.
	Identity() Incarnation
	// Deliveries tells how often this stored copy was handed over before.
	Deliveries() Deliveries
	// Extend makes the lease last for d from now. ErrLeaseLost means that
	// somebody else may have the message.
	Extend(ctx context.Context, d time.Duration) error
	// Mark stores a note for the next delivery of this stored copy, durable when
	// it returns nil. A later Mark replaces an earlier one. ErrUnsupported if
	// Caps.Marks is false.
	Mark(ctx context.Context, mark Mark) error
	// Settle ends the delivery by a confirmed move. After an error the message
	// is still, or again, where it was, and Settle may be repeated with the same
	// outcome until the lease is lost: adapters repeat a move under the same
	// publish id.
	Settle(ctx context.Context, outcome Outcome) (Receipt, error)
}

// AsyncDelivery is a Delivery that can be settled without a goroutine that waits for
// the broker's confirmation. It is optional: a worker with hundreds of messages in
// flight costs less with it.
type AsyncDelivery interface {
	Delivery
	// SettleAsync begins what Settle does and does not wait for its end. It calls done
	// once, with what Settle would have returned, from any goroutine and with no lock
	// held, perhaps before it returns itself; done does not block. The context bounds
	// the settlement as it bounds Settle, but its end may be noticed a second late.
	//
	// False means that nothing was done, and done will not be called, because this
	// outcome needs a goroutine: call Settle.
	SettleAsync(ctx context.Context, outcome Outcome, done func(Receipt, error)) bool
}

// Outcome is how a delivery ends: one of Done, Release, Retry and Dead.
type Outcome interface{ outcome() }

// Done removes the message from its place: it was handled.
type Done struct{}

// Release gives the message back to its place without a copy.
type Release struct {
	// After delays the next delivery, as far as Caps.MaxRelease allows.
	After time.Duration
	// Mark, if not zero, is stored first, so that the next delivery knows that
	// this one was explained.
	Mark Mark
}

// Retry moves the message to the retry queue of its subscription.
type Retry struct {
	// At is when it is due. It is never delivered earlier.
	At time.Time
	// Envelope is the encoded envelope that replaces the one it came with.
	Envelope []byte
	// PublishID names this move and is the same when it is repeated.
	PublishID string
	// Counted says that the attempt counted, for brokers with a counter of their
	// own.
	Counted bool
}

// Dead moves the message to a dead-letter queue or quarantine.
type Dead struct {
	// Queue is the logical name, as made by Names.
	Queue string
	// Envelope is the encoded envelope that replaces the one it came with.
	Envelope []byte
	// PublishID names the letter and is the same when the move is repeated, also with
	// another verdict. Where the broker can, a letter that is there under this id,
	// in whatever dead-letter queue or quarantine, is the one: no second is made.
	PublishID string
}

func (Done) outcome()    {}
func (Release) outcome() {}
func (Retry) outcome()   {}
func (Dead) outcome()    {}

// Receipt says how a delivery was settled.
type Receipt struct {
	// Copy is the position of the copy that was made, empty if none was or it is
	// unknown.
	Copy string
	// Native says that the broker moved the message in one atomic step.
	Native bool
	// Due is when a retry will really be delivered, for brokers that cannot delay by
	// any time: never before Retry.At. Zero means Retry.At.
	Due time.Time
}

// Letters gives access to the messages of one queue.
type Letters interface {
	// Mode says what looking costs.
	Mode() Mode
	// Scan reads up to n letters from the cursor on, oldest first, and returns
	// the cursor to go on from. The zero Cursor is the beginning; fewer than n
	// letters mean the end.
	Scan(ctx context.Context, from Cursor, n int) ([]Letter, Cursor, error)
	// Drain hands letters to sink and removes each batch after sink returned nil,
	// which must mean that it is durable elsewhere. It returns when the queue is
	// empty or the context ends.
	Drain(ctx context.Context, batch int, sink func(context.Context, []Letter) error) error
	// Get reads one letter. ErrGone if it is no longer there, ErrUnsupported if
	// the broker cannot.
	Get(ctx context.Context, position string) (Letter, error)
	// Remove deletes one letter. Removing one that is gone is no error.
	// ErrUnsupported if the broker cannot.
	Remove(ctx context.Context, position string) error
}

// Mode says what looking at a queue does to it.
type Mode uint8

const (
	// Observe: reading has no effect.
	Observe Mode = iota
	// PeekCounts: reading counts as a delivery or hides messages for a while.
	PeekCounts
	// DrainOnly: messages can only be read by taking them.
	DrainOnly
)

// String returns "observe", "peek-counts" or "drain-only".
func (m Mode) String() string {
	switch m {
	case Observe:
		return "observe"
	case PeekCounts:
		return "peek-counts"
	case DrainOnly:
		return "drain-only"
	}
	return "unknown"
}

// Cursor is where a Scan goes on. It belongs to the adapter that made it.
type Cursor string

// Letter is a stored message as Letters reads it.
type Letter struct {
	Message  Message
	Identity Incarnation
	// Position is what Get and Remove take.
	Position string
	// StoredAt is when the broker stored this copy.
	StoredAt time.Time
}

// Topology reads and creates queues.
type Topology interface {
	// Queues lists the queues that the broker has, with their kinds, sorted by name.
	Queues(ctx context.Context) ([]Queue, error)
	// Ensure creates what a subscription needs: source, retry, dead-letter queue
	// and quarantines, and the broker's QueueOutcomes and QueueHeartbeats. It is
	// idempotent and never alters or deletes what exists.
	Ensure(ctx context.Context, spec Spec) error
}

// Queue describes one queue of a broker.
type Queue struct {
	// Name is the logical name.
	Name string
	// Kind says what it is for.
	Kind QueueKind
	// Groups are the consumer groups that read it, sorted.
	Groups []string
}

// QueueKind says what a queue is for.
type QueueKind string

// The kinds of queues.
const (
	KindSource     QueueKind = "source"
	KindRetry      QueueKind = "retry"
	KindDeadLetter QueueKind = "dead-letter"
	KindQuarantine QueueKind = "quarantine"
	KindReplay     QueueKind = "replay"
	KindOutcomes   QueueKind = "outcomes"
	KindHeartbeats QueueKind = "heartbeats"
)

package engine

import (
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

// Item is a delivery on its way through the machine. The driver fills in the
// exported fields before Received; afterwards the machine owns Env until it
// asks for a Report or Settle, and the driver from then until Settled.
type Item struct {
	Delivery broker.Delivery
	// Deliveries and ExpiresAt are those of the delivery.
	Deliveries broker.Deliveries
	ExpiresAt  time.Time
	// Env is the history that came with the message, nil if there is none or it
	// belongs to another message. After Received it is never nil, and only the
	// machine writes to it: messages without a history share an empty one.
	Env *envelope.Envelope
	// Newer says that a newer release wrote the envelope, so that Env is unknown.
	Newer bool
	// Data is the driver's own.
	Data any

	run        int // number of the newest run of the handler
	state      state
	since      time.Time // received
	started    time.Time // handler started
	worked     time.Time // when the newest run began that had succeeded by then
	extendAt   time.Time // next extension of the lease
	due        time.Time // handler timeout, then the end of its grace; or the next try of a failed move
	timedOut   bool
	lost       bool
	permit     breaker.Permit
	decided    *decision.Verdict // nil for the usual one
	trouble    *trouble          // nil while all goes well
	moves      int
	unreported int  // failed tries to report the outcome
	noted      bool // the pending move is marked on the stored copy
	alone      bool // its stored mark says that it was started alone
	prev, next *Item
}

// Attempt is the number of the run that is about to start or going on, from 1.
func (it *Item) Attempt() int { return it.Env.Count + 1 }

// history returns Env to be written to.
func (it *Item) history(m *Machine) *envelope.Envelope {
	if it.Env == &m.fresh {
		t := it.inTrouble()
		it.Env = &t.env
		it.Env.Attempts = t.first[:0]
	}
	return it.Env
}

// trouble is what an item needs that does not just run and settle, made in one
// piece.
type trouble struct {
	env     envelope.Envelope
	first   [1]envelope.Attempt
	verdict decision.Verdict
}

func (it *Item) inTrouble() *trouble {
	if it.trouble == nil {
		it.trouble = new(trouble)
	}
	return it.trouble
}

// Run is the number of the newest run of the handler in this worker, from 1. It
// tells a Cancel that comes too late from one that is meant for this run.
func (it *Item) Run() int { return it.run }

// usual is the verdict on nearly every message, and large: it is kept as nil.
var usual = decision.Verdict{Row: decision.RowHandled, Action: decision.Settle} //nolint:gochecknoglobals // never written to

// keep remembers what was decided.
func (it *Item) keep(v decision.Verdict) {
	if v == usual {
		it.decided = nil
		return
	}
	t := it.inTrouble()
	t.verdict = v
	it.decided = &t.verdict
}

// verdict is what was decided.
func (it *Item) verdict() decision.Verdict {
	if it.decided == nil {
		return usual
	}
	return *it.decided
}

// suspect reports whether the item must run alone.
func (it *Item) suspect(m *Machine) bool {
	return m.cfg.Caps.Marks && m.cfg.Policy.Poison.Suspect(it.Deliveries)
}

type state uint8

const (
	stateWaiting state = iota
	stateMarking
	stateRunning
	stateAbandoned
	stateReporting
	stateUnreported
	stateMoving
	stateStaying
	stateResting // to be released at retryAt
	stateGone
)

// Result is how a run ended.
type Result struct {
	// Fact is Handled, Failed, DependencyOpen, Interrupted or one of the inbox
	// facts.
	Fact decision.Fact
	// Failure and Signature describe a failure. They are set for Failed and
	// DependencyOpen, and the machine keeps Failure.
	Failure   *failure.Failure
	Signature string
	// Until is the end of another claim, or the recovery of a dependency.
	Until time.Time
	// Dependency says that a named dependency failed, and Worked when the newest
	// call to it that succeeded began. That other messages succeed says nothing
	// about a dependency that they may not need.
	Dependency bool
	Worked     time.Time
	// Key is the message's idempotency key, set with a failure.
	Key string
	// Err is why the inbox could not be reached.
	Err error
}

// list is a doubly linked list of all items, so that adding and removing one
// costs no allocation.
type list struct {
	head, tail *Item
	n          int
}

func (l *list) add(it *Item) {
	it.prev, it.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = it
	} else {
		l.head = it
	}
	l.tail = it
	l.n++
}

func (l *list) remove(it *Item) {
	if it.prev != nil {
		it.prev.next = it.next
	} else {
		l.head = it.next
	}
	if it.next != nil {
		it.next.prev = it.prev
	} else {
		l.tail = it.prev
	}
	it.prev, it.next = nil, nil
	l.n--
}

// queue is a first-in first-out queue.
type queue struct {
	items []*Item
	head  int
}

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(it *Item) { q.items = append(q.items, it) }

func (q *queue) pop() *Item {
	it := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	} else if q.head > 1024 && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return it
}

// unpop puts an item that was popped back to the front.
func (q *queue) unpop(it *Item) {
	if q.head > 0 {
		q.head--
		q.items[q.head] = it
		return
	}
	q.items = append(q.items, nil)
	copy(q.items[1:], q.items)
	q.items[0] = it
}

// popFewest removes the item with the fewest failures, the oldest of several.
func (q *queue) popFewest() *Item {
	best := q.head
	for i := q.head + 1; i < len(q.items); i++ {
		if failures(q.items[i]) < failures(q.items[best]) {
			best = i
		}
	}
	it := q.items[best]
	copy(q.items[q.head+1:best+1], q.items[q.head:best])
	q.items[q.head] = it
	return q.pop()
}

func failures(it *Item) int { return it.Env.Count + it.Env.Uncounted }

// take removes all items.
func (q *queue) take() []*Item {
	all := append([]*Item(nil), q.items[q.head:]...)
	clear(q.items)
	q.items, q.head = q.items[:0], 0
	return all
}

// filter removes the items for which drop returns true and returns them.
func (q *queue) filter(drop func(*Item) bool) []*Item {
	var dropped []*Item
	kept := q.items[:q.head]
	for _, it := range q.items[q.head:] {
		if drop(it) {
			dropped = append(dropped, it)
		} else {
			kept = append(kept, it)
		}
	}
	clear(q.items[len(kept):])
	q.items = kept
	return dropped
}

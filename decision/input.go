package decision

import (
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/poison"
	"github.com/redrive-dev/redrive/retry"
)

// Fact is what happened to a message.
type Fact uint8

// The facts.
const (
	// Delivered: the message is here and the handler has not run.
	Delivered Fact = iota
	// Handled: the handler returned nil.
	Handled
	// Failed: the handler, the decoder or the validator returned an error, or the
	// handler panicked. Input.Failure says which.
	Failed
	// DependencyOpen: inside the handler the breaker of a named dependency refused
	// the call.
	DependencyOpen
	// Interrupted: shutdown, our own cancel, or the lease was lost.
	Interrupted
	// InboxDone: the inbox knows the message as done.
	InboxDone
	// InboxConflict: the inbox knows the key with another body.
	InboxConflict
	// InboxBusy: somebody else holds a live claim on the key.
	InboxBusy
	// InboxUnreachable: the inbox did not answer.
	InboxUnreachable
	// NewerEnvelope: the message carries an envelope that a newer release wrote.
	NewerEnvelope
	// Early: this worker itself made the retry, and by its own clock it is not due.
	Early
	// MoveFailed: the copy could not be written, or it is unknown whether it was.
	MoveFailed
	// MoveTooLarge: the copy is too large for the broker after everything that may
	// be cut was cut.
	MoveTooLarge
	// OutcomeFailed: what became of a replayed message could not be reported to
	// whoever replayed it, or it is unknown whether it was.
	OutcomeFailed
	factEnd
)

// Input is all that Decide looks at.
type Input struct {
	// Policy must have its defaults filled in.
	Policy *Policy
	Fact   Fact
	// Failure and Signature are set for Failed, and Failure for DependencyOpen.
	Failure   *failure.Failure
	Signature string
	// History is the envelope before this fact, the zero value for a message that
	// never failed.
	History *envelope.Envelope
	// Deliveries is what the broker counted of this stored copy, and Marks whether
	// it can keep a start marker.
	Deliveries broker.Deliveries
	Marks      bool
	// ExpiresAt ends the message's own time to live, zero for none.
	ExpiresAt time.Time
	// Breaker is the subscription's breaker, after it was told of this fact.
	Breaker Breaker
	// Peers are the outcomes of the other messages of the subscription.
	Peers Peers
	// Since is when this worker received the message, and HoldMax how long it may
	// keep it: the policy's, cut to what the broker allows.
	Since   time.Time
	HoldMax time.Duration
	// Started is when this worker began to watch its messages: what it has not seen
	// is no proof that nothing happened.
	Started time.Time
	// Until is the end of somebody else's claim for InboxBusy, when the retry is due
	// for Early, and the recovery of
	// the dependency for DependencyOpen.
	Until time.Time
	// Moves counts the failed tries of the pending move, or for OutcomeFailed those
	// of the report.
	Moves int
	Now   time.Time
	Rand  retry.Rand
}

// Breaker is the state of a breaker as Decide sees it.
type Breaker struct {
	State breaker.State
	// Admits says that a call would be let through now.
	Admits bool
	// Next is when the next probe may be made.
	Next time.Time
	// Probe says that this run was a probe of a half-open breaker.
	Probe bool
}

// Peers is what the other messages of the subscription did in this worker.
type Peers struct {
	// LastSuccess is when the newest run began that had succeeded before this one began,
	// or the newest call to the dependency that failed, if the handler named one.
	// LastFailure is the time of the newest failure. Both are zero if there was none.
	LastSuccess, LastFailure time.Time
	// Window counts the outcomes of other messages in the poison window.
	Window poison.Peers
}

// attempt is the number of the attempt that just failed, if it counts.
func (in *Input) attempt() int { return in.History.Count + 1 }

// firstFailure is when the message first failed, now if it just did.
func (in *Input) firstFailure() time.Time {
	if in.History.FirstFailure.IsZero() {
		return in.Now
	}
	return in.History.FirstFailure
}

// exhausted is when the attempts were used up, now if they just were.
func (in *Input) exhausted() time.Time {
	if in.History.Exhausted.IsZero() {
		return in.Now
	}
	return in.History.Exhausted
}

func (in *Input) tooOld() bool {
	return in.Now.Sub(in.firstFailure()) >= in.Policy.Retry.MaxAge
}

func (in *Input) category(c failure.Category) bool {
	return in.Fact == Failed && in.Failure.Category == c
}

// transient reports a failure that a retry may help.
func (in *Input) transient() bool {
	return in.Fact == Failed && !in.Failure.Category.Permanent() && in.Failure.Category != failure.Crash
}

// usedUp reports a transient failure that has no attempt left.
func (in *Input) usedUp() bool {
	return in.transient() && in.attempt() >= in.Policy.Retry.Attempts
}

// unclear reports that it cannot be told whether the message or its downstream
// is at fault.
func (in *Input) unclear() bool {
	return in.Breaker.State != breaker.Closed || !in.Peers.LastSuccess.After(in.firstFailure())
}

// same counts the failures with this signature, this one included.
func (in *Input) same() int { return poison.Same(in.History.Attempts, in.Signature) + 1 }

package decision

import (
	"time"

	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

// Action is what is to be done with the message. Each puts it in exactly one
// place.
type Action uint8

// The actions.
const (
	// Run the handler. The message is in flight.
	Run Action = iota + 1
	// RunAlone runs the handler after a durable start marker, while no other
	// handler runs.
	RunAlone
	// Hold keeps the message unsettled with its lease extended.
	Hold
	// Settle removes the message from its place: it is done.
	Settle
	// Release gives the message back to its place.
	Release
	// Retry moves the message to the retry queue.
	Retry
	// DeadLetter moves the message to the dead-letter queue.
	DeadLetter
	// Quarantine moves the message to the quarantine of Verdict.Category.
	Quarantine
	// Repeat makes the move that was decided earlier: the one that is noted on the
	// message, or the one that waited for its outcome to be reported.
	Repeat
	// Stay keeps the message unsettled with a note of the pending move, and tries
	// the move, or the report of its outcome, again at Verdict.At.
	Stay
	// Park is Stay for a copy that the broker will never take as it is.
	Park
)

// Place is where a message is after an action.
type Place uint8

// The places.
const (
	InFlight Place = iota + 1
	Source
	RetryQueue
	DeadLetterQueue
	QuarantineQueue
	Finished
)

// Place returns the one place that the action puts a message in; for Repeat the
// place is the one of the noted move, and until then InFlight.
func (a Action) Place() Place {
	switch a {
	case Run, RunAlone, Hold, Repeat, Stay, Park:
		return InFlight
	case Release:
		return Source
	case Retry:
		return RetryQueue
	case DeadLetter:
		return DeadLetterQueue
	case Quarantine:
		return QuarantineQueue
	case Settle:
		return Finished
	}
	return 0
}

// String returns the name of the action, such as "dead-letter".
func (a Action) String() string {
	names := [...]string{Run: "run", RunAlone: "run-alone", Hold: "hold", Settle: "settle", Release: "release", Retry: "retry", DeadLetter: "dead-letter", Quarantine: "quarantine", Repeat: "repeat", Stay: "stay", Park: "park"}
	if int(a) < len(names) {
		return names[a]
	}
	return "unknown"
}

// Why an attempt was not counted. The words travel in the envelope.
const (
	UncountedOutage     = "outage"
	UncountedProbe      = "probe"
	UncountedThrottled  = "throttled"
	UncountedDependency = "dependency"
)

// Verdict is what Decide decided.
type Verdict struct {
	// Row is the row of the table that matched.
	Row Row
	// Action says what to do, with the details below.
	Action Action
	// Counted says that the attempt counts; Uncounted says why it does not.
	Counted bool
	// Budgeted says that the due time of a Retry is postponed to the token that the
	// retry budget gives.
	Budgeted bool
	// Duplicate says that Settle skips an effect that was made before.
	Duplicate bool
	// Category and Reason go with DeadLetter and Quarantine.
	Category  failure.Category
	Reason    envelope.Reason
	Uncounted string
	// At is when a Retry is due, and when Stay and Park try again.
	At time.Time
	// Delay is the wait that was drawn for a counted Retry.
	Delay time.Duration
	// After delays a Release.
	After time.Duration
	// Exhausted is when the attempts were used up, kept in the envelope.
	Exhausted time.Time
	// Trip holds the whole subscription until then: the downstream asked for it.
	Trip time.Time
}

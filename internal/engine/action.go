package engine

import (
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/failure"
)

// ActionKind says what an Action asks for.
type ActionKind uint8

// The kinds of actions.
const (
	// Receive at most Max messages, and report Received.
	Receive ActionKind = iota + 1
	// Run the handler of Item, and report Finished.
	Run
	// Cancel the running handler of Item with Err as the cause.
	Cancel
	// Settle Item as Verdict says, and report Settled.
	Settle
	// Report the outcome of the replayed Item as Verdict says, and report Reported.
	Report
	// StoreMark stores Mark on Item, and reports Marked if Item waits for it.
	StoreMark
	// Extend the lease of Item by Duration, and report Extended if that failed.
	Extend
	// PauseIntake tells the broker what Paused says now.
	PauseIntake
	// Notify tells observers of Event.
	Notify
)

// EventKind says what observers are told.
type EventKind uint8

// The kinds of events.
const (
	EventStarted EventKind = iota + 1
	EventHandled
	EventFailed
	EventDuplicate
	EventRetry
	EventDeadLettered
	EventQuarantined
	EventReleased
	EventSuspect
	EventBreaker
	EventMoveFailed
	EventLeaseLost
	EventTimeout
	EventStuck
	EventReceiveFailed
	EventMarkFailed
	EventInboxDown
	EventOutcomeFailed
	EventOutcomeLost
)

// Action is something for the driver to do. Which fields are set depends on
// Kind and Event.
type Action struct {
	Kind  ActionKind
	Event EventKind
	Item  *Item
	// Run is the run of Item that a Cancel is meant for.
	Run int
	Max int
	// Duration is the lease of an Extend, and how long the handler ran for
	// EventHandled and EventFailed.
	Duration time.Duration
	Mark     broker.Mark
	// Pending asks for a mark with the move that failed.
	Pending bool
	Verdict decision.Verdict
	Failure *failure.Failure
	Err     error
	State   breaker.State
}

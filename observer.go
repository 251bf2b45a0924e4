package redrive

import (
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/internal/engine"
)

// Observer is told what a worker does. Observe is called from many goroutines,
// on the path of every message: it must be quick and must not block. It must
// not keep Event.Message.
type Observer interface {
	Observe(e *Event)
}

// ObserverFunc makes an Observer of a function.
type ObserverFunc func(e *Event)

// Observe implements Observer.
func (f ObserverFunc) Observe(e *Event) { f(e) }

// EventKind says what happened.
type EventKind string

// The kinds of events. The names are stable.
const (
	// EventHandled: the handler returned nil. Took is set.
	EventHandled EventKind = "handled"
	// EventFailed: the handler failed. Failure, Took, Row and, for a retry, Delay
	// are set.
	EventFailed EventKind = "failed"
	// EventDuplicate: the inbox knew the message as done.
	EventDuplicate EventKind = "duplicate"
	// EventRetry, EventDeadLettered and EventQuarantined: the move to that queue is
	// confirmed. Each is sent once per move.
	EventRetry        EventKind = "retry"
	EventDeadLettered EventKind = "dead_lettered"
	EventQuarantined  EventKind = "quarantined"
	// EventReleased: the message was given back without costing an attempt.
	EventReleased EventKind = "released"
	// EventSuspect: a message that may have killed the process is about to run
	// alone.
	EventSuspect EventKind = "suspect"
	// EventBreaker: the breaker changed to State.
	EventBreaker EventKind = "breaker"
	// EventMoveFailed: a copy could not be written; the message stays and the move
	// is tried again. Err is set. Worth an alert.
	EventMoveFailed EventKind = "move_failed"
	// EventLeaseLost: the message may be with another worker.
	EventLeaseLost EventKind = "lease_lost"
	// EventTimeout: the handler ran out of its time and was cancelled.
	EventTimeout EventKind = "timeout"
	// EventStuck: so many handlers did not return after their timeout that the
	// worker takes no more messages. Worth an alert.
	EventStuck EventKind = "stuck"
	// EventReceiveFailed, EventMarkFailed and EventInboxUnreachable: the broker, its
	// marks or the inbox did not answer. Err is set; the worker tries again.
	EventReceiveFailed    EventKind = "receive_failed"
	EventMarkFailed       EventKind = "mark_failed"
	EventInboxUnreachable EventKind = "inbox_unreachable"
	// EventOutcomeFailed: what became of a replayed message could not be reported to
	// whoever replayed it; the message stays and the report is tried again. Err is
	// set.
	EventOutcomeFailed EventKind = "outcome_failed"
	// EventOutcomeLost: the outcome of a replayed message could not be reported for
	// as long as the message may be held, or until the stop. The message was not
	// held up any longer, and the outcome of its replay is unknown. Err is set.
	EventOutcomeLost EventKind = "outcome_lost"
)

var eventKinds = [...]EventKind{ //nolint:gochecknoglobals // a table, never written to
	engine.EventHandled: EventHandled, engine.EventFailed: EventFailed, engine.EventDuplicate: EventDuplicate,
	engine.EventRetry: EventRetry, engine.EventDeadLettered: EventDeadLettered, engine.EventQuarantined: EventQuarantined,
	engine.EventReleased: EventReleased, engine.EventSuspect: EventSuspect, engine.EventBreaker: EventBreaker,
	engine.EventMoveFailed: EventMoveFailed, engine.EventLeaseLost: EventLeaseLost, engine.EventTimeout: EventTimeout,
	engine.EventStuck: EventStuck, engine.EventReceiveFailed: EventReceiveFailed, engine.EventMarkFailed: EventMarkFailed,
	engine.EventInboxDown: EventInboxUnreachable, engine.EventOutcomeFailed: EventOutcomeFailed, engine.EventOutcomeLost: EventOutcomeLost,
}

// Event is something that a worker did. It is only valid during Observe.
type Event struct {
	Kind EventKind
	// Source and Group name the subscription.
	Source, Group string
	// At is when it happened.
	At time.Time
	// Message is nil for events that are about no message.
	Message *Message
	// Took is how long the handler ran.
	Took time.Duration
	// Row is the rule that decided, and Category and Reason go with a dead-lettering
	// or quarantine.
	Row      decision.Row
	Category failure.Category
	Reason   string
	// Counted says that a failed attempt cost one.
	Counted bool
	// Delay is the wait until a retry, as it is used.
	Delay time.Duration
	// Failure is what went wrong.
	Failure *failure.Failure
	// State is the new state of the breaker.
	State breaker.State
	// Err is the error of the event kinds that have one.
	Err error
}

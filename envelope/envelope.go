package envelope

import (
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

// Envelope is what redrive knows of a message and sends beside it, in one
// header, on every copy that it makes. The zero value is a message that has
// not failed yet.
type Envelope struct { //nolint:recvcheck // a value to everybody but its decoder
	// ID is the message id that the producer or the broker gave.
	ID string
	// Key is the idempotency key. It never changes: not by a retry, a
	// dead-lettering, a restart or a replay.
	Key string
	// Incarnation names this one stored copy, so that reading it twice is one
	// letter.
	Incarnation string
	// Origin names the stored message that the first copy was made of. All copies
	// that follow from it carry it, also where a crash has made two of one, so that
	// they become one letter. Empty in envelopes of earlier releases.
	Origin string
	// PublishID names the publication that made this copy.
	PublishID string
	// CorrelationID ties the message to the operation it belongs to.
	CorrelationID string
	// Source and Group are the subscription on which the message failed.
	Source, Group string
	// Position is the native position of the original in its source.
	Position string
	// BodyDigest is the lower-case hexadecimal SHA-256 of the body that
	// the envelope belongs to.
	BodyDigest string
	// Attempts is the history, oldest first. When it is cut, the first and the
	// last ones stay.
	Attempts []Attempt
	// Count is the number of attempts that cost one, since the message was
	// published or last replayed. It can be larger than the length of Attempts.
	Count int
	// Uncounted is the number of runs that failed without costing an attempt.
	Uncounted int
	// MaxAttempts is the limit that was in force at the last failure.
	MaxAttempts int
	// FirstFailure and LastFailure are the times of the first and the newest
	// failure, counted or not.
	FirstFailure, LastFailure time.Time
	// Exhausted is when the last attempt was used up while it could not be told
	// whether the message or its downstream was at fault; zero otherwise.
	Exhausted time.Time
	// Category and Reason say why the message is where it is. Reason is one of
	// the Reason constants; empty in a retry queue.
	Category failure.Category
	Reason   Reason
	// ErrorType, Message and Stack describe the newest failure.
	ErrorType, Message, Stack string
	// Signature is the fingerprint of the newest failure.
	Signature string
	// Replays counts the replays that this message went through.
	Replays int
	// ReplayID is the publish id of the newest replay. Copies that are made after
	// it, with publish ids of their own, keep it, so that what becomes of them is
	// known to be the outcome of that replay. Empty without a replay.
	ReplayID string
	// Control holds the producer's headers that steer a broker. They travel as
	// data and are never sent as headers again.
	Control []broker.Header
	// Trimmed names what was cut to keep the size, in the order of cutting:
	// "stack", "history", "message", "control".
	Trimmed []string
	// ClaimCheck refers to a body kept elsewhere because the copy would have been
	// too large; empty otherwise.
	ClaimCheck string
}

// Attempt is one run of the handler that failed.
type Attempt struct {
	// At is when the handler returned.
	At time.Time
	// Category and ErrorType are those of the failure.
	Category  failure.Category
	ErrorType string
	// Signature is the fingerprint of the failure.
	Signature string
	// Delay is the wait that followed, as it was used.
	Delay time.Duration
	// Worker names the process that ran the handler.
	Worker string
	// Uncounted says that the run cost no attempt, and why: "outage", "probe",
	// "throttled", "dependency". Empty for a counted one.
	Uncounted string
	// Replay is the number of replays before this attempt.
	Replay int
}

// Reason says why a message was dead-lettered or quarantined, finer than its
// category.
type Reason string

// The reasons that redrive gives.
const (
	// ReasonPermanent: the failure cannot be helped by a retry.
	ReasonPermanent Reason = "permanent"
	// ReasonAttempts: the attempts were used up.
	ReasonAttempts Reason = "attempts"
	// ReasonExpired: the message outlived its time to live, or the longest time
	// it may wait for a downstream.
	ReasonExpired Reason = "expired"
	// ReasonKeyConflict: the idempotency key belongs to another body.
	ReasonKeyConflict Reason = "key_conflict"
	// ReasonRequested: the handler asked for quarantine.
	ReasonRequested Reason = "requested"
	// ReasonRepeated: the same permanent failure again after a replay.
	ReasonRepeated Reason = "repeated"
	// ReasonPoison: attempts used up while nearly all other messages succeed.
	ReasonPoison Reason = "poison"
	// ReasonPanic: the handler panicked until the attempts were used up.
	ReasonPanic Reason = "panic"
	// ReasonCrashLoop: the process died each time the message ran alone.
	ReasonCrashLoop Reason = "crash_loop"
)

package redrive

import (
	"context"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// Header is one header of a message. Order and repeats are kept.
type Header = broker.Header

// Message is a message as a handler sees it. Handlers must not change its
// slices: they are what a copy of the message is made of.
type Message struct {
	// Source and Group name the subscription.
	Source, Group string
	// ID is the id that the producer or the broker gave, empty if neither did.
	ID string
	// Key is the partition or routing key, nil if there is none.
	Key []byte
	// Body is the payload.
	Body []byte
	// Headers are the producer's own headers.
	Headers []Header
	// Time is when the message was first stored.
	Time time.Time
	// ExpiresAt ends the message's own time to live, zero if it has none.
	ExpiresAt time.Time
	// Attempt is the number of this attempt, from 1. Runs that cost no attempt
	// repeat the number.
	Attempt int
	// MaxAttempts is the number of attempts that the message has.
	MaxAttempts int
	// FirstFailure is when the message first failed, zero if it never did.
	FirstFailure time.Time
	// CorrelationID ties the message to its operation: the header correlation-id
	// or x-correlation-id, empty if there is none.
	CorrelationID string
	// IdempotencyKey stays the same over retries, dead-lettering, restarts and
	// replays. Empty only on brokers that give a message no identity.
	IdempotencyKey string
	// Replay is the number of replays that the message went through.
	Replay int
}

// Header returns the first header with the name, exactly as spelt.
func (m *Message) Header(name string) ([]byte, bool) {
	for i := range m.Headers {
		if m.Headers[i].Name == name {
			return m.Headers[i].Value, true
		}
	}
	return nil, false
}

// Handler handles one message. A nil error means that the message is done. Any
// other error is classified: wrap it with a marker of package failure to say
// what it means. The context ends when the handler's time is over, when the
// worker's patience with a stop is over, or when the message may be with another
// worker; a handler should then return soon. Handlers run concurrently.
type Handler func(ctx context.Context, m *Message) error

// Validator checks a message before the handler sees it. An error makes the
// message a schema failure, unless it is marked otherwise. It must be safe for
// concurrent use.
type Validator interface {
	Validate(ctx context.Context, m *Message) error
}

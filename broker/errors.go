package broker

import (
	"errors"
	"fmt"
)

// Errors that callers decide on. Adapters wrap them with what happened and
// where.
var (
	// ErrUnknown: the broker did not say whether the operation took effect.
	ErrUnknown = errors.New("outcome unknown")
	// ErrLeaseLost: the delivery is no longer ours.
	ErrLeaseLost = errors.New("lease lost")
	// ErrUnroutable: there is no queue to take the message.
	ErrUnroutable = errors.New("unroutable")
	// ErrFull: the target takes no more messages.
	ErrFull = errors.New("queue full")
	// ErrGone: the message is no longer there.
	ErrGone = errors.New("message is gone")
	// ErrUnsupported: this broker cannot do that.
	ErrUnsupported = errors.New("not supported by this broker")
	// ErrClosed: the subscription or broker is closed.
	ErrClosed = errors.New("closed")
	// ErrSettled: the delivery was settled before.
	ErrSettled = errors.New("already settled")
)

// TooLargeError says that a copy is larger than the broker takes.
type TooLargeError struct {
	// Size is the size of the copy and Limit the largest one allowed, in bytes.
	Size, Limit int
}

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("message of %d bytes is larger than the broker's limit of %d", e.Size, e.Limit)
}

package failure

import "time"

// Mark states the category of an error, whatever rules and defaults would say.
// The text of the error stays as it is, and errors.Is and errors.As see through
// the marker. It returns nil for a nil error, and the error itself for None and
// for categories that do not exist.
//
// Markers combine: Quarantine(AsSchema(err)) sets a message aside under its
// category. Where two of them contradict each other, the outer one wins, because
// it was stated later and with more knowledge.
func Mark(c Category, err error) error {
	if err == nil || c == None || int(c) >= len(categoryNames) {
		return err
	}
	return &markedError{err: err, category: c}
}

// AsTransient marks a failure that may go away by itself: the message is
// retried. It returns nil for a nil error.
func AsTransient(err error) error { return Mark(Transient, err) }

// AsSchema marks a message that does not have the expected form. It is not
// retried. It returns nil for a nil error.
func AsSchema(err error) error { return Mark(Schema, err) }

// AsBusiness marks a message that a business rule refuses. It is not retried.
// It returns nil for a nil error.
func AsBusiness(err error) error { return Mark(Business, err) }

// AsIntegration marks a call to another system that failed for good. The
// message is not retried. It returns nil for a nil error.
func AsIntegration(err error) error { return Mark(Integration, err) }

// Permanent marks a failure that a retry of the same message cannot help. Its
// category is the permanent one that a marker, a rule or a default finds
// inside, such as Schema for a JSON syntax error; Business if there is none. It
// returns nil for a nil error.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &markedError{err: err, permanent: true}
}

// RetryAfter marks a Transient failure whose next attempt should wait for d at
// least. The attempt counts. A d of zero or less asks for no particular delay.
// It returns nil for a nil error.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &markedError{err: err, category: Transient, action: actionRetryAfter, delay: max(d, 0)}
}

// Throttled marks a Transient failure by which the downstream asks for less
// traffic, such as HTTP 429: it costs no attempt, and the whole subscription
// waits for d. With a d of zero or less it waits for as long as the breaker's
// recovery takes. It returns nil for a nil error.
func Throttled(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &markedError{err: err, category: Transient, action: actionThrottled, delay: max(d, 0)}
}

// Quarantine asks for the message to be set aside under the category of the
// error. It returns nil for a nil error.
func Quarantine(err error) error {
	if err == nil {
		return nil
	}
	return &markedError{err: err, action: actionQuarantine}
}

// Local marks a failure that says nothing about what the handler calls, such as
// a lock that is taken or a full disk of its own: a breaker does not count it.
// The category inside stays; an error that nothing else names becomes a
// classified Transient. It returns nil for a nil error.
func Local(err error) error {
	if err == nil {
		return nil
	}
	return &markedError{err: err, local: true}
}

// action is what a marker asks for beside a category.
type action uint8

const (
	actionNone action = iota
	actionRetryAfter
	actionThrottled
	actionQuarantine
)

// markedError carries what a marker states. It adds nothing to the text.
type markedError struct {
	err       error
	delay     time.Duration
	category  Category
	action    action
	permanent bool
	local     bool
}

// Error implements error.
func (e *markedError) Error() string { return e.err.Error() }

// Unwrap returns the error that was marked.
func (e *markedError) Unwrap() error { return e.err }

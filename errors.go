package redrive

import (
	"time"

	"github.com/redrive-dev/redrive/failure"
)

// Permanent says that a retry of the message cannot help. Its category is the
// permanent one that the error itself tells, such as schema for a JSON syntax
// error, else business. It returns nil for a nil error, like all markers here.
func Permanent(err error) error { return failure.Permanent(err) }

// Schema says that the message does not have the expected form.
func Schema(err error) error { return failure.AsSchema(err) }

// Business says that a business rule refuses the message.
func Business(err error) error { return failure.AsBusiness(err) }

// Integration says that a call to another system failed for good.
func Integration(err error) error { return failure.AsIntegration(err) }

// Transient says that the failure may go away by itself.
func Transient(err error) error { return failure.AsTransient(err) }

// RetryAfter says that the failure may go away, and not before d has passed.
func RetryAfter(d time.Duration, err error) error { return failure.RetryAfter(d, err) }

// Throttled says that the downstream asked for less traffic: the message loses
// no attempt, and the subscription waits for d, or for the breaker's recovery if
// d is zero.
func Throttled(d time.Duration, err error) error { return failure.Throttled(d, err) }

// Quarantine asks for the message to be set aside under the error's category.
func Quarantine(err error) error { return failure.Quarantine(err) }

// Local says that the failure may go away and has nothing to do with what the
// handler calls: it is retried, and the breaker does not count it.
func Local(err error) error { return failure.Local(err) }

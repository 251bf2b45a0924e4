// Package failure says what went wrong with a message: categories, the errors
// by which a handler states its verdict, the classifier for all other errors,
// and the signature that groups failures with one cause.
//
// # What a handler returns
//
// An error as it is, in most cases: [Classify] knows timeouts, connections that
// broke and JSON that does not parse, and retries what it does not know. A
// handler that knows better says so with a marker:
//
//	return failure.Permanent(err)          // a retry cannot help
//	return failure.AsSchema(err)           // the message does not have the expected form
//	return failure.AsBusiness(err)         // a business rule refuses it
//	return failure.AsIntegration(err)      // a call to another system failed for good
//	return failure.AsTransient(err)        // worth a retry
//	return failure.RetryAfter(d, err)      // worth a retry, not before d
//	return failure.Throttled(d, err)       // the downstream wants less: costs no attempt
//	return failure.Quarantine(err)         // set the message aside
//	return failure.Local(err)              // not the downstream's fault: the breaker does not count it
//
// Markers combine, wrap like any error, keep the text, and give nil for nil.
// Whoever cannot change a handler, or wants to teach the classifier the errors
// of a driver once and for all, gives it a [Rule].
//
// # What comes of it
//
// A [Failure]: the category, the type of the root cause rather than of a
// wrapper, a bounded text, and whether it speaks against the downstream. Schema,
// business and integration failures are dead-lettered at once. Transient ones
// are retried. A panic, as a [PanicError], is a crash: retried, then
// quarantined.
//
// # Signatures
//
// Two failures are the same failure if they have the same [Signature]: the same
// subscription, category, root cause and frame, and the same message once
// [Normalise] has taken out what differs from one message to the next.
//
// Everything here is a function of its arguments and safe for concurrent use.
package failure

package failure

import "time"

// Failure is a classified error: what [Classify] makes of what a handler
// returned. It is a value, safe to copy and to keep.
type Failure struct {
	// Err is the error as the handler returned it.
	Err error
	// Type is the type of the root cause, never of a wrapper, such as
	// "*json.SyntaxError" or "syscall.ECONNREFUSED".
	Type string
	// Message is the text of the error, at most MaxMessage bytes of valid UTF-8.
	Message string
	// Stack is the goroutine's stack where the handler panicked, at most
	// MaxStack bytes; empty otherwise.
	Stack string
	// Frame is the innermost frame of the panic outside the runtime,
	// "package.function"; empty if unknown.
	Frame string
	// RetryAfter is the delay that the handler asked for, zero if none.
	RetryAfter time.Duration
	// Category decides what happens to the message.
	Category Category
	// Unclassified marks a Transient that no rule and no marker named: it is
	// retried like one, and shown as one that somebody should classify.
	Unclassified bool
	// Downstream says that the failure speaks against what the handler calls,
	// not against the message: a breaker counts it. Timeouts, transient and
	// unclassified failures are downstream unless marked with Local; schema,
	// business, integration and crash failures never are.
	Downstream bool
	// Throttled says that the downstream asked for less traffic: the failure
	// costs no attempt, and the whole subscription waits for RetryAfter.
	Throttled bool
	// Quarantine says that the handler asked for the message to be set aside.
	Quarantine bool
	// Timeout says that the handler ran out of its time. Classify leaves it to
	// the caller of the handler, the only one who knows.
	Timeout bool
}

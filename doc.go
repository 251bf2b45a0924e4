// Package redrive makes failed messages safe: wrap a handler, and every message
// it is given ends handled, waiting for a retry, in the dead-letter queue or in
// quarantine. Never nowhere.
//
// # Start here
//
// Connect to a broker with an adapter, such as redrivenats, make a [Worker] with
// [NewWorker] and call [Worker.Run]:
//
//	b, err := redrivenats.Connect(ctx, redrivenats.Config{URL: url})
//	...
//	w, err := redrive.NewWorker(b, handle, redrive.Config{Source: "orders"})
//	...
//	return w.Run(ctx)
//
// A handler returns nil when the message is done, and an error otherwise. Say
// what the error means with [Permanent], [Schema], [Business], [Integration],
// [Transient], [RetryAfter], [Throttled], [Quarantine] or [Local]; what nobody
// marks is classified by its cause. [JSON] decodes the body first.
//
// # What is promised
//
// A message leaves a place only when the copy elsewhere is durable and
// confirmed. A crash at any instruction loses nothing; it may repeat a message.
// For effects that must happen once, give the worker an inbox (package
// idempotency, and sqlinbox to commit it with the effect).
//
// An outage is not poison. When the breaker opens, the worker stops taking
// messages and holds what it has: that costs no attempt, and nothing is
// dead-lettered because a downstream was away.
//
// # Without a broker
//
// [Retrier] retries a call in place, and [Execute] makes one behind a breaker.
//
// # Compatibility
//
// Until version 1 the Go API may change between minor versions, and each change
// is an entry in the changelog. The header that travels with messages is
// versioned by itself: what was written by any release is read by all later
// ones.
package redrive

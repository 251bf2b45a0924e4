// Package idempotencytest is the conformance suite for implementations of
// [idempotency.Store]: what [Run] accepts, a worker can rely on.
//
// It needs nothing but the standard library. Time is a [Clock] that the store
// is given, so that leases end without waiting.
package idempotencytest

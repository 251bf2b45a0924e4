// Package idempotency keeps a message from taking effect twice: it derives the
// three identities of a message, and defines the inbox, the store that remembers
// which messages a consumer has handled.
//
// # What it promises
//
// Brokers deliver at least once, and redrive moves messages at least once. With
// an inbox, each message takes effect once per subscription, for as long as the
// inbox keeps its key, if the effect and the completion of the claim commit
// together: in one database transaction (package sqlinbox), or at an endpoint
// that honours the key. An effect outside of that can happen again after a crash
// between the effect and the completion.
//
// # The three identities
//
// The idempotency key ([Key]) names a message and never changes: not by a retry,
// a dead-lettering, a restart or a replay. The incarnation ([CopyIncarnation])
// names one stored copy; the origin ([Origin]) what all copies of one stored message
// have in common. The publish id ([DeadPublishID], [ReplayPublishID],
// [PublishID]) names one intended publication and is fixed before its first byte
// is sent. They are never used for one another: a broker that dropped a replay
// because it has seen the message's key would lose a message.
//
// All of them are printable ASCII, so that they pass through headers of every
// broker and HTTP. Each function is injective: different arguments give
// different results, or, where the result is a digest, different inputs to
// SHA-256.
//
// # The inbox
//
// A worker claims the key before it runs the handler ([Store]). The claim has a
// lease, so that a dead worker does not block the message for ever, and a token,
// so that a worker that was only slow cannot complete what another one has taken
// over ([ErrFenced]). After success the claim is completed; after a failure it
// is released, which forgets it, because a failed attempt must not look like a
// duplicate. A handler finds its claim with [ClaimFrom].
//
// [Memory] is a store for one process. Implementations of Store run the suite in
// package idempotencytest.
package idempotency

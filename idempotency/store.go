package idempotency

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Store is an inbox: it remembers which keys a consumer group has handled.
// Implementations are safe for concurrent use, by any number of processes if
// they share storage. An error means that the state is unknown and the message
// must be held.
type Store interface {
	// Claim takes the key for the group until the lease ends, in one atomic step.
	// A claim whose lease has ended is taken over with a higher token. The
	// fingerprint is the digest of the message's body.
	Claim(ctx context.Context, key, group, fingerprint string, lease time.Duration) (Result, error)
	// Complete records that the message took effect. ErrFenced if the claim is no
	// longer current; completing again with the same claim is no error. A claim
	// whose lease has ended can be completed until another one takes it over.
	Complete(ctx context.Context, c Claim) error
	// Release forgets the claim with its fingerprint, so that the next delivery
	// starts afresh. It is no error if the claim is completed, taken over or gone,
	// and then it has no effect.
	Release(ctx context.Context, c Claim) error
}

// Extender is a Store whose leases can be extended while a handler runs.
type Extender interface {
	// Extend makes the lease of a claim end after lease from now. ErrFenced if the
	// claim is no longer current, or completed.
	Extend(ctx context.Context, c Claim, lease time.Duration) error
}

// Claim is the right to handle one message. It is a value, safe to copy.
type Claim struct {
	// Key and Group name what is claimed.
	Key, Group string
	// Fingerprint is the digest of the body it was claimed with.
	Fingerprint string
	// Token grows with each claim of the same key and group, so that an older
	// claim is recognised.
	Token int64
	// Until is the end of the lease as it was given. Extend does not change it.
	Until time.Time
}

// State is the answer to a claim.
type State uint8

const (
	// Claimed: the claim is ours; handle the message.
	Claimed State = iota + 1
	// Done: this message was handled; settle it.
	Done
	// Conflict: a message with this key and another body was handled.
	Conflict
	// Busy: somebody else holds the claim; come back after BusyUntil.
	Busy
)

// String returns "claimed", "done", "conflict" or "busy".
func (s State) String() string {
	switch s {
	case Claimed:
		return "claimed"
	case Done:
		return "done"
	case Conflict:
		return "conflict"
	case Busy:
		return "busy"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Result is what Claim found.
type Result struct {
	// State decides what to do.
	State State
	// Claim is ours if State is Claimed, else zero.
	Claim Claim
	// BusyUntil is the end of the other lease if State is Busy, else zero.
	BusyUntil time.Time
}

// Errors that callers decide on.
var (
	// ErrFenced: the claim was taken over, released or forgotten. Whoever holds it
	// now decides; the effect of this one must not be committed.
	ErrFenced = errors.New("claim is no longer current")
	// ErrNoClaim: the context carries no claim.
	ErrNoClaim = errors.New("no claim in the context: the message is not handled under an inbox")
	// ErrFull: the store takes no more claims.
	ErrFull = errors.New("inbox is full")
)

// MaxGroup is the length of the longest group that a Store takes, in bytes.
const MaxGroup = 1024

// CheckClaim reports what is wrong with the arguments of a claim, all at once,
// nil if nothing is. Every Store refuses what it refuses: an empty key or one
// over MaxKey bytes, a group over MaxGroup bytes, a lease that is not positive.
func CheckClaim(key, group string, lease time.Duration) error {
	var problems []error
	if key == "" {
		problems = append(problems, errors.New("key: empty"))
	}
	if len(key) > MaxKey {
		problems = append(problems, fmt.Errorf("key: %d bytes, the most is %d", len(key), MaxKey))
	}
	if len(group) > MaxGroup {
		problems = append(problems, fmt.Errorf("group: %d bytes, the most is %d", len(group), MaxGroup))
	}
	if lease <= 0 {
		problems = append(problems, fmt.Errorf("lease: %v, want more than 0", lease))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("invalid claim: %w", err)
	}
	return nil
}

// claimKey is the context key of a claim.
type claimKey struct{}

// WithClaim returns a context that carries the claim of the message that is
// being handled.
func WithClaim(ctx context.Context, c Claim) context.Context {
	return context.WithValue(ctx, claimKey{}, c)
}

// ClaimFrom returns the claim of the message that is being handled; ok is false
// if there is none.
func ClaimFrom(ctx context.Context) (c Claim, ok bool) {
	c, ok = ctx.Value(claimKey{}).(Claim)
	return c, ok
}

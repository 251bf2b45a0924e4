package redrive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/retry"
)

// Retrier retries a call in place, for callers that are not behind a broker: a
// request handler, a job, a command. Behind a broker let the Worker retry: a
// message that waits in its retry queue blocks nobody and survives a restart.
// Make it with NewRetrier. It is safe for concurrent use, and calls that share a
// Retrier share its breaker and budget.
type Retrier struct {
	policy  retry.Policy
	budget  *retry.Budget
	breaker *breaker.Breaker
	rules   []failure.Rule
}

// RetrierConfig configures a Retrier.
type RetrierConfig struct {
	// Policy says how often and how late a call is tried again.
	Policy retry.Policy
	// Breaker stops calls while what they call is ill. Default: none.
	Breaker *breaker.Breaker
	// Budget bounds the retries of all calls together. Default: none.
	Budget *retry.Budget
	// Rules classify errors before the default rules do.
	Rules []failure.Rule
}

// NewRetrier makes a Retrier, and reports every problem of the configuration at
// once.
func NewRetrier(c RetrierConfig) (*Retrier, error) {
	p := c.Policy.WithDefaults()
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("retrier: %w", err)
	}
	return &Retrier{policy: p, budget: c.Budget, breaker: c.Breaker, rules: c.Rules}, nil
}

// DoResult says how a call went.
type DoResult struct {
	// Attempts is how often the call was made: 0 if the breaker refused the first.
	Attempts int
	// Duration is the time from the first attempt to the end, waits included.
	Duration time.Duration
	// Err is the error of the last attempt, joined with why there was no further
	// one if that was not the policy; nil after a success.
	Err error
	// Stopped says that the breaker refused a further attempt.
	Stopped bool
}

// Do calls fn until it succeeds, fails for good, or may not be tried again: the
// attempts are used up, the breaker refuses, or the context would end before the
// next attempt. A delay that fn asks for with RetryAfter is honoured up to the
// policy's limit. Each attempt counts for the breaker by itself. A panic of fn is
// not recovered.
func (r *Retrier) Do(ctx context.Context, fn func(ctx context.Context) error) DoResult {
	start := time.Now()
	var (
		res   DoResult
		delay = r.policy.Strategy.Base
	)
	for now := start; ; now = time.Now() {
		err, refused := r.try(ctx, now, fn)
		if refused {
			res.Stopped = true
			res.Err = errors.Join(res.Err, err)
			break
		}
		res.Attempts++
		res.Err = err
		if err == nil {
			break
		}
		f := failure.Classify(err, r.rules...)
		if f.Category.Permanent() || f.Quarantine || res.Attempts >= r.policy.Attempts || ctx.Err() != nil {
			break
		}
		delay = r.policy.Delay(res.Attempts, f.Category, delay, f.RetryAfter, global{})
		wait := delay
		if r.budget != nil {
			wait = max(wait, r.budget.Reserve(time.Now()))
		}
		if err := sleep(ctx, wait); err != nil {
			res.Err = errors.Join(res.Err, err)
			break
		}
	}
	res.Duration = time.Since(start)
	return res
}

// try makes one attempt behind the breaker.
func (r *Retrier) try(ctx context.Context, now time.Time, fn func(ctx context.Context) error) (err error, refused bool) {
	if r.breaker == nil {
		if r.budget != nil {
			r.budget.Attempt(now)
		}
		return fn(ctx), false
	}
	permit, err := r.breaker.Allow(now)
	if err != nil {
		return err, true
	}
	if r.budget != nil {
		r.budget.Attempt(now)
	}
	outcome := breaker.Ignored
	defer func() { r.breaker.Report(time.Now(), permit, outcome) }() // a panic gives the permit back
	err = fn(ctx)
	outcome = r.outcome(ctx, err)
	return err, false
}

func (r *Retrier) outcome(ctx context.Context, err error) breaker.Outcome {
	switch {
	case err == nil:
		return breaker.Success
	case errors.Is(ctx.Err(), context.Canceled):
		return breaker.Ignored
	}
	if f := failure.Classify(err, r.rules...); f.Downstream {
		return breaker.Failure
	}
	return breaker.Ignored
}

// sleep waits, or says at once that the context will end before.
func sleep(ctx context.Context, d time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return fmt.Errorf("no time for another attempt in %s: %w", d, context.DeadlineExceeded)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// global is the process's own source of randomness.
type global struct{}

func (global) Int64N(n int64) int64 { return rand.Int64N(n) } //nolint:gosec // jitter, not a secret
func (global) Float64() float64     { return rand.Float64() } //nolint:gosec // jitter, not a secret

// Execution is what came of a call behind a breaker.
type Execution[T any] struct {
	// Value is what the call returned.
	Value T
	// Err is its error, or a *breaker.OpenError if Rejected.
	Err error
	// Rejected says that the call was not made.
	Rejected bool
	// State is the breaker's state afterwards.
	State breaker.State
}

// Execute makes one call behind a breaker: at once if the breaker is closed, as a
// probe if its time has come, else not at all. Errors that do not speak against
// what is called, such as schema failures, do not count. A panic of fn gives the
// permit back and goes on. It is safe for concurrent use.
func Execute[T any](ctx context.Context, b *breaker.Breaker, fn func(ctx context.Context) (T, error)) (x Execution[T]) {
	permit, err := b.Allow(time.Now())
	if err != nil {
		x.Err, x.Rejected, x.State = err, true, b.State(time.Now())
		return x
	}
	outcome := breaker.Ignored
	defer func() {
		b.Report(time.Now(), permit, outcome)
		x.State = b.State(time.Now())
	}()
	x.Value, x.Err = fn(ctx)
	outcome = (&Retrier{}).outcome(ctx, x.Err)
	return x
}

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
	made    time.Time
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
	return &Retrier{policy: p, budget: c.Budget, breaker: c.Breaker, rules: c.Rules, made: time.Now()}, nil
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
	start := r.clock()
	if r.budget != nil {
		r.budget.Attempt(r.time(start))
	}
	var (
		res   DoResult
		f     failure.Failure
		delay = r.policy.Strategy.Base
	)
	for now := start; ; now = r.clock() {
		end, refused, err := r.try(ctx, now, fn, &f)
		res.Duration = end - start
		if refused {
			res.Stopped = true
			res.Err = errors.Join(res.Err, err)
			return res
		}
		res.Attempts++
		res.Err = err
		if err == nil || f.Category.Permanent() || f.Quarantine || res.Attempts >= r.policy.Attempts || ctx.Err() != nil {
			return res
		}
		delay = r.policy.Delay(res.Attempts, f.Category, delay, f.RetryAfter, global{})
		wait := delay
		if r.budget != nil {
			wait = max(wait, r.budget.Reserve(r.time(end)))
		}
		if err := sleep(ctx, wait); err != nil {
			res.Err = errors.Join(res.Err, err)
			res.Duration = r.clock() - start
			return res
		}
	}
}

// try makes one attempt behind the breaker. It returns when the attempt ended, and
// fills in f if it failed.
func (r *Retrier) try(ctx context.Context, now time.Duration, fn func(ctx context.Context) error, f *failure.Failure) (end time.Duration, refused bool, err error) {
	if r.breaker == nil {
		if err = fn(ctx); err != nil {
			*f = failure.Classify(err, r.rules...)
		}
		return r.clock(), false, err
	}
	permit, ok := r.breaker.AllowClosed()
	if !ok {
		if permit, err = r.breaker.Allow(r.time(now)); err != nil {
			return now, true, err
		}
	}
	outcome := breaker.Ignored
	defer func() { // a panic gives the permit back
		end = r.clock()
		r.breaker.Report(r.time(end), permit, outcome)
	}()
	if err = fn(ctx); err == nil {
		outcome = breaker.Success
		return end, false, nil
	}
	*f = failure.Classify(err, r.rules...)
	outcome = blame(ctx, f)
	return end, false, err
}

// clock returns the time since the Retrier was made: a reading of the monotonic
// clock alone, at half the cost of time.Now.
func (r *Retrier) clock() time.Duration { return time.Since(r.made) }

// time makes a time of a reading. It may go astray from the clock on the wall, and
// is only compared with others.
func (r *Retrier) time(at time.Duration) time.Time { return r.made.Add(at) }

// blame says what a failed call means for the breaker in front of it.
func blame(ctx context.Context, f *failure.Failure) breaker.Outcome {
	if f.Downstream && !errors.Is(ctx.Err(), context.Canceled) {
		return breaker.Failure
	}
	return breaker.Ignored
}

// sleep waits, or says at once that the context will end before.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
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
	permit, ok := b.AllowClosed()
	if !ok {
		if permit, x.Err = b.Allow(time.Now()); x.Err != nil {
			x.Rejected, x.State = true, b.State(time.Time{})
			return x
		}
	}
	outcome := breaker.Ignored
	defer func() {
		now := time.Now()
		b.Report(now, permit, outcome)
		x.State = b.State(now)
	}()
	if x.Value, x.Err = fn(ctx); x.Err == nil {
		outcome = breaker.Success
		return x
	}
	f := failure.Classify(x.Err)
	outcome = blame(ctx, &f)
	return x
}

package redrive_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/retry"
)

func retrier(t *testing.T, c redrive.RetrierConfig) *redrive.Retrier {
	t.Helper()
	r, err := redrive.NewRetrier(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func fixed(attempts int, d time.Duration) retry.Policy {
	return retry.Policy{Attempts: attempts, Strategy: retry.Strategy{Backoff: retry.Fixed, Jitter: retry.NoJitter, Base: d}}
}

func newBreaker(t *testing.T, c breaker.Config) *breaker.Breaker {
	t.Helper()
	b, err := breaker.New(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDoReportsTrueFigures(t *testing.T) {
	down := io.ErrUnexpectedEOF
	cases := []struct {
		name     string
		policy   retry.Policy
		errs     []error
		attempts int
		took     time.Duration
		err      error
	}{
		{"first try", fixed(5, time.Second), nil, 1, 0, nil},
		{"third try", fixed(5, time.Second), []error{down, down}, 3, 2 * time.Second, nil},
		{"used up", fixed(3, time.Second), always(down), 3, 2 * time.Second, down},
		{"permanent at once", fixed(5, time.Second), always(redrive.Business(down)), 1, 0, down},
		{"asked for a delay", fixed(5, time.Second), []error{redrive.RetryAfter(7*time.Second, down)}, 2, 7 * time.Second, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := retrier(t, redrive.RetrierConfig{Policy: c.policy})
				n := 0
				res := r.Do(t.Context(), func(context.Context) error {
					n++
					if n <= len(c.errs) {
						return c.errs[n-1]
					}
					return nil
				})
				if res.Attempts != c.attempts || n != c.attempts || res.Duration != c.took || !errors.Is(res.Err, c.err) || res.Stopped {
					t.Errorf("got %+v after %d calls, want %d attempts in %s and %v", res, n, c.attempts, c.took, c.err)
				}
			})
		})
	}
}

func TestDoStopsAtTheBreakerAndKeepsTheLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, breaker.Config{Consecutive: 2})
		r := retrier(t, redrive.RetrierConfig{Policy: fixed(10, time.Millisecond), Breaker: b})
		res := r.Do(t.Context(), func(context.Context) error { return io.ErrUnexpectedEOF })
		if res.Attempts != 2 || !res.Stopped || !errors.Is(res.Err, io.ErrUnexpectedEOF) || !errors.Is(res.Err, breaker.ErrOpen) {
			t.Errorf("got %+v", res)
		}
		res = r.Do(t.Context(), func(context.Context) error { t.Error("called while open"); return nil })
		if res.Attempts != 0 || !res.Stopped {
			t.Errorf("got %+v", res)
		}
	})
}

func TestDoDoesNotWaitPastTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r := retrier(t, redrive.RetrierConfig{Policy: fixed(5, 3*time.Second)})
		res := r.Do(ctx, func(context.Context) error { return io.ErrUnexpectedEOF })
		if res.Attempts != 2 || res.Duration != 3*time.Second || !errors.Is(res.Err, context.DeadlineExceeded) || !errors.Is(res.Err, io.ErrUnexpectedEOF) {
			t.Errorf("got %+v", res)
		}
	})
}

func TestDoEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := retrier(t, redrive.RetrierConfig{Policy: fixed(5, time.Hour)})
		go func() { <-time.After(time.Second); cancel() }()
		res := r.Do(ctx, func(context.Context) error { return io.ErrUnexpectedEOF })
		if res.Attempts != 1 || res.Duration != time.Second || !errors.Is(res.Err, context.Canceled) {
			t.Errorf("got %+v", res)
		}
	})
}

func TestDoKeepsItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget, err := retry.NewBudget(retry.BudgetConfig{Ratio: 0.1, Floor: 1, Burst: 1})
		if err != nil {
			t.Fatal(err)
		}
		r := retrier(t, redrive.RetrierConfig{Policy: fixed(4, time.Millisecond), Budget: budget})
		res := r.Do(t.Context(), func(context.Context) error { return io.ErrUnexpectedEOF })
		if res.Attempts != 4 || res.Duration < 1500*time.Millisecond {
			t.Errorf("three retries in %s at one a second after a burst of one: %+v", res.Duration, res)
		}
	})
}

// Only what comes in anew pays into the budget: retries that did would let a
// storm of them feed itself.
func TestDoPaysIntoTheBudgetOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget, err := retry.NewBudget(retry.BudgetConfig{Ratio: 1, Floor: 1, Burst: 3})
		if err != nil {
			t.Fatal(err)
		}
		r := retrier(t, redrive.RetrierConfig{Policy: retry.Policy{Attempts: 6, Strategy: retry.Strategy{Backoff: retry.Immediate}}, Budget: budget})
		res := r.Do(t.Context(), func(context.Context) error { return io.ErrUnexpectedEOF })
		if res.Attempts != 6 || res.Duration != time.Second {
			t.Errorf("five retries from one deposit, a full bucket of three and one token a second took %s: %+v", res.Duration, res)
		}
	})
}

func TestDoValidates(t *testing.T) {
	if _, err := redrive.NewRetrier(redrive.RetrierConfig{Policy: retry.Policy{Attempts: -1}}); err == nil {
		t.Error("accepted")
	}
}

func TestExecute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, breaker.Config{Consecutive: 1, Recovery: time.Second, RecoveryMax: time.Second, Successes: 1})
		ok := func(context.Context) (int, error) { return 7, nil }
		if x := redrive.Execute(t.Context(), b, ok); x.Value != 7 || x.Err != nil || x.Rejected || x.State != breaker.Closed {
			t.Errorf("success: %+v", x)
		}
		schema := redrive.Execute(t.Context(), b, func(context.Context) (int, error) { return 0, redrive.Schema(io.EOF) })
		if schema.Err == nil || schema.State != breaker.Closed {
			t.Errorf("a schema failure opened the breaker: %+v", schema)
		}
		down := redrive.Execute(t.Context(), b, func(context.Context) (int, error) { return 0, io.ErrUnexpectedEOF })
		if down.State != breaker.Open || down.Rejected {
			t.Errorf("failure: %+v", down)
		}
		if x := redrive.Execute(t.Context(), b, ok); !x.Rejected || !errors.Is(x.Err, breaker.ErrOpen) {
			t.Errorf("open: %+v", x)
		}
		<-time.After(time.Second)
		if x := redrive.Execute(t.Context(), b, ok); x.Value != 7 || x.State != breaker.Closed {
			t.Errorf("probe: %+v", x)
		}
		func() {
			defer func() { _ = recover() }()
			redrive.Execute(t.Context(), b, func(context.Context) (int, error) { panic("x") })
		}()
		if got := b.Snapshot(time.Now()).ProbesOut; got != 0 {
			t.Errorf("a panic kept %d permits", got)
		}
	})
}

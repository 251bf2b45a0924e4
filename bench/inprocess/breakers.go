package inprocess

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	mercari "github.com/mercari/go-circuitbreaker"
	"github.com/sony/gobreaker/v2"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/bench/rounds"
	"github.com/redrive-dev/redrive/breaker"
)

// group is the part of the page.
const group = "In one process"

// maker makes a fresh instance and a loop over it.
type maker func(ctx context.Context) (loop, error)

// contender is a library and how it is called.
type contender struct {
	name string
	make maker
}

// Names of subjects that targets refer to.
const (
	redriveName   = "redrive"
	gobreakerName = "gobreaker"
	failsafeName  = "failsafe-go, count window"
	nestedName    = "cenkalti/backoff + gobreaker"
	composedName  = "failsafe-go"
)

func call() (int, error) { return 1, nil }

func callContext(context.Context) (int, error) { return 1, nil }

func callOnly(context.Context) error { return nil }

func breakers() []contender {
	return []contender{
		{redriveName, func(ctx context.Context) (loop, error) {
			b, err := breaker.New(breaker.Config{}, 1)
			return func(n int) error {
				for range n {
					if err := redrive.Execute(ctx, b, callContext).Err; err != nil {
						return err
					}
				}
				return nil
			}, err
		}},
		{"redrive, Allow and Report with the caller's clock", func(context.Context) (loop, error) {
			b, err := breaker.New(breaker.Config{}, 1)
			now := time.Now()
			return func(n int) error {
				for range n {
					p, err := b.Allow(now)
					if err != nil {
						return err
					}
					_, err = call()
					if err != nil {
						return err
					}
					b.Report(now, p, breaker.Success)
				}
				return nil
			}, err
		}},
		{gobreakerName, func(context.Context) (loop, error) {
			return gobreakerLoop(gobreaker.Settings{}), nil
		}},
		{"gobreaker, rolling window", func(context.Context) (loop, error) {
			return gobreakerLoop(gobreaker.Settings{Interval: 10 * time.Second, BucketPeriod: time.Second}), nil
		}},
		{failsafeName, func(context.Context) (loop, error) {
			return failsafeLoop(circuitbreaker.NewBuilder[any]().WithFailureThreshold(5).Build()), nil
		}},
		{"failsafe-go, time window", func(context.Context) (loop, error) {
			return failsafeLoop(timeWindow()), nil
		}},
		{"mercari/go-circuitbreaker", func(ctx context.Context) (loop, error) {
			cb := mercari.New(mercari.WithTripFunc(mercari.NewTripFuncConsecutiveFailures(5)))
			return func(n int) error {
				for range n {
					_, err := cb.Do(ctx, func() (any, error) { return nil, nil }) //nolint:nilnil // the call has no result
					if err != nil {
						return err
					}
				}
				return nil
			}, nil
		}},
	}
}

func gobreakerLoop(s gobreaker.Settings) loop {
	cb := gobreaker.NewCircuitBreaker[int](s)
	return func(n int) error {
		for range n {
			_, err := cb.Execute(call)
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func timeWindow() circuitbreaker.CircuitBreaker[any] {
	return circuitbreaker.NewBuilder[any]().WithFailureRateThreshold(0.5, 20, 10*time.Second).Build()
}

func failsafeLoop(policies ...failsafe.Policy[any]) loop {
	e := failsafe.With(policies...)
	return func(n int) error {
		for range n {
			if err := e.Run(func() error { return nil }); err != nil {
				return err
			}
		}
		return nil
	}
}

func composed() []contender {
	return []contender{
		{redriveName, func(ctx context.Context) (loop, error) {
			b, err := breaker.New(breaker.Config{}, 1)
			if err != nil {
				return nil, err
			}
			r, err := redrive.NewRetrier(redrive.RetrierConfig{Breaker: b})
			return func(n int) error {
				for range n {
					if err := r.Do(ctx, callOnly).Err; err != nil {
						return err
					}
				}
				return nil
			}, err
		}},
		{nestedName, func(ctx context.Context) (loop, error) {
			cb := gobreaker.NewCircuitBreaker[int](gobreaker.Settings{})
			return func(n int) error {
				for range n {
					_, err := backoff.Retry(ctx, func() (int, error) { return cb.Execute(call) }, backoff.WithMaxTries(5))
					if err != nil {
						return err
					}
				}
				return nil
			}, nil
		}},
		{composedName, func(context.Context) (loop, error) {
			retries := retrypolicy.NewBuilder[any]().WithMaxAttempts(5).WithBackoff(100*time.Millisecond, 30*time.Second).Build()
			return failsafeLoop(retries, timeWindow()), nil
		}},
	}
}

// subjects makes a subject of each contender, with one goroutine or with several
// that share the instance.
func (t timer) subjects(all []contender, several bool) []rounds.Subject {
	out := make([]rounds.Subject, len(all))
	for i, c := range all {
		out[i] = rounds.Subject{Name: c.name, Measure: func(ctx context.Context) (rounds.Sample, error) {
			return t.loop(func() (loop, error) {
				body, err := c.make(ctx)
				if several {
					body = shared(body)
				}
				return body, err
			})(ctx)
		}}
	}
	return out
}

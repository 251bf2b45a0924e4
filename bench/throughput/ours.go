package throughput

import (
	"context"
	"errors"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/redrivenats"
	"github.com/redrive-dev/redrive/retry"
)

// redriveWorker is the library's worker with the whole policy.
func redriveWorker() contender {
	return contender{name: redriveName, prepare: prepareRedrive, consume: consumeRedrive}
}

// budgetRatio is the budget of retries where every tenth message fails.
const budgetRatio = 0.5

// policy is the default one with the delays of all contenders, and two changes.
// Every tenth message failing for good makes 0.3 retries of each first attempt; the
// default budget of 0.2 is there to slow such a thing down. With four runs for each
// of these, one run in three fails, so that five failures in a row come by
// chance: the rule that opens the breaker then is off, the rule about the rate of
// failures is on.
func policy(l load) redrive.Policy {
	p := redrive.Policy{
		Retry: retry.Policy{Attempts: attempts, Strategy: retry.Strategy{
			Backoff: retry.Exponential, Jitter: retry.NoJitter, Base: firstDelay, Max: lastDelay, Multiplier: 2,
		}},
		Breaker: breaker.Config{Consecutive: -1},
	}
	if l.failing*tenth >= l.total {
		p.Budget = retry.BudgetConfig{Ratio: budgetRatio}
	}
	return p
}

const tenth = 10

func consumeRedrive(ctx context.Context, s *site, handle func([]byte) error, l load) error {
	adapter, err := redrivenats.New(ctx, s.nc, redrivenats.Config{})
	if err != nil {
		return err
	}
	w, err := redrive.NewWorker(adapter, func(_ context.Context, m *redrive.Message) error { return handle(m.Body) }, redrive.Config{
		Source: queue, Policy: policy(l), Concurrency: handlers, MaxInFlight: window, Lease: lease,
	})
	if err != nil {
		return err
	}
	return errors.Join(w.Run(ctx), adapter.Close(context.WithoutCancel(ctx)))
}

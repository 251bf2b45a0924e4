package brokers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/bench/rounds"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/retry"
)

// errFailing is what a handler returns for a message that always fails.
var errFailing = errors.New("charge order: the warehouse answers 500")

// witness tells a tally of what the broker has confirmed, and keeps when retries were
// announced.
type witness struct {
	broker.Broker
	t *tally

	mu  sync.Mutex
	due map[int]time.Time
}

func (w *witness) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	sub, err := w.Broker.Open(ctx, spec)
	return witnessed{sub, w}, err
}

type witnessed struct {
	broker.Subscription
	w *witness
}

func (s witnessed) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	got, err := s.Subscription.Receive(ctx, limit)
	for i, d := range got {
		got[i] = &delivery{d, s.w}
	}
	return got, err
}

type delivery struct {
	broker.Delivery
	w *witness
}

func (d *delivery) Settle(ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
	receipt, err := d.Delivery.Settle(ctx, o)
	d.w.settled(d, o, receipt, err)
	return receipt, err
}

// SettleAsync is there if the adapter's own delivery has it.
func (d *delivery) SettleAsync(ctx context.Context, o broker.Outcome, done func(broker.Receipt, error)) bool {
	inner, ok := d.Delivery.(broker.AsyncDelivery)
	return ok && inner.SettleAsync(ctx, o, func(receipt broker.Receipt, err error) {
		d.w.settled(d, o, receipt, err)
		done(receipt, err)
	})
}

func (w *witness) settled(d *delivery, o broker.Outcome, receipt broker.Receipt, err error) {
	if err != nil {
		return
	}
	switch o := o.(type) {
	case broker.Done, broker.Dead:
		w.t.settle(1)
	case broker.Retry:
		if w.due == nil {
			return
		}
		due := o.At
		if receipt.Due.After(due) {
			due = receipt.Due
		}
		if i, _, err := read(d.Msg().Body); err == nil {
			w.mu.Lock()
			w.due[i] = due
			w.mu.Unlock()
		}
	}
}

// worker is the library's worker with the whole policy.
func worker(b broker.Broker, queue string, policy redrive.Policy, handle redrive.Handler) (*redrive.Worker, error) {
	return redrive.NewWorker(b, handle, redrive.Config{
		Source: queue, Policy: policy, Concurrency: handlers, MaxInFlight: window, Lease: lease,
	})
}

// consumeOurs settles with redrive.
func consumeOurs(ctx context.Context, at *site, dead bool, t *tally) error {
	w, err := worker(&witness{Broker: at.b, t: t}, at.queue, redrive.Policy{}, func(_ context.Context, m *redrive.Message) error {
		t.handle(m.Body)
		if dead {
			return failure.Permanent(errFailing)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// latency measures how long healthy messages wait for their handler, while they arrive
// at a steady rate and some others fail.
func (s *system) latency(q *queues, total, percent int) func(context.Context) (rounds.Sample, error) {
	return func(ctx context.Context) (_ rounds.Sample, err error) {
		ctx, cancel := context.WithTimeoutCause(ctx, longest, errUnfinished)
		defer cancel()
		at, err := s.open(ctx, q)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, at.close(ctx)) }()
		fails := func(i int) bool { return percent > 0 && i%(100/percent) == 0 }
		var mu sync.Mutex
		waits, seen, healthy := []time.Duration(nil), map[int]bool{}, 0
		for i := range total {
			if !fails(i) {
				healthy++
			}
		}
		all, ready := make(chan struct{}), make(chan struct{})
		policy := redrive.Policy{
			Retry:   retry.Policy{Attempts: 4, Strategy: retry.Strategy{Jitter: retry.NoJitter, Base: 10 * time.Millisecond, Max: 40 * time.Millisecond}},
			Breaker: breaker.Config{Consecutive: -1},
		}
		w, err := worker(at.b, at.queue, policy, func(_ context.Context, m *redrive.Message) error {
			now := time.Now()
			i, when, err := read(m.Body)
			if i == firstMessage {
				close(ready)
				return err
			}
			if err != nil || fails(i) {
				return errors.Join(err, errFailing)
			}
			mu.Lock()
			defer mu.Unlock()
			if seen[i] {
				return nil
			}
			seen[i] = true
			if i >= total/5 {
				waits = append(waits, now.Sub(when))
			}
			if len(seen) == healthy {
				close(all)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if err := at.whileRunning(ctx, w, func(ctx context.Context) error {
			if err := errors.Join(at.b.Publish(ctx, []broker.Outbound{at.message(firstMessage, time.Now())})...); err != nil {
				return err
			}
			if err := until(ctx, ready); err != nil {
				return err
			}
			if err := at.arrive(ctx, total, s.arrival); err != nil {
				return err
			}
			return until(ctx, all)
		}); err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		return rounds.Sample{rounds.P50: percentile(waits, 0.5), rounds.P99: percentile(waits, 0.99)}, nil
	}
}

// firstMessage is the number of the message that shows that the worker is there.
const firstMessage = -1

func until(ctx context.Context, happened <-chan struct{}) error {
	select {
	case <-happened:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// whileRunning does something while a worker runs, and stops it.
func (at *site) whileRunning(ctx context.Context, w *redrive.Worker, do func(context.Context) error) error {
	run, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(run); stop() }()
	err := do(run)
	stop()
	if runErr := <-ended; runErr != nil {
		err = errors.Join(err, fmt.Errorf("the worker: %w", runErr))
	}
	return err
}

// publishers publish at once while messages arrive.
const publishers = 32

// arrive publishes at a steady rate. Each message carries the moment at which it was
// due, so that a publisher that is held up does not hide what it waited for.
func (at *site) arrive(ctx context.Context, total int, every time.Duration) error {
	due := make(chan broker.Outbound, total)
	errs := make(chan error, publishers)
	var publishing sync.WaitGroup
	for range publishers {
		publishing.Go(func() {
			for m := range due {
				if err := errors.Join(at.b.Publish(ctx, []broker.Outbound{m})...); err != nil {
					select {
					case errs <- fmt.Errorf("publish: %w", err):
					default:
					}
				}
			}
		})
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	start := time.Now()
	var err error
	for i := 0; i < total && err == nil; {
		select {
		case <-tick.C:
		case err = <-errs:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		for ; err == nil && i < total && time.Since(start) >= time.Duration(i)*every; i++ {
			due <- at.message(i, start.Add(time.Duration(i)*every))
		}
	}
	close(due)
	publishing.Wait()
	select {
	case late := <-errs:
		err = errors.Join(err, late)
	default:
	}
	return err
}

// lateness measures how long after its announced time a retry runs.
func (s *system) lateness(q *queues, total int) func(context.Context) (rounds.Sample, error) {
	return func(ctx context.Context) (_ rounds.Sample, err error) {
		ctx, cancel := context.WithTimeoutCause(ctx, longest, errUnfinished)
		defer cancel()
		at, err := s.open(ctx, q)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, at.close(ctx)) }()
		t := newTally(total)
		eyes := &witness{Broker: at.b, t: t, due: map[int]time.Time{}}
		ran := map[int]time.Time{}
		policy := redrive.Policy{
			Retry:   retry.Policy{Attempts: 3, Strategy: retry.Strategy{Backoff: retry.Fixed, Jitter: retry.Random, Base: 2 * time.Second, Max: 3 * time.Second}},
			Breaker: breaker.Config{Consecutive: -1, FailureRate: -1}, Budget: retry.BudgetConfig{Ratio: -1},
		}
		w, err := worker(eyes, at.queue, policy, func(_ context.Context, m *redrive.Message) error {
			now := time.Now()
			i, _, err := read(m.Body)
			if err != nil || m.Attempt == 1 {
				return errors.Join(err, errFailing)
			}
			eyes.mu.Lock()
			defer eyes.mu.Unlock()
			ran[i] = now
			return nil
		})
		if err != nil {
			return nil, err
		}
		if err := at.whileRunning(ctx, w, func(ctx context.Context) error {
			if err := at.arrive(ctx, total, s.arrival); err != nil {
				return err
			}
			_, err := t.await(ctx, nil)
			return err
		}); err != nil {
			return nil, err
		}
		eyes.mu.Lock()
		defer eyes.mu.Unlock()
		var late []time.Duration
		for i, at := range ran {
			if due, ok := eyes.due[i]; ok {
				if at.Before(due.Add(-time.Millisecond)) {
					return nil, fmt.Errorf("a retry ran %v before its announced time", due.Sub(at))
				}
				late = append(late, max(at.Sub(due), 0))
			}
		}
		if len(late) != total {
			return nil, fmt.Errorf("%d of %d retries were announced and ran", len(late), total)
		}
		return rounds.Sample{rounds.P50: percentile(late, 0.5), rounds.P99: percentile(late, 0.99)}, nil
	}
}

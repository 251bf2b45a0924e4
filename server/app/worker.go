package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/server/internal/config"
)

// worker is one subscription at work.
type worker struct {
	*redrive.Worker

	subscription config.Subscription
	conn         *Connection
	ended        atomic.Bool
}

// part is what a worker is made of besides its broker.
type part struct {
	handler   redrive.Handler
	validator redrive.Validator
	policy    redrive.Policy
}

// parts makes what needs no broker, and reports every problem at once.
func (a *App) parts(ctx context.Context) ([]part, error) {
	out := make([]part, len(a.cfg.Subscriptions))
	var errs []error
	for i, s := range a.cfg.Subscriptions {
		handler, free, handlerErr := newHandler(ctx, s)
		if handlerErr == nil {
			a.cleanup.push("close the handler of "+label(s), func(context.Context) error { free(); return nil })
		}
		v, schemaErr := newValidator(s)
		policy, policyErr := s.Decision()
		if err := errors.Join(handlerErr, schemaErr, policyErr); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", label(s), err))
			continue
		}
		out[i] = part{handler: handler, validator: v, policy: policy}
	}
	return out, errors.Join(errs...)
}

// buildWorkers makes a worker for each subscription.
func (a *App) buildWorkers(parts []part) error {
	var errs []error
	for i, s := range a.cfg.Subscriptions {
		conn := a.brokers[s.Broker]
		counts := a.metrics.Worker(s.Broker, s.Source, s.Group)
		log := a.log.With(slog.String("broker", s.Broker))
		c := redrive.Config{
			Source: s.Source, Group: s.Group, Policy: parts[i].policy,
			Concurrency: s.Concurrency, MaxInFlight: s.MaxInFlight,
			Lease: time.Duration(s.Lease), StopTimeout: time.Duration(s.StopTimeout),
			Heartbeat: time.Duration(s.Heartbeat), Version: a.opts.Version,
			IdempotencyHeader: s.IdempotencyHeader, Accept: s.Accept,
			Inbox:     a.inboxes.store(s),
			Validator: parts[i].validator,
			Observers: []redrive.Observer{counts, eventLog{log: log, ctx: context.Background()}},
			Logger:    log,
		}
		w, err := redrive.NewWorker(conn, parts[i].handler, c)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", label(s), err))
			continue
		}
		own := &worker{Worker: w, subscription: s, conn: conn}
		counts.Watch(w.Snapshot, own.ready)
		a.workers = append(a.workers, own)
	}
	return errors.Join(errs...)
}

// ensure creates the queues of all subscriptions, so that one that cannot be kept
// safe stops the start with the others named too.
func (a *App) ensure(ctx context.Context) error {
	var errs []error
	for _, w := range a.workers {
		if err := w.conn.Topology().Ensure(ctx, spec(w.subscription)); err != nil {
			errs = append(errs, fmt.Errorf("broker %s: %w", w.subscription.Broker, err))
		}
	}
	return errors.Join(errs...)
}

func spec(s config.Subscription) broker.Spec {
	return broker.Spec{Source: s.Source, Group: s.Group, Lease: time.Duration(s.Lease), MaxInFlight: s.MaxInFlight, Accept: s.Accept}
}

func (w *worker) run(ctx context.Context) error {
	defer w.ended.Store(true)
	err := w.Run(ctx)
	if ctx.Err() != nil && !w.Snapshot().Running {
		// It was stopped before it had opened its subscription.
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", label(w.subscription), err)
	}
	return nil
}

// ready reports why the worker takes no messages.
func (w *worker) ready() error {
	if w.ended.Load() {
		return errors.New("the worker has ended")
	}
	return w.Ready()
}

package controller

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Kills come this far apart.
const (
	shortestPause = 50 * time.Millisecond
	longestPause  = 200 * time.Millisecond
)

// publishedBy is the share of the kills, in percent, at which all messages are
// published.
const publishedBy = 90

// awaitQueue waits until a worker has made the queue. While it is being made any
// answer of the broker is possible.
func (r *run) awaitQueue(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		_, err := left(ctx, r.broker)
		if err == nil {
			return nil
		}
		if err := r.crew.hire(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no worker made the queues: %w; their last words: %s", err, r.crew.lastWords())
		case <-again.C:
		}
	}
}

// torment publishes and kills until both are done.
func (r *run) torment(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kills := make(chan int, r.config.Kills+1)
	published := make(chan error, 1)
	go func() { published <- r.publishAlong(ctx, kills) }()
	err := r.killAll(ctx, kills)
	close(kills)
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-published, r.setOutage(false))
}

// publishAlong publishes in step with the kills, so that there is always work.
func (r *run) publishAlong(ctx context.Context, kills <-chan int) error {
	for n := range kills {
		due := r.config.Messages
		if most := r.config.Kills * publishedBy / 100; n < most {
			due = r.config.Messages * (n + 1) / (most + 1)
		}
		if err := r.producer.publish(ctx, due-r.producer.sent); err != nil {
			return err
		}
	}
	return r.producer.publish(ctx, r.config.Messages-r.producer.sent)
}

// killAll kills workers at random moments and replaces each at once.
func (r *run) killAll(ctx context.Context, kills chan<- int) error {
	kills <- 0
	if err := r.milestone(); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for r.report.Kills < r.config.Kills {
		timer.Reset(shortestPause + time.Duration(r.random.Int64N(int64(longestPause-shortestPause))))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.server.done:
			return fmt.Errorf("the broker ended: %w", r.server.err)
		case <-timer.C:
		}
		if r.crew.killOne(r.random) {
			r.report.Kills++
			kills <- r.report.Kills
			if err := r.milestone(); err != nil {
				return err
			}
		}
		if err := r.crew.hire(); err != nil {
			return err
		}
	}
	return nil
}

// milestone does what is due at a number of kills.
func (r *run) milestone() error {
	n, of := r.report.Kills, r.config.Kills
	if n > 0 && n%max(1, of/10) == 0 {
		r.say("%d of %d kills\n", n, of)
	}
	switch {
	case of == 0:
	case n == of*r.config.OutageFrom/100:
		return r.setOutage(true)
	case n == of*r.config.OutageTo/100:
		return r.setOutage(false)
	}
	return nil
}

func (r *run) setOutage(on bool) error {
	var err error
	if on {
		err = os.WriteFile(r.outage(), nil, 0o600)
	} else if err = os.Remove(r.outage()); errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("outage: %w", err)
	}
	return nil
}

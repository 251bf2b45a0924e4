package demo

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// publisher publishes orders at a rate, each one until the broker confirms it.
type publisher struct {
	broker broker.Broker
	ledger *ledger
	plan   Plan
	source string
	run    string
	total  int
	rate   int
	// reserve is how many of the last orders come one by one while others are on
	// their way: an order that fails alone cannot be told from an outage, so redrive
	// waits for another one to succeed before it gives it up. When nothing is on its
	// way, which idle tells, the rest comes at once.
	reserve int
	idle    func() bool
	// done is the number of confirmed orders.
	done atomic.Int64
}

const (
	// publishEvery is the pace of batches.
	publishEvery = 50 * time.Millisecond
	// maxBatch bounds one batch: the publications of a batch wait for their
	// confirmations together.
	maxBatch = 1000
)

// publish returns when all is published, or with the context's cause.
func (p *publisher) publish(ctx context.Context) error {
	ticker := time.NewTicker(publishEvery)
	defer ticker.Stop()
	start := time.Now()
	crowd := p.total - p.reserve
	next := uint64(1)
	for next <= uint64(crowd) {
		// The time that has passed decides, so that a batch that took long is made
		// up for.
		due := min(int(time.Since(start).Seconds()*float64(p.rate))+1, crowd)
		if n := min(due-int(next)+1, maxBatch); n > 0 {
			if err := p.batch(ctx, next, n); err != nil {
				return err
			}
			next += uint64(n)
			continue
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return p.trickle(ctx, next)
}

// trickleEvery is the time between two orders of the reserve.
const trickleEvery = 500 * time.Millisecond

// trickle publishes the reserve.
func (p *publisher) trickle(ctx context.Context, next uint64) error {
	for next <= uint64(p.total) {
		n := 1
		if p.idle() {
			n = min(p.total-int(next)+1, maxBatch)
		}
		if err := p.batch(ctx, next, n); err != nil {
			return err
		}
		next += uint64(n)
		if next <= uint64(p.total) {
			if err := wait(ctx, trickleEvery); err != nil {
				return err
			}
		}
	}
	return nil
}

// batch publishes n orders from first on.
func (p *publisher) batch(ctx context.Context, first uint64, n int) error {
	ids := make([]uint64, n)
	bodies := make([][]byte, n)
	messages := make([]broker.Outbound, n)
	for i := range n {
		ids[i] = first + uint64(i)
		messages[i] = p.plan.outbound(p.source, p.run, ids[i])
		bodies[i] = messages[i].Body
	}
	if err := p.ledger.intend(ids, bodies); err != nil {
		return err
	}
	pause := 100 * time.Millisecond
	for len(messages) > 0 {
		var again []broker.Outbound
		var againIDs []uint64
		var problem error
		for i, err := range p.broker.Publish(ctx, messages) {
			if err != nil {
				again, againIDs = append(again, messages[i]), append(againIDs, ids[i])
				problem = err
				continue
			}
			if err := p.ledger.confirm(ids[i]); err != nil {
				return err
			}
			p.done.Add(1)
		}
		// The broker knows a repeated id, so what is only unknown is repeated too.
		messages, ids = again, againIDs
		if len(messages) == 0 {
			return nil
		}
		if err := wait(ctx, pause); err != nil {
			return errors.Join(err, fmt.Errorf("publish orders: %w", problem))
		}
		pause = min(2*pause, 2*time.Second)
	}
	return nil
}

// wait waits, or returns the context's cause.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

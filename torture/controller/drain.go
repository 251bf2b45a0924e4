package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/torture/worker"
)

// drain lets the workers, of whom none is killed any more, work off the rest. It
// tells whether nothing was left in time. A broker that does not answer once is
// asked again.
//
// Messages that succeed are published along: a message whose attempts are used up
// waits for another one's success before it is given up, and where nothing but
// failing messages is left there would be none.
func (r *run) drain(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.DrainTimeout)
	defer cancel()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for n := 0; ; n++ {
		if err := r.crew.hire(); err != nil {
			return false, err
		}
		rest, err := left(ctx, r.broker)
		if err == nil && rest == 0 {
			return true, nil
		}
		if err != nil {
			r.say("%v\n", err)
		}
		if err := r.producer.beacons(ctx, 4*workers); err != nil {
			return false, err
		}
		if n%50 == 49 {
			r.say("%d messages left\n", rest)
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-r.server.done:
			return false, fmt.Errorf("the broker ended: %w", r.server.err)
		case <-look.C:
		}
	}
}

// left counts what is in the source and the retry queue, in this order: what has
// left the first may be in the second, and nothing goes the other way.
func left(ctx context.Context, b broker.Broker) (int64, error) {
	// A question that dies with the broker is never answered.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	sum := int64(0)
	queues := []string{worker.Source} // of all groups
	for _, group := range groups {
		queues = append(queues, broker.NamesFor(worker.Source, group).Retry)
	}
	for _, queue := range queues {
		s, err := b.Stats(ctx, queue)
		if err != nil {
			return 0, fmt.Errorf("drain: %w", errors.Join(err, context.Cause(ctx)))
		}
		sum += s.Depth()
	}
	return sum, nil
}

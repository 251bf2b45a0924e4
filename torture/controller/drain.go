package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// looksPerBeacons is how many looks at the rest come between two batches of beacons.
const looksPerBeacons = 5

// looksAtGhosts is how many looks find the same messages, none of them in flight or
// waiting for its time, before they count as left for good. A broker that was killed
// can know that a message was acknowledged and not that it was removed for that: it
// keeps the message and gives it to nobody. The checker sees whether
// what is left was really handled.
const looksAtGhosts = 30

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
	before, still, empty := int64(0), 0, 0
	for n := 0; ; n++ {
		gone, why := r.site.ended()
		if err := r.crew.hire(); err != nil {
			return false, err
		}
		rest, moving, err := left(ctx, r.broker, r.allNames())
		if empty++; err != nil || rest > 0 {
			empty = 0
		}
		if empty >= max(1, kindOf(r.config.Broker).quiet) {
			return true, nil
		}
		if still++; err != nil || moving || rest != before {
			before, still = rest, 0
		}
		if kindOf(r.config.Broker).ghosts && r.restarts() && still >= looksAtGhosts {
			return true, nil
		}
		if err != nil {
			r.say("%v\n", err)
		}
		// Not at every look: on a busy machine there would always be some left of them.
		if n%looksPerBeacons == 0 && still == 0 && empty == 0 {
			if err := r.producer.beacons(ctx, 4*workers); err != nil {
				return false, err
			}
		}
		if n%50 == 49 {
			r.say("%d messages left\n", rest)
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-gone:
			return false, fmt.Errorf("the broker ended: %w", why())
		case <-look.C:
		}
	}
}

// left counts what is in the sources and the retry queues, in this order: what has
// left the first may be in the second, and nothing goes the other way. It tells
// whether some of it is in flight, or waits for its time.
func left(ctx context.Context, b broker.Broker, names []broker.Names) (sum int64, moving bool, err error) {
	// A question that dies with the broker is never answered.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	queues := sourcesOf(names)
	for _, n := range names {
		queues = append(queues, n.Retry)
	}
	for _, queue := range queues {
		s, err := b.Stats(ctx, queue)
		if err != nil {
			return 0, false, fmt.Errorf("drain: %w", errors.Join(err, context.Cause(ctx)))
		}
		sum += s.Depth()
		moving = moving || s.InFlight+s.Delayed > 0
	}
	return sum, moving, nil
}

// sourcesOf lists the sources, each once.
func sourcesOf(names []broker.Names) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n.Source) {
			out = append(out, n.Source)
		}
	}
	return out
}

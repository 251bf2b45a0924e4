package controller

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// looksPerBeacons is how many looks at the rest come between two batches of beacons.
const looksPerBeacons = 5

// looksPerCensus is how many looks in a row show no fewer messages than before when
// those that are left are looked at one by one.
const looksPerCensus = 30

// looksAtUnended is how many looks at what has not ended, as far as is written down,
// show the same before nothing is published along any more. After as many again it
// counts as ended: a worker that was killed between a settlement and its record leaves
// a message that ended and was not written down.
const looksAtUnended = 15

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
	least, stuck := int64(math.MaxInt64), 0
	unended, same := int64(0), 0
	for n := 0; ; n++ {
		gone, why := r.site.ended()
		if err := r.crew.hire(); err != nil {
			return false, err
		}
		rest, err := r.left(ctx)
		if kindOf(r.config.Broker).late && n%looksPerBeacons == 0 {
			before := unended
			if unended, err = r.unended(ctx); ctx.Err() != nil {
				return false, nil
			} else if err != nil {
				return false, err
			}
			if same++; unended != before {
				same = 0
			}
		}
		if err == nil && rest == 0 && (unended == 0 || same >= 2*looksAtUnended) {
			return true, nil
		}
		rest = max(rest, unended)
		if stuck++; err == nil && rest < least {
			least, stuck = rest, 0
		}
		if kindOf(r.config.Broker).ghosts && r.restarts() && stuck >= looksPerCensus {
			if handled, err := r.onlyGhosts(ctx); handled || err != nil {
				return handled, err
			}
			stuck = 0
		}
		if err != nil {
			r.say("%v\n", err)
		}
		// Not at every look: on a busy machine there would always be some left of them.
		if n%looksPerBeacons == 0 && same < looksAtUnended {
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

// left counts what is not settled yet.
func (r *run) left(ctx context.Context) (int64, error) {
	l, ok := r.site.(log)
	if !ok {
		return left(ctx, r.broker, r.allNames())
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return l.behind(ctx, r.allNames())
}

// left counts what is in the source and the retry queues, in this order: what has
// left the first may be in the second, and nothing goes the other way.
func left(ctx context.Context, b broker.Broker, names []broker.Names) (sum int64, err error) {
	// A question that dies with the broker is never answered.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	queues := []string{names[0].Source}
	for _, n := range names {
		queues = append(queues, n.Retry)
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

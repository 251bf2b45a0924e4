package demo

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// depths are the numbers of messages in the queues.
type depths map[string]int64

// gauge reads the depths of the queues from time to time.
type gauge struct {
	broker broker.Broker
	names  broker.Names
	every  time.Duration
	// effects is the effect log, and handled are the orders in it.
	effects tail
	handled map[uint64]struct{}
	// seen is told what each reading says.
	seen func(reading)

	mu   sync.Mutex
	last depths
}

// reading is what the queues and the effect log say together.
type reading struct {
	// waiting is the number of messages in the source and the retry queue, letters
	// that in the dead-letter queue and the quarantines.
	waiting, letters int64
	// handled is the number of orders that took effect.
	handled int
	// exact says that the numbers of messages are exact and of now.
	exact bool
}

// read reads all depths, the source first: what moves on while they are read is
// then counted at least once.
func (g *gauge) read(ctx context.Context) (depths, reading, error) {
	out, r := depths{}, reading{exact: true}
	for _, queue := range queues(g.names) {
		stats, err := g.broker.Stats(ctx, queue)
		if err != nil {
			return nil, r, err
		}
		out[queue] = stats.Depth()
		if kind := broker.KindOf(queue); kind == broker.KindDeadLetter || kind == broker.KindQuarantine {
			r.letters += stats.Depth()
		} else {
			r.waiting += stats.Depth()
			r.exact = r.exact && stats.Exact
		}
	}
	return out, r, g.count(&r)
}

// count reads what is new in the effect log.
func (g *gauge) count(r *reading) error {
	raw, err := g.effects.next(wholeRecords)
	if err != nil {
		return fmt.Errorf("effect log: %w", err)
	}
	_, err = readEffects(bytes.NewReader(raw), func(e Effect) { g.handled[e.ID] = struct{}{} })
	r.handled = len(g.handled)
	return err
}

// run reads until the context ends.
func (g *gauge) run(ctx context.Context) {
	for {
		if d, r, err := g.read(ctx); err == nil {
			g.mu.Lock()
			g.last = d
			g.mu.Unlock()
			g.seen(r)
		}
		if wait(ctx, g.every) != nil {
			return
		}
	}
}

func (g *gauge) depths() depths {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// calm tells when nothing is on its way any more.
type calm struct{ rounds, empty int }

const (
	// calmRounds is how often in a row nothing must be on its way.
	calmRounds = 3
	// emptyRounds is how often in a row queues must say that they are empty that do
	// not know it exactly, while orders are missing that should be somewhere.
	emptyRounds = 100
)

// see looks at a reading. idle says that nothing is on its way as far as the
// reading tells, calm that it can be believed. Queues that only estimate say that
// they are empty before they are, so there the confirmed orders have to be found
// as effects or letters.
func (c *calm) see(r reading, confirmed int) (idle, settled bool) {
	empty := r.waiting == 0
	idle = empty && (r.exact || r.handled+int(r.letters) >= confirmed)
	if c.rounds++; !idle {
		c.rounds = 0
	}
	if c.empty++; !empty {
		c.empty = 0
	}
	return idle, c.rounds >= calmRounds || c.empty >= emptyRounds
}

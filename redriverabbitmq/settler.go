package redriverabbitmq

import (
	"context"
	"fmt"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

// settler sends the acknowledgements of one channel, many at a time, and has the
// broker confirm that it has read them. AMQP 0-9-1 confirms no acknowledgement;
// but a channel is served in order, so that the answer to a question that was
// asked after one proves that it arrived.
type settler struct {
	ch       *amqp.Channel
	prefetch int
	gone     <-chan struct{}
	why      func() error
	// calls is held by whoever waits for an answer of the channel: the library gives
	// an answer to any of those who wait.
	calls sync.Mutex

	mu    sync.Mutex
	queue []*order
	// busy says that a goroutine is at work, or about to be.
	busy bool
	// ledger is of the goroutine at work alone.
	ledger ledger
}

// order is one settlement that is on its way.
type order struct {
	tag  uint64
	verb verb
	lane *lane
	done chan struct{}
	err  error
}

// verb is what an order does.
type verb uint8

const (
	acknowledge verb = iota
	requeue
	// ask does nothing but wait for the answer.
	ask
)

// place puts an order into the next batch.
func (s *settler) place(tag uint64, v verb, of *lane) *order {
	o := &order{tag: tag, verb: v, lane: of, done: make(chan struct{})}
	s.mu.Lock()
	s.queue = append(s.queue, o)
	start := !s.busy
	s.busy = true
	s.mu.Unlock()
	if start {
		go s.work()
	}
	return o
}

// wait returns nil when the broker has taken the order.
func (s *settler) wait(ctx context.Context, o *order) error {
	select {
	case <-o.done:
		return o.err
	default:
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		return unknown("no answer to the settlement", context.Cause(ctx))
	case <-s.gone:
		return unknown("settle", s.why())
	}
}

// work sends batch after batch until there is nothing left. It ends with the
// channel at the latest.
func (s *settler) work() {
	for {
		s.mu.Lock()
		batch := s.queue
		s.queue = nil
		s.busy = len(batch) > 0
		s.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		err := s.send(batch)
		if err == nil {
			// The setting is what it was: the answer is what counts.
			s.calls.Lock()
			err = s.ch.Qos(s.prefetch, 0, false)
			s.calls.Unlock()
		}
		if err != nil {
			err = unknown("settle", fmt.Errorf("%w: %w", errDisconnected, err))
		}
		for _, o := range batch {
			o.err = err
			close(o.done)
			if err == nil && o.lane != nil {
				o.lane.count(-1)
			}
		}
	}
}

func (s *settler) send(batch []*order) error {
	acks := make([]uint64, 0, len(batch))
	for _, o := range batch {
		switch o.verb {
		case acknowledge:
			acks = append(acks, o.tag)
		case requeue:
			// One by one and in the order of their tags they keep their places.
			if err := s.ch.Nack(o.tag, false, true); err != nil {
				return err
			}
			s.ledger.settle(o.tag)
		case ask:
		}
	}
	upTo, single := s.ledger.acknowledge(acks)
	if upTo > 0 {
		if err := s.ch.Ack(upTo, true); err != nil {
			return err
		}
	}
	for _, tag := range single {
		if err := s.ch.Ack(tag, false); err != nil {
			return err
		}
	}
	return nil
}

// ledger knows which delivery tags of a channel are settled. Tags count from 1
// without a gap.
type ledger struct {
	// floor is the highest tag below which all are settled, itself included.
	floor uint64
	// above are the settled tags beyond it.
	above map[uint64]struct{}
}

func (l *ledger) settle(tag uint64) {
	if tag <= l.floor {
		return
	}
	if l.above == nil {
		l.above = map[uint64]struct{}{}
	}
	l.above[tag] = struct{}{}
	for {
		if _, ok := l.above[l.floor+1]; !ok {
			return
		}
		delete(l.above, l.floor+1)
		l.floor++
	}
}

// acknowledge settles tags and says how to tell the broker: all up to one tag at
// once, if one of them is there, and the others singly.
func (l *ledger) acknowledge(tags []uint64) (upTo uint64, single []uint64) {
	if len(tags) == 0 {
		return 0, nil
	}
	for _, tag := range tags {
		l.settle(tag)
	}
	for _, tag := range tags {
		if tag <= l.floor {
			upTo = max(upTo, tag)
		} else {
			single = append(single, tag)
		}
	}
	return upTo, single
}

// ticket is the handle of a delivery over AMQP 0-9-1.
type ticket struct {
	lane *lane
	tag  uint64

	mu   sync.Mutex
	made *order
}

// once returns the order of this delivery: the first that was placed, since a
// delivery can be settled once.
func (t *ticket) once(v verb) *order {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.made == nil {
		t.made = t.lane.settler.place(t.tag, v, t.lane)
	}
	return t.made
}

func (t *ticket) acknowledge(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	o := t.once(acknowledge)
	if o.verb != acknowledge {
		return fmt.Errorf("given back before: %w", broker.ErrLeaseLost)
	}
	return t.lane.settler.wait(ctx, o)
}

func (t *ticket) giveBack(ctx context.Context, _ *broker.Mark) error {
	o := t.once(requeue)
	if o.verb != requeue {
		return fmt.Errorf("acknowledged before: %w", broker.ErrSettled)
	}
	return t.lane.settler.wait(ctx, o)
}

func (t *ticket) alive(ctx context.Context) error {
	return t.lane.settler.wait(ctx, t.lane.settler.place(0, ask, nil))
}

func (t *ticket) native(context.Context, broker.Outcome) (broker.Receipt, bool, error) {
	return broker.Receipt{}, false, nil
}

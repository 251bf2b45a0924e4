package redrivetest

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// delivery implements broker.Delivery.
type delivery struct {
	sub      *Subscription
	slot     *slot
	token    int
	msg      broker.Message
	identity broker.Incarnation
	earlier  broker.Deliveries
	settled  bool // guarded by the server's mutex
}

func (d *delivery) Msg() *broker.Message          { return &d.msg }
func (d *delivery) Identity() broker.Incarnation  { return d.identity }
func (d *delivery) Deliveries() broker.Deliveries { return d.earlier }

func (d *delivery) Extend(ctx context.Context, by time.Duration) error {
	return d.locked(ctx, "extend", func(now time.Time) error {
		if by <= 0 {
			return fmt.Errorf("by %v: ask for a time ahead", by)
		}
		holder := d.slot.holder
		d.slot.lane.move(d.slot, leased, now.Add(by))
		d.slot.holder = holder
		holder.open++
		return nil
	})
}

func (d *delivery) Mark(ctx context.Context, mark broker.Mark) error {
	return d.locked(ctx, "mark", func(time.Time) error {
		if !d.caps().Marks {
			return broker.ErrUnsupported
		}
		d.slot.mark = cloneMark(mark)
		return nil
	})
}

func (d *delivery) Settle(ctx context.Context, outcome broker.Outcome) (broker.Receipt, error) {
	var receipt broker.Receipt
	if between := d.sub.client.server.cfg.between; between != nil {
		if queue, moves := d.target(outcome); moves {
			return d.splitMove(ctx, queue, outcome, between)
		}
	}
	err := d.locked(ctx, "settle", func(now time.Time) (err error) {
		switch o := outcome.(type) {
		case broker.Done:
			d.slot.lane.queue.settle(d.slot)
		case broker.Release:
			d.release(o, now)
		case broker.Retry:
			if receipt, err = d.retry(o, now); err == nil {
				d.slot.lane.queue.settle(d.slot)
			}
		case broker.Dead:
			if receipt, err = d.copy(o.Queue, o.Envelope, o.PublishID, now, time.Time{}); err == nil {
				d.slot.lane.queue.settle(d.slot)
			}
		default:
			return fmt.Errorf("outcome %T is none of Done, Release, Retry and Dead", outcome)
		}
		d.settled = err == nil
		return err
	})
	return receipt, err
}

// SettleAsync settles at once, and then calls done before it returns. Where a test
// halts moves between their steps it leaves them to Settle.
func (d *delivery) SettleAsync(ctx context.Context, outcome broker.Outcome, done func(broker.Receipt, error)) bool {
	if d.sub.client.server.cfg.between != nil {
		return false
	}
	done(d.Settle(ctx, outcome))
	return true
}

// locked runs f with the mutex held, if the delivery is still ours.
func (d *delivery) locked(ctx context.Context, verb string, f func(now time.Time) error) error {
	srv := d.sub.client.server
	srv.mu.Lock()
	defer srv.mu.Unlock()
	now := srv.cfg.now()
	err := d.ours(ctx, now)
	if err == nil {
		err = f(now)
	}
	if err != nil {
		return fmt.Errorf("%s %s/%s: %w", verb, d.slot.lane.queue.name, position(d.slot.entry.seq), err)
	}
	return nil
}

func (d *delivery) ours(ctx context.Context, now time.Time) error {
	s := d.slot
	switch {
	case d.settled:
		return broker.ErrSettled
	case d.sub.closed:
		return fmt.Errorf("subscription %w, %w", broker.ErrClosed, broker.ErrLeaseLost)
	case s.holder != d.sub || s.deliveries != d.token || !s.at.After(now):
		return broker.ErrLeaseLost
	}
	return ctx.Err()
}

func (d *delivery) caps() *broker.Caps { return &d.sub.client.server.cfg.caps }

func (d *delivery) release(o broker.Release, now time.Time) {
	if d.caps().Marks && !o.Mark.IsZero() {
		d.slot.mark = cloneMark(o.Mark)
	}
	if after := min(o.After, d.caps().MaxRelease); after > 0 {
		d.slot.lane.move(d.slot, waiting, now.Add(after))
		return
	}
	d.slot.lane.move(d.slot, ready, time.Time{})
}

func (d *delivery) retry(o broker.Retry, now time.Time) (broker.Receipt, error) {
	if limit := d.caps().MaxDelay; limit > 0 && o.At.Sub(now) > limit {
		return broker.Receipt{}, fmt.Errorf("delay of %v is longer than the broker's limit of %v", o.At.Sub(now), limit)
	}
	return d.copy(d.slot.lane.owner.names.Retry, o.Envelope, o.PublishID, now, o.At)
}

// target returns the queue that a copy goes to, false if the outcome makes none.
func (d *delivery) target(outcome broker.Outcome) (queue string, moves bool) {
	switch o := outcome.(type) {
	case broker.Retry:
		return d.slot.lane.owner.names.Retry, true
	case broker.Dead:
		return o.Queue, true
	}
	return "", false
}

// splitMove makes the copy, and settles the original in a second step.
func (d *delivery) splitMove(ctx context.Context, queue string, outcome broker.Outcome, between func(queue string) error) (broker.Receipt, error) {
	var receipt broker.Receipt
	err := d.locked(ctx, "copy", func(now time.Time) (err error) {
		switch o := outcome.(type) {
		case broker.Retry:
			receipt, err = d.retry(o, now)
		case broker.Dead:
			receipt, err = d.copy(o.Queue, o.Envelope, o.PublishID, now, time.Time{})
		}
		return err
	})
	if err != nil {
		return broker.Receipt{}, err
	}
	if err := between(queue); err != nil {
		return broker.Receipt{}, fmt.Errorf("settle after the copy to %s: %w", queue, err)
	}
	err = d.locked(ctx, "settle", func(time.Time) error {
		d.slot.lane.queue.settle(d.slot)
		d.settled = true
		return nil
	})
	receipt.Native = false
	return receipt, err
}

// copy stores the message elsewhere. A repeat under the same publish id makes no
// second copy while the first one is there; a copy that has been taken away since
// is made again, because a dedupe window that only remembers the id would lose
// the message.
func (d *delivery) copy(to string, envelope []byte, id string, now, due time.Time) (broker.Receipt, error) {
	srv := d.sub.client.server
	copied := d.slot.entry.msg.Clone()
	copied.Control = nil
	copied.Envelope = bytes.Clone(envelope)
	if err := srv.fits(&copied); err != nil {
		return broker.Receipt{}, fmt.Errorf("copy to %s: %w", to, err)
	}
	q, err := srv.target(to)
	if err != nil {
		return broker.Receipt{}, fmt.Errorf("copy to %s: %w", to, err)
	}
	seq := srv.there(q, id, now)
	if seq == 0 {
		seq = q.store(copied, now, due).seq
		if id != "" {
			q.remember(id, seq, now)
		}
	}
	return broker.Receipt{Copy: position(seq), Native: true}, nil
}

// there returns the position of a copy that was stored under the id and still is: in
// the queue or, for a letter, in any other dead-letter queue or quarantine. 0 if
// there is none.
func (s *server) there(q *queue, id string, now time.Time) uint64 {
	window := s.cfg.caps.DedupeWindow
	if id == "" || window <= 0 {
		return 0
	}
	if known, dup := q.known(id, now, window); dup && q.live[known] != nil {
		return known
	}
	if !holdsLetters(q.kind) {
		return 0
	}
	for _, other := range s.queues {
		if known, dup := other.known(id, now, window); holdsLetters(other.kind) && dup && other.live[known] != nil {
			return known
		}
	}
	return 0
}

func holdsLetters(kind broker.QueueKind) bool {
	return kind == broker.KindDeadLetter || kind == broker.KindQuarantine
}

func cloneMark(m broker.Mark) broker.Mark {
	if m.Pending != nil {
		p := *m.Pending
		p.Envelope = bytes.Clone(p.Envelope)
		m.Pending = &p
	}
	return m
}

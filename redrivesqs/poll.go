package redrivesqs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
)

// sooner is how long before its time a message may lie here: less than SQS can tell.
const sooner = time.Second

// ask opens requests for want messages, as far as none is open for them. An idle
// queue has one request; more are opened while they come back full. It is called with
// the lock held.
func (s *subscription) ask(want int) {
	want -= s.asked + len(s.shelf.ready)
	for want > 0 && s.open < s.b.config.Pollers && (s.open == 0 || s.plenty) {
		n := min(want, maxBatch)
		want -= n
		s.open++
		s.asked += n
		s.polls.Go(func() { s.poll(n) })
	}
}

// poll makes one request and puts what it brings on the shelf.
func (s *subscription) poll(n int) {
	ctx, cancel := context.WithTimeoutCause(s.polling, s.b.config.WaitTime+s.b.config.RequestTimeout, errTimeout)
	defer cancel()
	// What comes before its time lies here meanwhile, and has its lease afterwards.
	lease := time.Duration(s.seconds)*time.Second + sooner
	out, err := s.b.api.ReceiveMessage(ctx, receiveInput(s.queue, n, lease, s.b.config.WaitTime))
	at := time.Now()
	var arrived []*delivery
	if err == nil {
		arrived, err = s.arrivals(ctx, out.Messages, at, lease)
	} else {
		if queueMissing(err) {
			s.b.routes.forget(s.queue)
		}
		err = fmt.Errorf("receive: %w", err)
	}
	var onward, back []*delivery
	blocked := map[string]bool{}
	s.mu.Lock()
	s.open--
	s.asked -= n
	s.plenty = len(arrived) == n
	if err != nil && s.polling.Err() == nil {
		s.trouble = err
	}
	for _, d := range arrived {
		if s.adopt(d, at) {
			continue
		}
		switch early := d.due.Sub(at); {
		case blocked[d.group]:
			back = append(back, d)
		case early > sooner || early > 0 && len(s.shelf.early) >= s.spec.MaxInFlight:
			onward = append(onward, d)
			blocked[d.group] = s.queue.fifo
		default:
			s.shelf.put(d, at)
		}
	}
	s.mu.Unlock()
	s.notify()
	if len(onward) > 0 {
		s.sendOn(onward)
	}
	s.giveBack(back)
}

// adopt gives a newer receipt to a delivery that is still held here: a standard queue
// may deliver a message twice. A delivery whose lease has ended is lost. It is called
// with the lock held.
func (s *subscription) adopt(d *delivery, at time.Time) bool {
	held := s.inflight[d.id]
	if held == nil {
		return false
	}
	held.mu.Lock()
	defer held.mu.Unlock()
	if held.state == unsettled && held.leaseError() == nil && !s.queue.fifo {
		held.receipt, held.deadline = d.receipt, d.deadline
		held.receivedAt = at
		return true
	}
	if held.state != settled {
		held.lost = true
	}
	delete(s.inflight, d.id)
	s.shelf.gone(held)
	return false
}

// arrivals makes deliveries of messages. Without its notes a message must not be run:
// it may have killed three workers. It comes again when its lease ends.
func (s *subscription) arrivals(ctx context.Context, messages []types.Message, at time.Time, lease time.Duration) ([]*delivery, error) {
	all := make([]*delivery, len(messages))
	errs := make([]error, len(messages))
	var loading sync.WaitGroup
	for i, m := range messages {
		r := open(m)
		d := &delivery{
			s: s, message: r.message, id: r.messageID, position: r.messageID, receipt: r.receipt, receivedAt: at,
			group: m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)],
			count: r.count, due: r.due, deadline: at.Add(lease),
			deliveries: broker.Deliveries{Earlier: max(r.count-1, 0), Kind: broker.CountApproximate},
		}
		all[i] = d
		if r.count > 1 && (s.b.journal.durable || s.queue.fifo) {
			loading.Go(func() { errs[i] = d.recall(ctx) })
		}
	}
	loading.Wait()
	known := make([]*delivery, 0, len(all))
	blocked := map[string]bool{}
	for i, d := range all {
		if errs[i] != nil {
			// What follows in its group must not overtake it.
			blocked[d.group] = s.queue.fifo
			continue
		}
		if !blocked[d.group] {
			known = append(known, d)
		}
	}
	return known, errors.Join(errs...)
}

// recall reads what the journal knows of a message that was delivered before.
func (d *delivery) recall(ctx context.Context) error {
	j := d.s.b.journal
	if d.s.queue.fifo {
		w, ok, err := j.loadRetry(ctx, retryID(d.s.queue.name, d.id))
		switch {
		case err != nil:
			return fmt.Errorf("read the retry of message %s of queue %q: %w", d.id, d.s.queue.name, err)
		case ok:
			d.resume(w)
		case !j.durable:
			d.guess()
		}
	}
	if !j.durable {
		return nil
	}
	mark, err := j.marks.LoadMark(ctx, d.markID())
	if err != nil {
		return fmt.Errorf("read the mark of message %s of queue %q: %w", d.id, d.s.queue.name, err)
	}
	d.deliveries.Mark = mark
	d.marked = !mark.IsZero()
	return nil
}

// resume makes the delivery one of the copy that its retry stands for.
func (d *delivery) resume(w waiting) {
	d.retried = true
	d.ordinal, d.position = w.ordinal, position(d.id, w.ordinal)
	d.message.Envelope, d.due = w.envelope, w.due
	d.deliveries.Earlier = max(d.count-1-w.receives, 0)
}

// guess makes a history of the only thing that is known: how often the message was
// received. Each receive counts as an attempt, so that it ends some day.
func (d *delivery) guess() {
	e := envelope.Envelope{ID: d.message.ID, Count: d.count - 1, Source: d.s.spec.Source, Group: d.s.spec.Group}
	if held, err := envelope.Decode(d.message.Envelope); err == nil {
		held.Count += d.count - 1
		e = held
	}
	e.BodyDigest = envelope.Digest(d.message.Body)
	if raw, _, err := envelope.Encode(e, envelope.DefaultLimit); err == nil {
		d.message.Envelope = raw
	}
}

// sendOn lets messages wait that came long before their time: by another copy in a
// standard queue, in their place in a FIFO queue. What fails comes again when its lease
// ends.
func (s *subscription) sendOn(list []*delivery) {
	ctx, cancel := s.b.briefly(s.b.base)
	defer cancel()
	var all sync.WaitGroup
	for _, d := range list {
		all.Go(func() {
			if wait := time.Until(d.due); s.queue.fifo || wait <= sooner {
				_ = s.postpone(ctx, d, wait)
				return
			}
			m := d.copy(d.message.Envelope, "", d.due)
			if _, err := d.move(ctx, "onward", m, s.queue, delaySeconds(time.Until(d.due))); err == nil {
				d.forget(ctx, false)
			}
		})
	}
	all.Wait()
}

// postpone hides a message until it is nearly due. That no handler saw it is noted
// first.
func (s *subscription) postpone(ctx context.Context, d *delivery, wait time.Duration) error {
	if s.b.journal.durable {
		mark := d.deliveries.Mark
		mark.Explained++
		if err := d.note(ctx, mark); err != nil {
			return err
		}
	}
	seconds, whole := visibility(wait, d.receivedAt, time.Now())
	if whole && s.queue.fifo && s.b.journal.durable {
		seconds = int32(max(wait, 0) / time.Second)
	}
	return d.show(ctx, seconds)
}

package redrivenats

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/redrive-dev/redrive/broker"
)

// settlement is a SettleAsync under way. It makes the same steps in the same order as
// Settle: the copy, if there is one, is confirmed before the message is acknowledged.
type settlement struct {
	request request // the one that is open

	d    *delivery
	ctx  context.Context //nolint:containedctx // it bounds the settlement
	done func(broker.Receipt, error)
	// outcome and copy are those of a move whose copy is not confirmed yet.
	outcome broker.Outcome
	copy    *nats.Msg
	receipt broker.Receipt
}

var _ broker.AsyncDelivery = (*delivery)(nil)

// SettleAsync settles without a goroutine that waits. A release has a note to store
// first, and a note has to be removed afterwards: for these Settle is needed.
func (d *delivery) SettleAsync(ctx context.Context, outcome broker.Outcome, done func(broker.Receipt, error)) bool {
	moves := false
	switch outcome.(type) {
	case broker.Done:
	case broker.Retry, broker.Dead:
		moves = true
	default:
		return false
	}
	if d.noted() {
		return false
	}
	if err := d.begin(outcome); err != nil {
		done(broker.Receipt{}, err)
		return true
	}
	s := &settlement{d: d, ctx: ctx, done: done}
	s.request.taker = s
	var err error
	if moves {
		err = s.publish(outcome)
	} else {
		err = s.acknowledge()
	}
	if err != nil {
		s.end(err)
	}
	return true
}

func (d *delivery) noted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.markRevision > 0
}

// publish sends the copy of a move, unless an earlier try has left one.
func (s *settlement) publish(outcome broker.Outcome) error {
	receipt, copied := s.d.wasCopied(moveName(outcome))
	if copied {
		s.receipt = receipt
		return s.acknowledge()
	}
	m, err := s.d.copyFor(outcome)
	if err != nil {
		return err
	}
	b := s.d.lane.b
	if err := b.checkSize(m); err != nil {
		return err
	}
	s.outcome, s.copy = outcome, m
	return b.req.promiseMsg(s.ctx, &s.request, m, b.req.timeout)
}

// acknowledge removes the message.
func (s *settlement) acknowledge() error {
	d := s.d
	req := d.lane.b.req
	if err := req.promiseWord(s.ctx, &s.request, d.reply, ackWord, req.timeout); err != nil {
		return fmt.Errorf("acknowledge: %w", d.explain(err))
	}
	d.mu.Lock()
	d.ack = &s.request
	lost := d.lost
	d.mu.Unlock()
	if lost {
		req.hurry(&s.request, forgottenPatience)
	}
	return nil
}

// take is given the confirmation of the copy, then that of the acknowledgement.
func (s *settlement) take(m *nats.Msg, err error) {
	if s.copy == nil {
		if err != nil {
			err = fmt.Errorf("acknowledge: %w", s.d.explain(err))
		}
		s.end(err)
		return
	}
	if err := s.copied(m, err); err != nil {
		s.end(err)
	}
}

// copied reads the confirmation of the copy and goes on.
func (s *settlement) copied(answer *nats.Msg, err error) error {
	sent := s.copy
	if err != nil {
		return unroutable(err, sent)
	}
	ack, err := parsePubAck(answer, sent)
	if err != nil {
		return err
	}
	if doubtful(ack, sent) {
		// The server has to be asked, which takes more answers.
		go s.ensure(ack)
		return nil
	}
	return s.proceed(ack)
}

// ensure makes sure that a copy that the server calls a repeat is there.
func (s *settlement) ensure(ack pubAck) {
	ack, err := s.d.lane.b.settleDuplicate(s.ctx, s.copy, ack, true)
	if err == nil {
		err = s.proceed(ack)
	}
	if err != nil {
		s.end(err)
	}
}

func (s *settlement) proceed(ack pubAck) error {
	s.receipt = receiptOf(ack, s.copy)
	s.d.setCopied(moveName(s.outcome), s.receipt)
	s.outcome, s.copy = nil, nil
	return s.acknowledge()
}

// end tells how the settlement went. A note that was stored in the meantime is
// removed by its age.
func (s *settlement) end(err error) {
	_, err = s.d.end(err)
	if err != nil {
		s.receipt = broker.Receipt{}
	}
	s.done(s.receipt, err)
}

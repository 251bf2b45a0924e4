package worker

import (
	"context"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/poison"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/scenario"
)

// witness is the broker as the worker sees it, and writes down which settlements
// it confirmed. It stands outside of a mutant, so that it believes what the
// mutant says, as a worker does.
type witness struct {
	broker.Broker
	journal *journal
}

// Open implements broker.Broker.
func (w witness) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	sub, err := w.Broker.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &witnessed{sub, w.journal}, nil
}

type witnessed struct {
	broker.Subscription
	journal *journal
}

// Receive implements broker.Subscription.
func (w *witnessed) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	got, err := w.Subscription.Receive(ctx, limit)
	for i, d := range got {
		m := d.Msg()
		id, idErr := scenario.ID(m.Body, m.Headers)
		if n := poison.Unexplained(d.Deliveries()); idErr == nil && n > 0 {
			w.journal.write(checker.Record{ID: id, Kind: checker.Redelivered, Attempt: attempt(n)})
		}
		got[i] = &delivery{d, id, w.journal}
	}
	return got, err
}

type delivery struct {
	broker.Delivery
	id      checker.ID
	journal *journal
}

// Settle implements broker.Delivery.
func (d *delivery) Settle(ctx context.Context, outcome broker.Outcome) (broker.Receipt, error) {
	receipt, err := d.Delivery.Settle(ctx, outcome)
	if err == nil {
		d.journal.write(d.record(outcome))
	}
	return receipt, err
}

func (d *delivery) record(outcome broker.Outcome) checker.Record {
	r := checker.Record{ID: d.id}
	var raw []byte
	switch o := outcome.(type) {
	case broker.Done:
		r.Kind = checker.Done
	case broker.Release:
		r.Kind = checker.Released
	case broker.Retry:
		r.Kind, raw = checker.Retried, o.Envelope
		if !o.Counted {
			r.Flags |= checker.Uncounted
		}
	case broker.Dead:
		r.Kind, raw = checker.Lettered, o.Envelope
	}
	if e, err := envelope.Decode(raw); err == nil {
		r.Attempt = attempt(e.Count)
	}
	return r
}

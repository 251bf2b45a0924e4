package redrive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/internal/engine"
)

// settleItem makes the move that was decided and reports how it went.
func (w *Worker) settleItem(now time.Time, a *engine.Action) {
	w.settled(a.Item, w.move(w.writeContext(now), a))
}

func (w *Worker) settled(it *engine.Item, err error) {
	w.step(it, false, func(now time.Time, out []engine.Action) []engine.Action {
		return w.machine.Settled(now, it, err, out)
	})
}

// settleAsync begins the move that was decided, if the broker can make it without a
// goroutine that waits, and reports whether it did.
func (w *Worker) settleAsync(now time.Time, a *engine.Action) bool {
	it := a.Item
	d, ok := it.Delivery.(broker.AsyncDelivery)
	if !ok || a.Verdict.Action == decision.Release {
		return false
	}
	o, err := w.firstTry(a)
	if err != nil {
		return false
	}
	done := func(_ broker.Receipt, err error) { w.settledAsync(it, err) }
	if a.Verdict.Action != decision.Settle {
		copied := *a
		done = func(_ broker.Receipt, err error) {
			if tooLarge := (*broker.TooLargeError)(nil); errors.As(err, &tooLarge) {
				w.spawn(func() { w.settleItem(w.host.Now(), &copied) }) // There the envelope gives way.
				w.rest()
				return
			}
			w.settledAsync(it, err)
		}
	}
	w.busy.Add(1)
	begun := d.SettleAsync(w.writeContext(now), o, done)
	if !begun {
		w.rest()
	}
	return begun
}

// firstTry is the outcome to settle with, before any broker has called it too large.
func (w *Worker) firstTry(a *engine.Action) (broker.Outcome, error) {
	switch a.Verdict.Action { //nolint:exhaustive // the others are not settled in this way
	case decision.Settle:
		return broker.Done{}, nil
	case decision.Repeat:
		return outcomeOf(a.Item.Deliveries.Mark.Pending), nil
	}
	return w.copyOutcome(a.Item, a.Verdict, w.envelopeLimit())
}

// settledAsync reports the end of a settlement, which busy counts, from a goroutine of
// the broker's, which must not be kept: what may take time, because observers are told
// of it, goes to another one.
func (w *Worker) settledAsync(it *engine.Item, err error) {
	buffer, _ := w.buffers.Get().(*[]engine.Action)
	if buffer == nil {
		buffer = new([]engine.Action)
	}
	now, actions := w.tell(func(now time.Time, out []engine.Action) []engine.Action {
		return w.machine.Settled(now, it, err, out)
	}, (*buffer)[:0])
	if len(w.cfg.Observers) > 0 && slices.ContainsFunc(actions, func(a engine.Action) bool { return a.Kind == engine.Notify }) {
		w.host.Start(func() {
			w.execute(now, nil, false, actions)
			w.rest()
		})
		return
	}
	if len(actions) > 0 {
		w.execute(now, nil, false, actions)
		clear(actions)
	}
	*buffer = actions
	w.buffers.Put(buffer)
	w.rest()
}

func (w *Worker) move(ctx context.Context, a *engine.Action) error {
	f := flightOf(a.Item)
	switch action := a.Verdict.Action; {
	case action == decision.Settle:
		_, err := a.Item.Delivery.Settle(ctx, broker.Done{})
		return err
	case action == decision.Release:
		mark := a.Mark
		// A move that was noted in an earlier delivery is in the mark already.
		if p := pendingOf(f.move()); a.Pending && w.caps.Marks && p != nil {
			mark.Pending = p
		}
		_, err := a.Item.Delivery.Settle(ctx, broker.Release{After: a.Verdict.After, Mark: mark})
		return err
	case action == decision.Repeat:
		_, err := a.Item.Delivery.Settle(ctx, outcomeOf(a.Item.Deliveries.Mark.Pending))
		return err
	case action == decision.Retry, action == decision.DeadLetter, action == decision.Quarantine:
		return w.moveCopy(ctx, a.Item, a.Verdict)
	}
	return fmt.Errorf("worker %s: no way to settle a message with the action %q", w.cfg.Source, a.Verdict.Action)
}

// envelopeLimit is the size of envelopes as far as it is known before the broker sees
// one.
func (w *Worker) envelopeLimit() int {
	if w.caps.MaxEnvelope > 0 {
		return w.caps.MaxEnvelope
	}
	return envelope.DefaultLimit
}

// copyOutcome is the outcome of the move under way, made if there is none yet.
func (w *Worker) copyOutcome(it *engine.Item, v decision.Verdict, limit int) (broker.Outcome, error) {
	f := flightOf(it)
	if o := f.move(); o != nil {
		return o, nil
	}
	o, err := w.outcome(it, v, limit)
	if err == nil {
		f.setMove(o)
	}
	return o, err
}

// moveCopy sends the message and its envelope on. If the copy is too large for
// the broker the envelope gives way, as far as it can.
func (w *Worker) moveCopy(ctx context.Context, it *engine.Item, v decision.Verdict) error {
	f, limit := flightOf(it), w.envelopeLimit()
	for {
		o, err := w.copyOutcome(it, v, limit)
		if err != nil {
			return err
		}
		_, err = it.Delivery.Settle(ctx, o)
		tooLarge := (*broker.TooLargeError)(nil)
		if !errors.As(err, &tooLarge) || limit <= envelope.MinLimit {
			return err
		}
		used := len(pendingOf(o).Envelope)
		limit = max(envelope.MinLimit, min(limit, used)-max(1, tooLarge.Size-tooLarge.Limit))
		f.setMove(nil)
	}
}

// outcome builds the copy. Everything in it is fixed by what was read and what
// was decided, so that a repeat after a crash is recognised as one.
func (w *Worker) outcome(it *engine.Item, v decision.Verdict, limit int) (broker.Outcome, error) {
	f := flightOf(it)
	m := it.Delivery.Msg()
	e := *it.Env
	read := w.incarnation(f)
	if e.Origin == "" {
		e.Origin = idempotency.Origin(read, w.cfg.Group)
	}
	e.Key = w.key(f)
	e.Source, e.Group = w.cfg.Source, w.cfg.Group
	e.BodyDigest = w.digest(f)
	e.Incarnation = idempotency.CopyIncarnation(read, w.cfg.Group)
	if e.ID == "" {
		e.ID = idempotency.Bound(m.ID)
	}
	if e.CorrelationID == "" {
		e.CorrelationID = idempotency.Bound(w.message(f).CorrelationID)
	}
	if e.Position == "" {
		e.Position = idempotency.Bound(it.Delivery.Identity().Position)
	}
	e.Control = append(slices.Clip(e.Control), m.Control...)
	if f.foreign != nil {
		e.Control = append(e.Control, broker.Header{Name: broker.HeaderEnvelope, Value: f.foreign})
	}
	if e.Replays > 0 {
		e.ReplayID = replayID(&e)
	}
	publish := idempotency.RetryPublishID(read, w.cfg.Group)
	if v.Action != decision.Retry {
		// The copies that a crash made of one message may come here after different
		// numbers of retries and with different verdicts. They are one letter.
		replay := e.ReplayID
		if replay == "" && e.Replays > 0 {
			replay = strconv.Itoa(e.Replays) // by somebody who gave no id
		}
		publish = idempotency.DeadPublishID(e.Origin, w.cfg.Group, replay)
		e.Incarnation = idempotency.LetterIncarnation(e.Origin, w.cfg.Group, replay)
	}
	e.PublishID = publish
	raw, _, err := envelope.Encode(e, limit)
	if err != nil {
		return nil, fmt.Errorf("encode the envelope: %w", err)
	}
	if v.Action == decision.Retry {
		return broker.Retry{At: v.At, Envelope: raw, PublishID: publish, Counted: v.Counted}, nil
	}
	queue := w.names.DeadLetter
	if v.Action == decision.Quarantine {
		queue = w.names.Quarantine(v.Category)
	}
	return broker.Dead{Queue: queue, Envelope: raw, PublishID: publish}, nil
}

// incarnation names the stored copy that was read. A broker that gives no
// identity gets a random one, fixed for as long as this worker has the message.
func (w *Worker) incarnation(f *flight) string {
	if f.read != "" {
		return f.read
	}
	switch id := f.item.Delivery.Identity(); {
	case f.item.Env.Incarnation != "":
		f.read = f.item.Env.Incarnation
	case !id.IsZero():
		f.read = id.String()
	default:
		f.read = "r:" + w.host.ID()
	}
	return f.read
}

// mark stores a note on the stored copy and reports how it went.
func (w *Worker) mark(a *engine.Action) {
	it, mark := a.Item, a.Mark
	if a.Pending {
		mark.Pending = pendingOf(flightOf(it).move())
		if mark.Pending == nil {
			return
		}
	}
	ctx, cancel := w.host.Timeout(w.settle.ctx, w.cfg.SettleTimeout)
	defer cancel()
	err := it.Delivery.Mark(ctx, mark)
	w.step(nil, false, func(now time.Time, out []engine.Action) []engine.Action {
		return w.machine.Marked(now, it, err, out)
	})
}

// pendingOf is the note of a move that could not be made.
func pendingOf(o broker.Outcome) *broker.Pending {
	switch o := o.(type) {
	case broker.Retry:
		return &broker.Pending{Retry: true, At: o.At, Envelope: o.Envelope, PublishID: o.PublishID, Counted: o.Counted}
	case broker.Dead:
		return &broker.Pending{Queue: o.Queue, Envelope: o.Envelope, PublishID: o.PublishID}
	}
	return nil
}

func outcomeOf(p *broker.Pending) broker.Outcome {
	if p.Retry {
		return broker.Retry{At: p.At, Envelope: p.Envelope, PublishID: p.PublishID, Counted: p.Counted}
	}
	return broker.Dead{Queue: p.Queue, Envelope: p.Envelope, PublishID: p.PublishID}
}

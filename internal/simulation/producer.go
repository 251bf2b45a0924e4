package simulation

import (
	"errors"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/idempotency"
)

// produce publishes the messages, each at its time.
func (w *world) produce() {
	order := make([]*message, len(w.plan.messages))
	for i := range order {
		order[i] = &w.plan.messages[i]
	}
	for _, m := range order {
		w.sched.call(int64(m.at), func() { w.sched.start(w.self, func() { w.publish(m) }) })
	}
}

// publish publishes one message until it is confirmed, or sometimes gives up with
// nobody knowing whether it is there.
func (w *world) publish(m *message) {
	out := broker.Outbound{
		Queue: source, ID: fmt.Sprintf("pub:m%d", m.id), Key: []byte(m.describe()), Body: m.body(),
		Headers: append(m.headers(), m.control()...), Envelope: w.hostileEnvelope(m),
	}
	if m.expires > 0 {
		out.ExpiresAt = w.now().Add(m.expires)
	}
	times := 1
	if m.twice {
		times = 2
	}
	for n := range times {
		if m.twice {
			out.ID = fmt.Sprintf("pub:m%d:%d", m.id, n)
		}
		for tries := 0; ; tries++ {
			if !w.healed && w.sched.random.Float64() < w.plan.fail {
				if tries > 3 {
					return // never published, for certain
				}
				w.sched.sleep(w.ctx, int64(time.Second))
				continue
			}
			if err := w.hub.Publish(w.ctx, []broker.Outbound{out})[0]; err != nil {
				w.books.violate("world", "publish m%d: %v", m.id, err)
				return
			}
			w.trace.line("produce").n("m", m.id).s(m.describe()).end()
			w.books.published(m.id)
			w.changed()
			if w.healed || w.sched.random.Float64() >= w.plan.lose {
				break
			}
			if tries > 3 {
				return
			}
			w.sched.sleep(w.ctx, int64(time.Second))
		}
		w.books.confirmed[m.id] = true
	}
}

// hostileEnvelope is what a producer that should not sends in our header.
func (w *world) hostileEnvelope(m *message) []byte {
	switch m.hostile {
	case garbage:
		return []byte(`{"v":1,"id":"` + "\xff\x00")
	case future:
		return []byte(`{"v":99,"id":"x"}`)
	case copied:
		raw, _, err := envelope.Encode(envelope.Envelope{
			Key: "somebody else's", Source: source, Group: broker.DefaultGroup, Incarnation: "x", Count: 4,
			BodyDigest: envelope.Digest([]byte("another body")), FirstFailure: w.now(), LastFailure: w.now(),
		}, envelope.DefaultLimit)
		if err != nil {
			w.books.violate("world", "encode: %v", err)
		}
		return raw
	case friendly:
	}
	return nil
}

var errOperatorDied = errors.New("the operator's process died")

// replay sends dead letters of a group back through its replay entry, as a
// campaign does: published and confirmed first, removed afterwards.
func (w *world) replay(group int) {
	n := w.names[group]
	queues := []string{n.DeadLetter}
	for k := range quarantined {
		queues = append(queues, n.Quarantine(quarantined[k]))
	}
	left := 1 + w.sched.random.IntN(6)
	for _, q := range queues {
		var letters []broker.Letter
		w.scan(q, func(l *broker.Letter) { letters = append(letters, *l) })
		for i := range letters {
			if left--; left < 0 {
				return
			}
			if w.replayOne(group, q, &letters[i]) != nil {
				return
			}
		}
	}
}

func (w *world) replayOne(group int, queue string, l *broker.Letter) error {
	id := idOf(l.Message.Body)
	e, err := envelope.Decode(l.Message.Envelope)
	if err != nil || id < 0 || id >= len(w.plan.messages) {
		return nil //nolint:nilerr // the check at the end finds it
	}
	e.Replays++
	e.Count, e.Uncounted = 0, 0
	e.FirstFailure, e.LastFailure, e.Exhausted, e.Reason = time.Time{}, time.Time{}, time.Time{}, ""
	raw, _, err := envelope.Encode(e, envelope.DefaultLimit)
	if err != nil {
		w.books.violate("world", "encode: %v", err)
		return nil
	}
	out := broker.Outbound{
		Queue: w.names[group].Replay, ID: idempotency.ReplayPublishID(queue+l.Position, e.Replays), Key: l.Message.Key,
		Body: l.Message.Body, Headers: l.Message.Headers, Envelope: raw,
	}
	for range 2 {
		if err := w.hub.Publish(w.ctx, []broker.Outbound{out})[0]; err != nil {
			w.books.violate("world", "replay m%d: %v", id, err)
			return nil
		}
		w.books.ledger(group, id).replays++
		w.trace.line("replay").n("m", id).s(queue).end()
		w.changed()
		w.sched.sleep(w.ctx, w.sched.random.Int64N(int64(5*time.Second)))
		if w.healed || w.sched.random.Float64() >= w.plan.lose {
			break
		}
	}
	if !w.healed && w.sched.random.Float64() < w.plan.fail {
		return errOperatorDied
	}
	letters, err := w.hub.Letters(w.ctx, queue)
	if err == nil {
		err = letters.Remove(w.ctx, l.Position)
	}
	if err != nil {
		w.books.violate("world", "remove m%d: %v", id, err)
	}
	return nil
}

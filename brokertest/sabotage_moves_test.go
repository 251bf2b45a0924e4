package brokertest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest"
)

func moveSabotages() []sabotage {
	return []sabotage{
		{name: "done is a release", settle: altered(func(_ *saboteur, o broker.Outcome) broker.Outcome {
			if _, ok := o.(broker.Done); ok {
				return broker.Release{}
			}
			return o
		})},
		{name: "release is done", settle: altered(func(_ *saboteur, o broker.Outcome) broker.Outcome {
			if _, ok := o.(broker.Release); ok {
				return broker.Done{}
			}
			return o
		})},
		{name: "settles twice", settle: func(d *saboteur, ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
			r, err := d.Delivery.Settle(ctx, o)
			if errors.Is(err, broker.ErrSettled) {
				err = nil
			}
			return r, err
		}},
		{name: "release without its mark", settle: altered(func(_ *saboteur, o broker.Outcome) broker.Outcome {
			if r, ok := o.(broker.Release); ok {
				r.Mark = broker.Mark{}
				return r
			}
			return o
		})},
		{name: "release at once", settle: altered(func(_ *saboteur, o broker.Outcome) broker.Outcome {
			if r, ok := o.(broker.Release); ok {
				r.After = 0
				return r
			}
			return o
		})},
		{name: "retry at once", settle: altered(func(_ *saboteur, o broker.Outcome) broker.Outcome {
			if r, ok := o.(broker.Retry); ok {
				r.At = time.Time{}
				return r
			}
			return o
		})},
		{name: "retry a day late", settle: altered(func(_ *saboteur, o broker.Outcome) broker.Outcome {
			if r, ok := o.(broker.Retry); ok {
				r.At = r.At.Add(24 * time.Hour)
				return r
			}
			return o
		})},
		{name: "retry a millisecond early", settle: altered(func(_ *saboteur, o broker.Outcome) broker.Outcome {
			if r, ok := o.(broker.Retry); ok {
				r.At = r.At.Add(-time.Millisecond)
				return r
			}
			return o
		})},
		{name: "retry is a release", settle: altered(func(_ *saboteur, o broker.Outcome) broker.Outcome {
			if r, ok := o.(broker.Retry); ok {
				return broker.Release{After: time.Until(r.At)}
			}
			return o
		})},
		{name: "move without publish id", settle: altered(func(_ *saboteur, o broker.Outcome) broker.Outcome {
			switch o := o.(type) {
			case broker.Retry:
				o.PublishID = ""
				return o
			case broker.Dead:
				o.PublishID = ""
				return o
			}
			return o
		})},
		{name: "publish id is the logical id", settle: altered(func(d *saboteur, o broker.Outcome) broker.Outcome {
			if dead, ok := o.(broker.Dead); ok {
				dead.PublishID = string(d.Msg().Body)
				return dead
			}
			return o
		})},
		{name: "one quarantine for all", settle: altered(func(_ *saboteur, o broker.Outcome) broker.Outcome {
			if dead, ok := o.(broker.Dead); ok {
				dead.Queue, _, _ = strings.Cut(dead.Queue, ".quarantine")
				return dead
			}
			return o
		})},
		{name: "copy without settling", settle: func(d *saboteur, ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
			if dead, ok := o.(broker.Dead); ok {
				return broker.Receipt{}, d.sub.b.Broker.Publish(ctx, []broker.Outbound{{Queue: dead.Queue, ID: dead.PublishID, Body: d.Msg().Body, Envelope: dead.Envelope}})[0]
			}
			return d.Delivery.Settle(ctx, o)
		}},
		{name: "cancelled settle took effect", settle: func(d *saboteur, ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
			if err := ctx.Err(); err != nil {
				_, _ = d.Delivery.Settle(context.WithoutCancel(ctx), broker.Done{})
				return broker.Receipt{}, err
			}
			return d.Delivery.Settle(ctx, o)
		}},
		{name: "too large is dropped", settle: func(d *saboteur, ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
			r, err := d.Delivery.Settle(ctx, o)
			if _, ok := errors.AsType[*broker.TooLargeError](err); ok {
				_, _ = d.Delivery.Settle(ctx, broker.Done{})
			}
			return r, err
		}},
		{name: "too large is any error", settle: func(d *saboteur, ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
			r, err := d.Delivery.Settle(ctx, o)
			if tooLarge, ok := errors.AsType[*broker.TooLargeError](err); ok {
				err = errors.New(tooLarge.Error())
			}
			return r, err
		}},
	}
}

func deliverySabotages() []sabotage {
	return []sabotage{
		{name: "counts from one", deliver: func(d *saboteur) { d.count.Earlier++ }},
		{name: "never counts", deliver: func(d *saboteur) { d.count.Earlier = 0 }},
		{name: "one identity", deliver: func(d *saboteur) { d.identity = broker.Incarnation{Queue: "q"} }},
		{name: "identity per delivery", deliver: func(d *saboteur) { d.identity.Position += fmt.Sprint("/", d.count.Earlier) }},
		{name: "identity is the body", deliver: func(d *saboteur) { d.identity = broker.Incarnation{Queue: string(d.msg.Body)} }},
		{name: "marks kept per body", deliver: marksByBody()},
		{name: "marks forgotten", deliver: func(d *saboteur) { d.count.Mark = broker.Mark{} }},
		{name: "mark without pending", mark: func(d *saboteur, ctx context.Context, m broker.Mark) error {
			m.Pending = nil
			return d.Delivery.Mark(ctx, m)
		}},
		{name: "marks claimed", caps: func(c *broker.Caps) { c.Marks = false }},
		{name: "extend does nothing", extend: func(*saboteur, context.Context, time.Duration) error { return nil }},
		{name: "extend fails", extend: func(*saboteur, context.Context, time.Duration) error { return broker.ErrLeaseLost }},
		{name: "lease halved", spec: func(s *broker.Spec) { s.Lease /= 2 }},
		{name: "lease endless", spec: func(s *broker.Spec) { s.Lease = 24 * time.Hour }},
		{name: "lease of a moment", spec: func(s *broker.Spec) { s.Lease = time.Millisecond }},
		{name: "in flight unbounded", spec: func(s *broker.Spec) { s.MaxInFlight = 1000 }},
		{name: "in flight of one", spec: func(s *broker.Spec) { s.MaxInFlight = 1 }},
		{name: "one group for all", spec: func(s *broker.Spec) { s.Group = "" }},
		{name: "max ignored", receive: func(ctx context.Context, s broker.Subscription, _ int) ([]broker.Delivery, error) {
			return s.Receive(ctx, 100)
		}},
		{name: "receive throws away what is over", receive: func(ctx context.Context, s broker.Subscription, max int) ([]broker.Delivery, error) {
			got, err := s.Receive(ctx, max+1)
			for len(got) > max {
				_, _ = got[len(got)-1].Settle(ctx, broker.Done{})
				got = got[:len(got)-1]
			}
			return got, err
		}},
		{name: "cancelled receive is silent", receive: func(ctx context.Context, s broker.Subscription, max int) ([]broker.Delivery, error) {
			got, err := s.Receive(ctx, max)
			if ctx.Err() != nil {
				err = errors.New("gone")
			}
			return got, err
		}},
		{name: "newest first", caps: func(c *broker.Caps) { c.Ordered = true }, receive: newestFirst},
		{name: "messages doubled", receive: func(ctx context.Context, s broker.Subscription, max int) ([]broker.Delivery, error) {
			got, err := s.Receive(ctx, max)
			if len(got) > 0 && len(got) < max {
				got = append(got, got[0])
			}
			return got, err
		}},
	}
}

// marksByBody shows a mark to every copy of the same body.
func marksByBody() func(*saboteur) {
	var mu sync.Mutex
	marks := map[string]broker.Mark{}
	return func(d *saboteur) {
		mu.Lock()
		defer mu.Unlock()
		if !d.count.Mark.IsZero() {
			marks[string(d.msg.Body)] = d.count.Mark
		}
		if d.count.Mark.IsZero() && d.count.Earlier == 0 {
			d.count.Mark = marks[string(d.msg.Body)]
		}
	}
}

func newestFirst(ctx context.Context, s broker.Subscription, max int) ([]broker.Delivery, error) {
	got, err := s.Receive(ctx, 100)
	slices.Reverse(got)
	for len(got) > max {
		_, _ = got[len(got)-1].Settle(ctx, broker.Release{})
		got = got[:len(got)-1]
	}
	return got, err
}

func lifeSabotages() []sabotage {
	lettersWith := func(over overLetters) func(broker.Letters) broker.Letters {
		return func(l broker.Letters) broker.Letters { over.Letters = l; return over }
	}
	return []sabotage{
		{name: "pause closes", sub: func(s broker.Subscription) broker.Subscription { return overSub{Subscription: s, pauseCloses: true} }},
		{name: "drain does nothing", sub: func(s broker.Subscription) broker.Subscription { return overSub{Subscription: s, noDrain: true} }},
		{name: "drain closes", sub: func(s broker.Subscription) broker.Subscription { return overSub{Subscription: s, drainCloses: true} }},
		{name: "close does nothing", sub: func(s broker.Subscription) broker.Subscription { return overSub{Subscription: s, noClose: true} }},
		{name: "close settles", sub: func(s broker.Subscription) broker.Subscription { return overSub{Subscription: s, closeTakes: true} }},
		{name: "looking takes", letters: lettersWith(overLetters{scanTakes: true})},
		{name: "looking reverses", letters: lettersWith(overLetters{reverse: true})},
		{name: "cursor ignored", letters: lettersWith(overLetters{noCursor: true})},
		{name: "get of anything", letters: lettersWith(overLetters{getAny: true})},
		{name: "remove does nothing", letters: lettersWith(overLetters{noRemove: true})},
		{name: "remove takes all", letters: lettersWith(overLetters{removeAll: true})},
		{name: "remove twice fails", letters: lettersWith(overLetters{removeOnce: true})},
		{name: "drain ignores the sink", letters: lettersWith(overLetters{sinkIgnored: true})},
		{name: "mode claimed", caps: func(c *broker.Caps) { c.LettersMode = broker.DrainOnly }},
		{name: "letter with the identity of nothing", letter: func(l *broker.Letter) { l.Identity = broker.Incarnation{} }},
		{name: "stats add one", stats: func(s *broker.Stats) { s.Ready++ }},
		{name: "stats without flight", stats: func(s *broker.Stats) { s.InFlight = 0 }},
		{name: "stats without delay", stats: func(s *broker.Stats) { s.Delayed = 0 }},
		{name: "oldest is now", stats: func(s *broker.Stats) { s.Oldest = time.Now().Add(time.Hour) }},
		{name: "queues unsorted", topo: func(t broker.Topology) broker.Topology { return overTopology{t} }},
		{name: "restart forgets letters", restart: func(b *redrivetest.Broker) { forget(b, broker.KindDeadLetter) }},
		{name: "restart forgets retries", restart: func(b *redrivetest.Broker) { forget(b, broker.KindRetry) }},
	}
}

// forget empties every queue of a kind.
func forget(b *redrivetest.Broker, kind broker.QueueKind) {
	ctx := context.Background()
	queues, _ := b.Topology().Queues(ctx)
	for _, q := range queues {
		if q.Kind == kind {
			if l, err := b.Letters(ctx, q.Name); err == nil {
				_ = l.Drain(ctx, 100, func(context.Context, []broker.Letter) error { return nil })
			}
		}
	}
}

type overSub struct {
	broker.Subscription
	pauseCloses, noDrain, drainCloses, noClose, closeTakes bool
}

func (s overSub) Pause(ctx context.Context) error {
	if s.pauseCloses {
		return s.Subscription.Close(ctx)
	}
	return s.Subscription.Pause(ctx)
}

func (s overSub) Drain(ctx context.Context) error {
	switch {
	case s.noDrain:
		return nil
	case s.drainCloses:
		return s.Subscription.Close(ctx)
	}
	return s.Subscription.Drain(ctx)
}

func (s overSub) Close(ctx context.Context) error {
	if s.noClose {
		return nil
	}
	if s.closeTakes {
		taking, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		ds, _ := s.Receive(taking, 100)
		for _, d := range ds {
			_, _ = d.Settle(ctx, broker.Done{})
		}
	}
	return s.Subscription.Close(ctx)
}

type overLetters struct {
	broker.Letters
	scanTakes, reverse, noCursor, getAny, noRemove, removeAll, removeOnce, sinkIgnored bool
}

func (l overLetters) Scan(ctx context.Context, from broker.Cursor, n int) ([]broker.Letter, broker.Cursor, error) {
	if l.noCursor {
		n, from = min(n, 3), ""
	}
	got, next, err := l.Letters.Scan(ctx, from, n)
	if l.scanTakes {
		for _, letter := range got {
			_ = l.Letters.Remove(ctx, letter.Position)
		}
	}
	if l.reverse {
		slices.Reverse(got)
	}
	return got, next, err
}

func (l overLetters) Get(ctx context.Context, pos string) (broker.Letter, error) {
	if l.getAny {
		got, _, err := l.Letters.Scan(ctx, "", 1)
		if len(got) > 0 {
			return got[0], nil
		}
		return broker.Letter{}, err
	}
	return l.Letters.Get(ctx, pos)
}

func (l overLetters) Remove(ctx context.Context, pos string) error {
	switch {
	case l.noRemove:
		return nil
	case l.removeAll:
		return l.Letters.Drain(ctx, 100, func(context.Context, []broker.Letter) error { return nil })
	case l.removeOnce:
		if _, err := l.Letters.Get(ctx, pos); err != nil {
			return err
		}
	}
	return l.Letters.Remove(ctx, pos)
}

func (l overLetters) Drain(ctx context.Context, batch int, sink func(context.Context, []broker.Letter) error) error {
	if l.sinkIgnored {
		return l.Letters.Drain(ctx, batch, func(ctx context.Context, got []broker.Letter) error {
			_ = sink(ctx, got)
			return nil
		})
	}
	return l.Letters.Drain(ctx, batch, sink)
}

type overTopology struct{ broker.Topology }

func (t overTopology) Queues(ctx context.Context) ([]broker.Queue, error) {
	got, err := t.Topology.Queues(ctx)
	slices.Reverse(got)
	return got, err
}

package brokertest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest"
)

// sabotage is an adapter with one bug. Each hook that is set replaces a call;
// the inner call does the right thing.
type sabotage struct {
	name  string
	opts  []redrivetest.Option
	caps  func(*broker.Caps)
	spec  func(*broker.Spec)
	stats func(*broker.Stats)
	send  func(broker.Broker, context.Context, []broker.Outbound) []error
	// look changes what deliveries and letters show.
	look    func(*broker.Message)
	letter  func(*broker.Letter)
	deliver func(*saboteur)
	receive func(context.Context, broker.Subscription, int) ([]broker.Delivery, error)
	settle  func(*saboteur, context.Context, broker.Outcome) (broker.Receipt, error)
	mark    func(*saboteur, context.Context, broker.Mark) error
	extend  func(*saboteur, context.Context, time.Duration) error
	letters func(broker.Letters) broker.Letters
	sub     func(broker.Subscription) broker.Subscription
	topo    func(broker.Topology) broker.Topology
	restart func(*redrivetest.Broker)
	// silent makes reads that fail look like reads of nothing, and an Open that
	// fails like one that worked.
	silent bool
}

type broken struct {
	broker.Broker
	s *sabotage
}

func (b *broken) Caps(ctx context.Context, q string) (broker.Caps, error) {
	c, err := b.Broker.Caps(ctx, q)
	if b.s.caps != nil {
		b.s.caps(&c)
	}
	return c, err
}

func (b *broken) Publish(ctx context.Context, ms []broker.Outbound) []error {
	if b.s.send != nil {
		return b.s.send(b.Broker, ctx, ms)
	}
	return b.Broker.Publish(ctx, ms)
}

func (b *broken) Stats(ctx context.Context, q string) (broker.Stats, error) {
	st, err := b.Broker.Stats(ctx, q)
	if b.s.stats != nil {
		b.s.stats(&st)
	}
	if b.s.silent && err != nil {
		return broker.Stats{AsOf: time.Now(), Exact: true}, nil //nolint:nilerr // this is the bug
	}
	return st, err
}

func (b *broken) Topology() broker.Topology {
	if b.s.topo != nil {
		return b.s.topo(b.Broker.Topology())
	}
	return b.Broker.Topology()
}

func (b *broken) Letters(ctx context.Context, q string) (broker.Letters, error) {
	l, err := b.Broker.Letters(ctx, q)
	if err != nil {
		return nil, err
	}
	l = &brokenLetters{l, b.s}
	if b.s.letters != nil {
		l = b.s.letters(l)
	}
	return l, nil
}

type brokenLetters struct {
	broker.Letters
	s *sabotage
}

func (l *brokenLetters) Scan(ctx context.Context, from broker.Cursor, n int) ([]broker.Letter, broker.Cursor, error) {
	got, next, err := l.Letters.Scan(ctx, from, n)
	if l.s.silent && err != nil {
		return nil, from, nil //nolint:nilerr // this is the bug
	}
	for i := range got {
		if l.s.look != nil {
			l.s.look(&got[i].Message)
		}
		if l.s.letter != nil {
			l.s.letter(&got[i])
		}
	}
	return got, next, err
}

func (b *broken) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	if b.s.spec != nil {
		b.s.spec(&spec)
	}
	sub, err := b.Broker.Open(ctx, spec)
	if err != nil && b.s.silent {
		return deadSub{}, nil
	}
	if err != nil {
		return nil, err
	}
	if b.s.sub != nil {
		sub = b.s.sub(sub)
	}
	return &brokenSub{sub, b, broker.NamesFor(spec.Source, spec.Group)}, nil
}

type brokenSub struct {
	broker.Subscription
	b     *broken
	names broker.Names
}

func (s *brokenSub) Receive(ctx context.Context, max int) ([]broker.Delivery, error) {
	receive := func(ctx context.Context, sub broker.Subscription, max int) ([]broker.Delivery, error) {
		return sub.Receive(ctx, max)
	}
	if s.b.s.receive != nil {
		receive = s.b.s.receive
	}
	got, err := receive(ctx, s.Subscription, max)
	for i, d := range got {
		sd := &saboteur{Delivery: d, sub: s, msg: d.Msg(), identity: d.Identity(), count: d.Deliveries()}
		if s.b.s.look != nil {
			s.b.s.look(sd.msg)
		}
		if s.b.s.deliver != nil {
			s.b.s.deliver(sd)
		}
		got[i] = sd
	}
	return got, err
}

type saboteur struct {
	broker.Delivery
	sub      *brokenSub
	msg      *broker.Message
	identity broker.Incarnation
	count    broker.Deliveries
}

func (d *saboteur) Msg() *broker.Message          { return d.msg }
func (d *saboteur) Identity() broker.Incarnation  { return d.identity }
func (d *saboteur) Deliveries() broker.Deliveries { return d.count }

func (d *saboteur) Mark(ctx context.Context, m broker.Mark) error {
	if d.sub.b.s.mark != nil {
		return d.sub.b.s.mark(d, ctx, m)
	}
	return d.Delivery.Mark(ctx, m)
}

func (d *saboteur) Extend(ctx context.Context, by time.Duration) error {
	if d.sub.b.s.extend != nil {
		return d.sub.b.s.extend(d, ctx, by)
	}
	return d.Delivery.Extend(ctx, by)
}

func (d *saboteur) Settle(ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
	if d.sub.b.s.settle != nil {
		return d.sub.b.s.settle(d, ctx, o)
	}
	return d.Delivery.Settle(ctx, o)
}

// altered settles with a changed outcome.
func altered(change func(*saboteur, broker.Outcome) broker.Outcome) func(*saboteur, context.Context, broker.Outcome) (broker.Receipt, error) {
	return func(d *saboteur, ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
		return d.Delivery.Settle(ctx, change(d, o))
	}
}

// sent publishes changed messages.
func sent(change func(*broker.Outbound)) func(broker.Broker, context.Context, []broker.Outbound) []error {
	return func(b broker.Broker, ctx context.Context, ms []broker.Outbound) []error {
		ms = slices.Clone(ms)
		for i := range ms {
			change(&ms[i])
		}
		return b.Publish(ctx, ms)
	}
}

// copied settles first and publishes the changed copy then, or refuses it.
func copied(change func(*broker.Message, *broker.Outbound)) func(*saboteur, context.Context, broker.Outcome) (broker.Receipt, error) {
	return func(d *saboteur, ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
		m := d.Msg()
		out := broker.Outbound{Key: m.Key, Body: m.Body, Headers: m.Headers, ExpiresAt: m.ExpiresAt}
		switch o := o.(type) {
		case broker.Retry:
			out.Queue, out.ID, out.Envelope = d.sub.names.Retry, o.PublishID, o.Envelope
		case broker.Dead:
			out.Queue, out.ID, out.Envelope = o.Queue, o.PublishID, o.Envelope
		default:
			return d.Delivery.Settle(ctx, o)
		}
		change(m, &out)
		if err := d.sub.b.Broker.Publish(ctx, []broker.Outbound{out})[0]; err != nil {
			return broker.Receipt{}, err
		}
		return d.Delivery.Settle(ctx, broker.Done{})
	}
}

func contentSabotages() []sabotage {
	return []sabotage{
		{name: "body as text", look: func(m *broker.Message) { m.Body = bytes.ToValidUTF8(m.Body, []byte("?")) }},
		{name: "body trimmed", look: func(m *broker.Message) { m.Body = bytes.TrimSpace(m.Body) }},
		{name: "empty body replaced", look: func(m *broker.Message) {
			if len(m.Body) == 0 {
				m.Body = []byte("null")
			}
		}},
		{name: "body cut at 4 KiB", look: func(m *broker.Message) { m.Body = m.Body[:min(len(m.Body), 4096)] }},
		{name: "key as text", look: func(m *broker.Message) { m.Key = bytes.ToValidUTF8(m.Key, nil) }},
		{name: "key in ASCII", look: func(m *broker.Message) {
			m.Key = bytes.Map(func(r rune) rune { return min(r, 127) }, m.Key)
		}},
		{name: "key lost", look: func(m *broker.Message) { m.Key = nil }},
		{name: "ten headers", look: func(m *broker.Message) { m.Headers = m.Headers[:min(len(m.Headers), 10)] }},
		{name: "headers in a map", look: func(m *broker.Message) {
			slices.SortStableFunc(m.Headers, func(a, b broker.Header) int { return strings.Compare(a.Name, b.Name) })
			m.Headers = slices.CompactFunc(m.Headers, func(a, b broker.Header) bool { return a.Name == b.Name })
		}},
		{name: "header names canonical", look: func(m *broker.Message) {
			for i := range m.Headers {
				m.Headers[i].Name = strings.ToLower(m.Headers[i].Name)
			}
		}},
		{name: "own prefix swallowed", look: func(m *broker.Message) {
			m.Headers = slices.DeleteFunc(m.Headers, func(h broker.Header) bool { return strings.HasPrefix(h.Name, "x-replayed") })
		}},
		{name: "expiry forgotten", look: func(m *broker.Message) { m.ExpiresAt = time.Time{} }},
		{name: "envelope cut at 4 KiB", look: func(m *broker.Message) { m.Envelope = m.Envelope[:min(len(m.Envelope), 4096)] }},
		{name: "envelope invented", look: func(m *broker.Message) {
			if m.Envelope == nil {
				m.Envelope = []byte("{}")
			}
		}},
		{name: "envelope kept from before", settle: altered(func(d *saboteur, o broker.Outcome) broker.Outcome {
			if r, ok := o.(broker.Retry); ok && len(d.Msg().Envelope) > 0 {
				r.Envelope = d.Msg().Envelope
				return r
			}
			return o
		})},
		{name: "control headers in Headers", opts: []redrivetest.Option{redrivetest.WithControl(func(string) bool { return false })}},
		{name: "control headers copied", settle: copied(func(m *broker.Message, out *broker.Outbound) {
			out.Headers = slices.Concat(m.Headers, m.Control)
		})},
		{name: "hostile headers act", send: func(b broker.Broker, ctx context.Context, ms []broker.Outbound) []error {
			for _, m := range ms {
				if len(m.Headers) > 0 && m.Headers[0].Name == "Nats-Rollup" {
					l, err := b.Letters(ctx, m.Queue)
					if err != nil {
						return []error{err}
					}
					_ = l.Drain(ctx, 10, func(context.Context, []broker.Letter) error { return nil })
				}
			}
			return b.Publish(ctx, ms)
		}},
	}
}

func publishSabotages() []sabotage {
	return []sabotage{
		{name: "no server name", caps: func(c *broker.Caps) { c.Server = "" }},
		{name: "results missing", send: func(b broker.Broker, ctx context.Context, ms []broker.Outbound) []error {
			b.Publish(ctx, ms)
			return nil
		}},
		{name: "publish ignores ids", send: sent(func(m *broker.Outbound) { m.ID = "" })},
		{name: "publish id is the body", send: sent(func(m *broker.Outbound) { m.ID = string(m.Body) })},
		{name: "publish refuses the whole batch", send: func(b broker.Broker, ctx context.Context, ms []broker.Outbound) []error {
			errs := b.Publish(ctx, ms)
			if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
				for k := range errs {
					errs[k] = errs[i]
				}
			}
			return errs
		}},
		{name: "cancelled publish confirmed", send: func(b broker.Broker, ctx context.Context, ms []broker.Outbound) []error {
			b.Publish(ctx, ms)
			return make([]error, len(ms))
		}},
		{
			name: "unroutable confirmed", opts: []redrivetest.Option{redrivetest.WithDeclaredQueues()},
			send: func(b broker.Broker, ctx context.Context, ms []broker.Outbound) []error {
				errs := b.Publish(ctx, ms)
				for i, err := range errs {
					if errors.Is(err, broker.ErrUnroutable) {
						errs[i] = nil
					}
				}
				return errs
			},
		},
		{
			name: "unroutable dead letter confirmed", opts: []redrivetest.Option{redrivetest.WithDeclaredQueues()},
			settle: func(d *saboteur, ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
				r, err := d.Delivery.Settle(ctx, o)
				if errors.Is(err, broker.ErrUnroutable) {
					return d.Delivery.Settle(ctx, broker.Done{})
				}
				return r, err
			},
		},
		{name: "dedupe window hides a removal", settle: remembering()},
		{name: "replay goes to everybody", send: sent(func(m *broker.Outbound) {
			if source, ok := strings.CutSuffix(m.Queue, ".replay"); ok {
				m.Queue, _, _ = strings.Cut(source, "--")
			}
		})},
		{name: "replay doubles", send: sent(func(m *broker.Outbound) {
			if strings.HasPrefix(m.ID, "rp:") {
				m.ID = ""
			}
		})},
	}
}

// remembering drops a dead letter whose publish id it has seen, whether or not
// the letter is still there.
func remembering() func(*saboteur, context.Context, broker.Outcome) (broker.Receipt, error) {
	var mu sync.Mutex
	seen := map[string]bool{}
	return func(d *saboteur, ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
		dead, ok := o.(broker.Dead)
		mu.Lock()
		repeat := ok && seen[dead.PublishID]
		if ok {
			seen[dead.PublishID] = true
		}
		mu.Unlock()
		if repeat {
			return d.Delivery.Settle(ctx, broker.Done{})
		}
		return d.Delivery.Settle(ctx, o)
	}
}

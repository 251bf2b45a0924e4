package redrivetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// Broker is one client of an in-memory broker. What the broker holds outlives
// the client: [Broker.Client] connects another one to the same queues. It is
// safe for concurrent use and starts no goroutine.
type Broker struct {
	server *server
	subs   map[*Subscription]struct{} // guarded by server.mu
	closed bool                       // guarded by server.mu
}

var _ broker.Broker = (*Broker)(nil)

// server is the state that clients share. One mutex guards all of it and is
// never held while anybody waits.
type server struct {
	mu      sync.Mutex
	cfg     config
	queues  map[string]*queue
	groups  map[groupKey]*group
	clients map[*Broker]struct{}
	refused map[string]error
}

type groupKey struct{ source, group string }

// NewBroker starts an empty in-memory broker and returns its first client.
func NewBroker(opts ...Option) *Broker {
	s := &server{
		cfg:     defaults(),
		queues:  map[string]*queue{},
		groups:  map[groupKey]*group{},
		clients: map[*Broker]struct{}{},
		refused: map[string]error{},
	}
	for _, o := range opts {
		o.apply(&s.cfg)
	}
	return s.connect()
}

func (s *server) connect() *Broker {
	b := &Broker{server: s, subs: map[*Subscription]struct{}{}}
	s.clients[b] = struct{}{}
	return b
}

// Client connects another client to the same broker. It works after Close and
// Kill too: the queues outlive every client.
func (b *Broker) Client() *Broker {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	return b.server.connect()
}

// Close ends the client in good order: its subscriptions give back at once what
// they have not settled. It is idempotent.
func (b *Broker) Close(context.Context) error {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	for s := range b.subs {
		s.close(true)
	}
	b.closed = true
	delete(b.server.clients, b)
	return nil
}

// Kill ends the client as the death of its process does: every call from then
// on fails with broker.ErrClosed, and what it held comes back when its leases
// run out.
func (b *Broker) Kill() {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	for s := range b.subs {
		s.close(false)
	}
	b.closed = true
	delete(b.server.clients, b)
}

// Restart is a kill and a start of the broker. It keeps every message, count,
// mark and due time. All leases are dropped, and the running or next Receive of
// every subscription fails once, as on a lost connection; after that the
// clients are connected again.
func (b *Broker) Restart() {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	for c := range b.server.clients {
		for s := range c.subs {
			s.lost = true
		}
	}
	for _, g := range b.server.groups {
		for _, l := range g.lanes {
			for _, s := range l.slots {
				if s.state == leased {
					l.move(s, ready, time.Time{})
				}
			}
		}
		g.ring()
	}
}

// Refuse makes a queue take no more messages, with this error, such as
// broker.ErrFull or broker.ErrUnroutable. A nil error ends it.
func (b *Broker) Refuse(queue string, err error) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	b.server.refused[queue] = err
}

// Wake makes every waiting Receive look at the clock again. It is needed only
// with [WithClock].
func (b *Broker) Wake() {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	for _, g := range b.server.groups {
		g.ring()
	}
}

// NextDue returns when the next retry, delayed release or lapsed lease makes a
// message ready, and false if nothing waits for time to pass. A simulator with
// its own clock goes on from there.
func (b *Broker) NextDue() (time.Time, bool) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	var first time.Time
	for _, g := range b.server.groups {
		if at, ok := g.due(); ok && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first, !first.IsZero()
}

// Caps implements broker.Broker.
func (b *Broker) Caps(ctx context.Context, _ string) (broker.Caps, error) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	if err := b.usable(ctx); err != nil {
		return broker.Caps{}, fmt.Errorf("read caps: %w", err)
	}
	caps := b.server.cfg.caps
	caps.Notes = append([]string(nil), caps.Notes...)
	return caps, nil
}

// Open implements broker.Broker. The subscription is a *[Subscription]. A
// consumer group that is new to the source sees every message that the source
// still has; from then on a message stays until each group is done with it.
func (b *Broker) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	s, err := b.Subscribe(ctx, spec)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Subscribe is Open with the concrete type, for callers of TryReceive.
func (b *Broker) Subscribe(ctx context.Context, spec broker.Spec) (*Subscription, error) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	if err := b.usable(ctx); err != nil {
		return nil, fmt.Errorf("open %s: %w", spec.Source, err)
	}
	if err := b.server.consumable(spec); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	spec = spec.WithDefaults()
	s := &Subscription{client: b, spec: spec, group: b.server.declare(spec)}
	b.subs[s] = struct{}{}
	return s, nil
}

// consumable refuses what cannot be the source of a subscription.
func (s *server) consumable(spec broker.Spec) error {
	source := spec.Source
	switch kind := broker.KindOf(source); {
	case s.cfg.caps.OneGroup && spec.WithDefaults().Group != broker.DefaultGroup:
		return fmt.Errorf("a queue has one consumer group here, and %q is another: %w", spec.Group, broker.ErrUnsupported)
	case source == "":
		return errors.New("spec has no source: name the queue to consume")
	case kind == broker.KindOutcomes, kind == broker.KindHeartbeats:
		return fmt.Errorf("%s is the queue of %s, which is not consumed: %w", source, kind, broker.ErrUnsupported)
	}
	return nil
}

// declare makes the queues of a subscription and its lanes.
func (s *server) declare(spec broker.Spec) *group {
	key := groupKey{spec.Source, spec.Group}
	if g := s.groups[key]; g != nil {
		return g
	}
	g := &group{spec: spec, names: broker.NamesFor(spec.Source, spec.Group)}
	s.groups[key] = g
	now := s.cfg.now()
	for _, name := range []string{g.names.Retry, g.names.Replay, spec.Source} {
		g.lanes = append(g.lanes, s.queue(name).join(g, now))
	}
	s.queue(g.names.DeadLetter)
	for _, q := range quarantines(g.names) {
		s.queue(q)
	}
	s.queue(broker.QueueOutcomes)
	s.queue(broker.QueueHeartbeats)
	return g
}

func (s *server) queue(name string) *queue {
	q := s.queues[name]
	if q == nil {
		q = newQueue(name)
		s.queues[name] = q
	}
	return q
}

// target returns the queue that a message is for.
func (s *server) target(name string) (*queue, error) {
	if name == "" {
		return nil, fmt.Errorf("%w: no queue named", broker.ErrUnroutable)
	}
	if err := s.refused[name]; err != nil {
		return nil, fmt.Errorf("queue %s: %w", name, err)
	}
	if s.cfg.strict && s.queues[name] == nil {
		return nil, fmt.Errorf("%w: queue %s was not declared: open a subscription or ensure its topology first", broker.ErrUnroutable, name)
	}
	return s.queue(name), nil
}

// Publish implements broker.Broker. Headers that steer a broker are stored and
// handed over in Control, as those of any other producer are.
func (b *Broker) Publish(ctx context.Context, messages []broker.Outbound) []error {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	errs := make([]error, len(messages))
	for i := range messages {
		if err := b.publish(ctx, &messages[i]); err != nil {
			errs[i] = fmt.Errorf("publish to %s: %w", messages[i].Queue, err)
		}
	}
	return errs
}

func (b *Broker) publish(ctx context.Context, out *broker.Outbound) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	m := broker.Message{ID: strings.TrimPrefix(out.ID, "pub:"), Key: out.Key, Body: out.Body, Headers: out.Headers, Envelope: out.Envelope, ExpiresAt: out.ExpiresAt}
	m = b.server.sort(m.Clone())
	if err := b.server.fits(&m); err != nil {
		return err
	}
	q, err := b.server.target(out.Queue)
	if err != nil {
		return err
	}
	if q.kind == broker.KindHeartbeats {
		if len(m.Key) == 0 {
			return errors.New("a heartbeat without a key: nothing tells which one it replaces")
		}
		q.forget(m.Key)
	}
	now := b.server.cfg.now()
	if out.ID != "" && b.server.cfg.caps.DedupeWindow > 0 {
		if _, dup := q.known(out.ID, now, b.server.cfg.caps.DedupeWindow); dup {
			return nil
		}
	}
	e := q.store(m, now, time.Time{})
	if out.ID != "" {
		q.remember(out.ID, e.seq, now)
	}
	return nil
}

// PublishRaw stores a message as a client that knows nothing of redrive would:
// Control and Headers are all headers to it, and an envelope or an expiry among
// them is read by name. No publish id, no dedupe, no size limit.
func (b *Broker) PublishRaw(queue string, m broker.Message) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	m = m.Clone()
	m.Headers = append(m.Headers, m.Control...)
	m.Control = nil
	b.server.queue(queue).store(b.server.sort(m), b.server.cfg.now(), time.Time{})
}

// sort files each header where Message keeps its kind.
func (s *server) sort(m broker.Message) broker.Message {
	var plain []broker.Header
	for _, h := range m.Headers {
		at, err := time.Parse(time.RFC3339Nano, string(h.Value))
		switch {
		case h.Name == broker.HeaderEnvelope && m.Envelope == nil:
			m.Envelope = h.Value
		case h.Name == broker.HeaderExpiresAt && err == nil && m.ExpiresAt.IsZero():
			m.ExpiresAt = at
		case h.Name == broker.HeaderEnvelope || s.cfg.control(h.Name):
			m.Control = append(m.Control, h)
		default:
			plain = append(plain, h)
		}
	}
	m.Headers = plain
	return m
}

// fits refuses a copy that is larger than the broker takes.
func (s *server) fits(m *broker.Message) error {
	limit := s.cfg.caps.MaxMessage
	size := len(m.Key) + len(m.Body) + len(m.Envelope)
	for _, hs := range [][]broker.Header{m.Headers, m.Control} {
		for _, h := range hs {
			size += len(h.Name) + len(h.Value)
		}
	}
	if limit > 0 && size > limit {
		return &broker.TooLargeError{Size: size, Limit: limit}
	}
	return nil
}

// Stats implements broker.Broker. A copy that one consumer group holds counts as
// in flight even if another has yet to see it. A queue that does not exist is
// empty.
func (b *Broker) Stats(ctx context.Context, name string) (broker.Stats, error) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	if err := b.usable(ctx); err != nil {
		return broker.Stats{}, fmt.Errorf("read stats of %s: %w", name, err)
	}
	now := b.server.cfg.now()
	if q := b.server.queues[name]; q != nil {
		return q.stats(now), nil
	}
	return broker.Stats{AsOf: now, Exact: true}, nil
}

// usable refuses calls of a closed client and of a caller who has left.
func (b *Broker) usable(ctx context.Context) error {
	if b.closed {
		return fmt.Errorf("client %w", broker.ErrClosed)
	}
	return ctx.Err()
}

func position(seq uint64) string { return strconv.FormatUint(seq, 10) }

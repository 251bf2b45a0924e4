package redrivenats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

const (
	// unclaimed is how long a message may lie here while nobody receives, before it
	// goes back for another worker.
	unclaimed = time.Second
	// look is how often a waiting Receive looks at the connection.
	look = 200 * time.Millisecond
	// giveBackPause keeps a message that could not be handed over from coming back
	// at once, over and over.
	giveBackPause = time.Second
)

// phase is what a subscription does.
type phase uint8

const (
	receiving phase = iota
	paused
	drained
	closed
)

// inflightKey names a delivery within a subscription.
type inflightKey struct {
	lane     *lane
	sequence uint64
}

// subscription merges the consumers of a source and of its retry queue.
type subscription struct {
	b     *Broker
	spec  broker.Spec
	names broker.Names
	lanes []*lane
	wake  chan struct{}
	// receiveLock is held by the one Receive that asks the server; others wait.
	receiveLock chan struct{}
	stop        chan struct{}
	janitor     sync.WaitGroup

	mu       sync.Mutex
	phase    phase
	inflight map[inflightKey]*delivery
	// turn alternates which lane a single message is asked of first.
	turn int

	// reconnects is the connection's count when requests were last known to be
	// open. Receive alone uses it.
	reconnects uint64
	// verified is the connection's count when it was last known which deliveries
	// the server knows of. The janitor alone uses it.
	verified uint64
}

// Open starts consuming. It creates what the subscription needs and refuses,
// with every problem listed, streams and durables that lose messages.
func (b *Broker) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	spec = spec.WithDefaults()
	if !b.nc.IsConnected() {
		return nil, b.req.notConnected()
	}
	source, consumers, err := b.ensure(ctx, spec, true)
	if err != nil {
		return nil, fmt.Errorf("open queue %q for group %q: %w", spec.Source, spec.Group, err)
	}
	s := &subscription{
		b: b, spec: spec, names: broker.NamesFor(spec.Source, spec.Group),
		wake: make(chan struct{}, 1), receiveLock: make(chan struct{}, 1), stop: make(chan struct{}),
		inflight: map[inflightKey]*delivery{}, reconnects: b.nc.Stats().Reconnects, verified: b.nc.Stats().Reconnects,
	}
	if err := b.register(s); err != nil {
		return nil, err
	}
	err = s.start(ctx, source, consumers)
	if err == nil {
		err = b.checkPermissions(ctx, s)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open queue %q for group %q: %w", spec.Source, spec.Group, err), s.Close(ctx))
	}
	return s, nil
}

func (s *subscription) start(ctx context.Context, source source, consumers [2]*jetstream.ConsumerInfo) error {
	retry, err := s.b.streamInfo(ctx, s.b.layout.retryStream())
	if err != nil {
		return err
	}
	created := [2]time.Time{source.created, retry.Created}
	for i, info := range consumers {
		p, err := newPuller(s.b.nc, info.Stream, info.Name, s.notify)
		if err != nil {
			return err
		}
		l := &lane{
			puller: p, b: s.b, stream: info.Stream, consumer: info.Name, created: created[i],
			queue: streamIdentity(info.Stream, created[i]),
			ours:  i == 1, subject: source.subject, ackWait: info.Config.AckWait,
		}
		s.lanes = append(s.lanes, l)
		if err := l.reload(ctx); err != nil {
			return err
		}
	}
	// It ends with Drain, not with the context that opened the subscription.
	lasting := context.WithoutCancel(ctx)
	s.janitor.Go(func() { s.tidy(lasting) })
	return nil
}

func (s *subscription) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Receive waits for deliveries. Calls are served one after another.
func (s *subscription) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	if limit <= 0 {
		return nil, ctx.Err()
	}
	select {
	case s.receiveLock <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.receiveLock }()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		// What has arrived is handed over even to a cancelled caller's successor: it
		// stays here.
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		room, err := s.room()
		if err != nil {
			return nil, err
		}
		if !s.b.nc.IsConnected() {
			// What has arrived cannot be settled now: it stays here.
			return nil, s.pace(ctx, s.b.req.notConnected())
		}
		out, err := s.collect(ctx, min(limit, room))
		if err != nil {
			return nil, s.pace(ctx, err)
		}
		if len(out) > 0 {
			return out, nil
		}
		if err := s.ask(ctx, min(limit, room)); err != nil {
			return nil, s.pace(ctx, err)
		}
		select {
		case <-s.wake:
		case <-ticker.C:
		case <-s.stop:
		case <-ctx.Done():
		}
	}
}

// room is the number of deliveries that may still be handed out.
func (s *subscription) room() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.phase {
	case drained, closed:
		return 0, fmt.Errorf("subscription of %q: %w", s.spec.Source, broker.ErrClosed)
	case paused:
		return 0, nil
	case receiving:
	}
	if len(s.inflight) >= s.spec.MaxInFlight {
		// Deliveries that were abandoned are no longer ours.
		for key, d := range s.inflight {
			if errors.Is(d.held(), broker.ErrLeaseLost) {
				delete(s.inflight, key)
			}
		}
	}
	return max(s.spec.MaxInFlight-len(s.inflight), 0), nil
}

// collect takes what has arrived.
func (s *subscription) collect(ctx context.Context, limit int) ([]broker.Delivery, error) {
	var out []broker.Delivery
	var errs []error
	s.mu.Lock()
	first := s.turn
	s.mu.Unlock()
	var early []*delivery
	for i := range s.lanes {
		l := s.lanes[i^first]
		for _, a := range l.arrived(limit - len(out)) {
			d, err := l.delivery(ctx, s, a)
			if err != nil {
				// Without its note a message must not be run: it may have killed three
				// workers. It goes back for a while.
				errs = append(errs, err)
				_ = a.m.Respond([]byte(nakWithDelay(giveBackPause))) // Else its lease ends by itself.
				continue
			}
			if d.early() {
				early = append(early, d)
			} else if s.hold(d) {
				out = append(out, d)
			}
		}
	}
	if len(early) > 0 {
		errs = append(errs, postpone(ctx, early))
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, errors.Join(errs...)
}

// hold takes a delivery into account. It refuses one whose lease ended while it
// lay here.
func (s *subscription) hold(d *delivery) bool {
	if d.held() != nil {
		return false
	}
	s.mu.Lock()
	key := inflightKey{d.lane, d.sequence}
	earlier := s.inflight[key]
	s.inflight[key] = d
	s.mu.Unlock()
	if earlier != nil {
		earlier.mu.Lock()
		earlier.lost = true
		earlier.mu.Unlock()
	}
	return true
}

func (s *subscription) release(d *delivery) {
	s.mu.Lock()
	key := inflightKey{d.lane, d.sequence}
	if s.inflight[key] == d {
		delete(s.inflight, key)
	}
	s.mu.Unlock()
	s.notify()
}

// order returns the lanes, another one first each time, so that neither starves.
func (s *subscription) order() [2]*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn ^= 1
	return [2]*lane{s.lanes[s.turn], s.lanes[s.turn^1]}
}

// ask makes sure that requests are open: first for what is there, shared between
// the lanes; when nothing is, for the next message of each. A patient request
// asks for one message only, so that what comes while nobody receives is one
// message and no batch.
func (s *subscription) ask(ctx context.Context, want int) error {
	if err := s.reconnected(ctx); err != nil {
		return err
	}
	now, lanes := time.Now(), s.order()
	for _, l := range lanes {
		if err := l.trouble(); err != nil {
			return fmt.Errorf("receive from stream %s: %w", l.stream, err)
		}
	}
	if want <= 0 {
		return nil
	}
	for _, l := range lanes {
		if l.asking(quick, now) {
			return nil
		}
	}
	share := [2]int{want - want/2, want / 2}
	for i := range lanes {
		if lanes[i].dry() {
			share[i^1] = want
		}
	}
	for i, l := range lanes {
		if err := l.demand(share[i], now); err != nil {
			return fmt.Errorf("receive from stream %s: %w", l.stream, err)
		}
	}
	return nil
}

// reconnected forgets requests that were open on a connection that was lost.
func (s *subscription) reconnected(ctx context.Context) error {
	reconnects := s.b.nc.Stats().Reconnects
	if reconnects == s.reconnects {
		return nil
	}
	for _, l := range s.lanes {
		if l.reconnects == reconnects {
			continue // Done by an earlier Receive, which had no time for the rest.
		}
		l.drop()
		if err := l.reload(ctx); err != nil {
			return fmt.Errorf("receive from stream %s: %w", l.stream, err)
		}
		l.reconnects = reconnects
	}
	s.reconnects = reconnects
	return nil
}

// demand opens the next request of a lane: a quick one, and after a quick one
// that found nothing a patient one.
func (l *lane) demand(share int, now time.Time) error {
	if l.asking(patient, now) {
		return nil // It would have brought what is there.
	}
	if l.dry() {
		return l.request(patient, 1)
	}
	if share == 0 {
		return nil
	}
	return l.request(quick, share)
}

// pace returns an error not before a moment has passed: a caller who asks again
// at once shall not keep a processor busy while a server is away.
func (s *subscription) pace(ctx context.Context, err error) error {
	timer := time.NewTimer(look)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.stop:
	}
	return fmt.Errorf("queue %q: %w", s.spec.Source, err)
}

// tidy gives back what lies here unclaimed, and finds deliveries that a server
// has forgotten.
func (s *subscription) tidy(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	s.janitor.Go(func() { <-s.stop; cancel() })
	ticker := time.NewTicker(min(unclaimed, s.spec.Lease/3) / 2)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			s.verify(ctx)
			s.returnArrived(ctx, min(unclaimed, s.spec.Lease/3))
		}
	}
}

// verify asks after a reconnect which deliveries the server knows of. One that was
// killed has lost those of its last tenth of a second: their messages wait to be
// delivered as if for the first time, and what is said about them here is not
// heard. Whoever holds them has to learn that, or a worker whose hands are full
// would wait for answers until its leases end.
func (s *subscription) verify(ctx context.Context) {
	reconnects := s.b.nc.Stats().Reconnects
	if reconnects == s.verified || !s.b.nc.IsConnected() {
		return
	}
	s.mu.Lock()
	held := slices.Collect(maps.Values(s.inflight)) // Before the question: the answer covers all of these.
	s.mu.Unlock()
	known := map[*lane]uint64{}
	for _, l := range s.lanes {
		info, err := s.b.consumerInfo(ctx, l.stream, l.consumer)
		if err != nil {
			return // The next round asks again.
		}
		known[l] = info.Delivered.Stream
	}
	for _, d := range held {
		if d.sequence > known[d.lane] {
			d.forget()
			s.release(d)
		}
	}
	s.verified = reconnects
}

// returnArrived gives back messages that nobody received for that long. The
// server counts a delivery that no handler saw, so the note says that it is
// explained.
func (s *subscription) returnArrived(ctx context.Context, age time.Duration) {
	now := time.Now()
	for _, l := range s.lanes {
		for _, a := range l.stale(now, age) {
			d, err := l.delivery(ctx, s, a)
			if err != nil || d.held() != nil {
				continue // Its lease ends by itself.
			}
			if d.early() {
				_ = postpone(ctx, []*delivery{d}) // Else its lease ends by itself.
				continue
			}
			mark := d.deliveries.Mark
			mark.Explained++
			_ = d.giveBack(ctx, broker.Release{Mark: mark}) // Else its lease ends by itself.
		}
	}
}

// Pause stops asking. Requests that are open end within seconds; what they bring
// goes back.
func (s *subscription) Pause(ctx context.Context) error {
	return s.enter(ctx, paused)
}

// Resume ends Pause.
func (s *subscription) Resume(ctx context.Context) error {
	return s.enter(ctx, receiving)
}

func (s *subscription) enter(_ context.Context, to phase) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == drained || s.phase == closed {
		return fmt.Errorf("subscription of %q: %w", s.spec.Source, broker.ErrClosed)
	}
	s.phase = to
	s.notify()
	return nil
}

// Drain stops fetching for good and gives back what nobody received.
func (s *subscription) Drain(ctx context.Context) error {
	s.mu.Lock()
	if s.phase == drained || s.phase == closed {
		s.mu.Unlock()
		return nil
	}
	s.phase = drained
	s.mu.Unlock()
	close(s.stop)
	s.janitor.Wait()
	var errs []error
	for _, l := range s.lanes {
		errs = append(errs, l.unsubscribe())
	}
	s.returnArrived(ctx, 0)
	return errors.Join(errs...)
}

// Close drains and gives up what is not settled: its leases end by themselves.
func (s *subscription) Close(ctx context.Context) error {
	err := s.Drain(ctx)
	s.mu.Lock()
	s.phase = closed
	clear(s.inflight)
	s.mu.Unlock()
	s.b.unregister(s)
	return err
}

func (s *subscription) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == closed
}

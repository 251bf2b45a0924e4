package redriverabbitmq

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

const (
	// dormant is how long messages may lie here while nobody receives, before they
	// go back for another worker.
	dormant = 3 * time.Second
	// glance is how often a waiting Receive looks at the connection.
	glance = 200 * time.Millisecond
	// again is how long a message that could not go on to its next tier waits here.
	again = time.Second
)

// phase is what a subscription does.
type phase uint8

const (
	receiving phase = iota
	paused
	drained
	closed
)

// subscription merges the queue of a source and that of its retries.
type subscription struct {
	b     *Broker
	spec  broker.Spec
	names broker.Names
	// kind is how the source counts deliveries.
	kind broker.CountKind
	// wake tells a Receive, kick the keeper, and tick the minder.
	wake, kick, tick chan struct{}
	stop             chan struct{}
	workers          sync.WaitGroup
	// lasting is the context of what outlives Open.
	lasting context.Context //nolint:containedctx // it ends with Drain

	mu    sync.Mutex
	phase phase
	link  link
	// down is why there is no connection, nil if there is one.
	down error
	// consuming says what the keeper has made of the phase.
	consuming bool
	// changed is closed and replaced whenever the keeper has acted.
	changed  chan struct{}
	arrived  [2][]*delivery
	turn     int
	early    earlyHeap
	inflight map[*delivery]struct{}
	// ended says that no goroutine may be started any more.
	ended bool
	// receivers is the number of calls to Receive, received when the last one ended.
	receivers int
	received  time.Time
}

// Open starts consuming. It creates what the subscription needs and refuses, with
// every problem listed, a queue on which a message could be lost.
func (b *Broker) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	spec = spec.WithDefaults()
	fail := func(err error) error {
		return fmt.Errorf("open queue %q for group %q: %w", spec.Source, spec.Group, err)
	}
	kind, err := b.ensure(ctx, spec)
	if err != nil {
		return nil, fail(err)
	}
	s := &subscription{
		b: b, spec: spec, names: broker.NamesFor(spec.Source, spec.Group), kind: kind,
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1), tick: make(chan struct{}, 1), stop: make(chan struct{}),
		lasting: context.WithoutCancel(ctx), changed: make(chan struct{}), inflight: map[*delivery]struct{}{}, received: time.Now(),
	}
	if err := b.register(s); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, fail(errors.Join(err, s.Close(ctx)))
	}
	return s, nil
}

// start makes the first connection, so that what is wrong is an error of Open.
func (s *subscription) start(ctx context.Context) error {
	l, err := s.dial(ctx)
	if err != nil {
		return err
	}
	s.adopt(l)
	s.workers.Go(s.keep)
	s.workers.Go(s.mind)
	return s.settle(ctx)
}

// dial connects in the way that the configuration and the server allow.
func (s *subscription) dial(ctx context.Context) (link, error) {
	native, err := s.b.overAMQP10(ctx, s.spec.Source)
	switch {
	case err != nil:
		return nil, err
	case native:
		return dial10(ctx, s)
	}
	return dial091(ctx, s)
}

// adopt takes a new connection into use. Whatever was delivered over an earlier
// one is lost: only now, since until then nobody knows.
func (s *subscription) adopt(l link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.inflight {
		d.forget(errors.New("the connection was lost"))
	}
	clear(s.inflight)
	s.link, s.down, s.consuming = l, nil, false
	s.drop()
}

// drop forgets what nobody received. The lock is held.
func (s *subscription) drop() {
	s.arrived = [2][]*delivery{}
	s.early = nil
}

// keep makes connections and sees to it that the broker delivers when it should.
func (s *subscription) keep() {
	for {
		s.mu.Lock()
		l := s.link
		s.mu.Unlock()
		if l == nil {
			if !s.reconnect() {
				return
			}
			continue
		}
		if err := s.steer(l); err != nil {
			s.lose(l, err)
			continue
		}
		select {
		case <-l.gone():
			s.lose(l, l.why())
		case <-s.kick:
		case <-s.stop:
			return
		}
	}
}

// steer makes the broker deliver, or not, as the phase says.
func (s *subscription) steer(l link) error {
	s.mu.Lock()
	want, have := s.phase == receiving && !s.asleep(), s.consuming
	s.mu.Unlock()
	if want == have {
		s.acted(have)
		return nil
	}
	if want {
		if err := l.consume(s.take); err != nil {
			return err
		}
	} else {
		if err := l.halt(); err != nil {
			return err
		}
		s.giveBackArrived()
	}
	s.acted(want)
	return nil
}

// asleep reports whether messages lie here that nobody asks for. The lock is
// held.
func (s *subscription) asleep() bool {
	if s.receivers > 0 || time.Since(s.received) < dormant {
		return false
	}
	return !s.consuming || len(s.arrived[0])+len(s.arrived[1]) > 0
}

func (s *subscription) acted(consuming bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consuming = consuming
	close(s.changed)
	s.changed = make(chan struct{})
}

// settle waits until the keeper has done what the phase asks for.
func (s *subscription) settle(ctx context.Context) error {
	for {
		s.mu.Lock()
		done := s.consuming == (s.phase == receiving)
		changed, down := s.changed, s.down
		s.mu.Unlock()
		switch {
		case down != nil:
			return down
		case done:
			return nil
		}
		s.signal(s.kick)
		select {
		case <-changed:
		case <-s.stop:
			return fmt.Errorf("subscription of %q: %w", s.spec.Source, broker.ErrClosed)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *subscription) signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// lose gives up a connection.
func (s *subscription) lose(l link, why error) {
	if !errors.Is(why, errDisconnected) {
		why = fmt.Errorf("%w: %w", errDisconnected, why)
	}
	s.mu.Lock()
	s.link, s.down, s.consuming = nil, why, false
	s.drop()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	s.signal(s.wake)
	ctx, cancel := context.WithTimeout(s.lasting, time.Millisecond)
	defer cancel()
	_ = l.close(ctx) // It is lost already.
}

// reconnect makes a new connection, and reports false if the subscription ends
// first. The queues are looked at again: they may have been changed meanwhile.
func (s *subscription) reconnect() bool {
	timer := time.NewTimer(s.b.config.ReconnectWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.stop:
		return false
	}
	ctx, cancel := context.WithTimeout(s.lasting, s.b.config.Timeout)
	defer cancel()
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	l, err := s.dial(ctx)
	if err != nil {
		s.mu.Lock()
		s.down = fmt.Errorf("%w: %w", errDisconnected, err)
		s.mu.Unlock()
		return true
	}
	s.adopt(l)
	return true
}

// take is called by the link for every message that arrives.
func (s *subscription) take(a arrival) {
	kind, queue := s.kind, s.spec.Source
	if a.retry {
		kind, queue = broker.CountExact, s.names.Retry
	}
	d := &delivery{s: s, handle: a.handle, decoded: a.decoded, retry: a.retry, arrived: time.Now(), counted: countOf(a.decoded, kind)}
	if s.b.config.Marks != nil {
		if d.markID = s.b.markID(nativeName(queue), a.decoded); d.markID == "" {
			// Without a note nothing can explain a delivery.
			d.counted.Kind = broker.CountFlag
		}
	}
	s.sort(d)
}

// sort puts a message where it waits: here until somebody receives, here until
// it is due, or in its next tier.
func (s *subscription) sort(d *delivery) {
	rest := time.Duration(0)
	if d.retry && !d.decoded.due.IsZero() {
		rest = time.Until(d.decoded.due)
	}
	_, far := tierFor(rest)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return // The connection is gone, or about to go.
	}
	if far {
		s.workers.Go(func() { s.sendOn(d) })
		return
	}
	if rest > 0 {
		s.wait(d, d.decoded.due)
		return
	}
	lane := 0
	if d.retry {
		lane = 1
	}
	s.arrived[lane] = append(s.arrived[lane], d)
	s.signal(s.wake)
}

// wait keeps a message until a time. The lock is held.
func (s *subscription) wait(d *delivery, until time.Time) {
	heap.Push(&s.early, waiter{d, until})
	s.signal(s.tick)
}

// sendOn moves a message that is not due to its next tier.
func (s *subscription) sendOn(d *delivery) {
	ctx, cancel := context.WithTimeout(s.lasting, 2*s.b.config.PublishTimeout)
	defer cancel()
	m := d.decoded
	id := m.id
	if id == "" {
		id = "hop"
	}
	p := m.copy(own{id: id, envelope: m.message.Envelope, due: m.due, stored: m.stored})
	queue := waitingQueue(s.names.Retry, time.Until(m.due))
	pr, err := s.b.publisher.send(ctx, queue, &p)
	if err == nil {
		err = pr.wait(ctx, s.b.config.PublishTimeout)
	}
	if err == nil {
		_ = d.handle.acknowledge(ctx) // Else it is sent on twice.
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wait(d, time.Now().Add(again))
}

// Receive waits for deliveries.
func (s *subscription) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	if limit <= 0 {
		return nil, ctx.Err()
	}
	s.enter(1)
	defer s.enter(-1)
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	for {
		// What has arrived is handed over to a cancelled caller's successor: it stays
		// here.
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		got, err := s.collect(limit)
		if err != nil {
			return nil, s.pace(ctx, err)
		}
		if len(got) > 0 {
			return s.handOver(ctx, got)
		}
		select {
		case <-s.wake:
		case <-ticker.C:
		case <-s.stop:
		case <-ctx.Done():
		}
	}
}

// enter counts those who receive, and wakes a subscription that fell asleep.
func (s *subscription) enter(n int) {
	s.mu.Lock()
	s.receivers += n
	s.received = time.Now()
	wakeUp := n > 0 && s.phase == receiving && !s.consuming
	s.mu.Unlock()
	if wakeUp {
		s.signal(s.kick)
	}
}

// collect takes what has arrived, from both queues in turn.
func (s *subscription) collect(limit int) ([]*delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.phase {
	case drained, closed:
		return nil, fmt.Errorf("subscription of %q: %w", s.spec.Source, broker.ErrClosed)
	case paused:
		return nil, nil
	case receiving:
	}
	if s.down != nil {
		return nil, s.down
	}
	room := min(limit, s.spec.MaxInFlight-len(s.inflight))
	var out []*delivery
	now := time.Now()
	for len(out) < room && len(s.arrived[0])+len(s.arrived[1]) > 0 {
		s.turn ^= 1
		lane := s.turn
		if len(s.arrived[lane]) == 0 {
			lane ^= 1
		}
		d := s.arrived[lane][0]
		s.arrived[lane][0] = nil
		s.arrived[lane] = s.arrived[lane][1:]
		d.mu.Lock()
		d.deadline = d.bounded(now.Add(s.spec.Lease))
		d.mu.Unlock()
		s.inflight[d] = struct{}{}
		out = append(out, d)
	}
	if len(s.arrived[0])+len(s.arrived[1]) > 0 {
		s.signal(s.wake) // For another Receive.
	}
	return out, nil
}

// handOver reads the notes of those that were delivered before. Without its note
// a message must not be run: it may have killed three workers.
func (s *subscription) handOver(ctx context.Context, got []*delivery) ([]broker.Delivery, error) {
	out := make([]broker.Delivery, 0, len(got))
	var errs []error
	for _, d := range got {
		if err := d.loadMark(ctx); err != nil {
			errs = append(errs, err)
			s.mu.Lock()
			delete(s.inflight, d)
			s.wait(d, time.Now().Add(again))
			s.mu.Unlock()
			continue
		}
		out = append(out, d)
	}
	if len(out) == 0 {
		return nil, s.pace(ctx, errors.Join(errs...))
	}
	return out, nil
}

// pace returns an error not before a moment has passed: a caller who asks again
// at once shall not keep a processor busy while a server is away.
func (s *subscription) pace(ctx context.Context, err error) error {
	if errors.Is(err, broker.ErrClosed) {
		return err
	}
	timer := time.NewTimer(glance)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.stop:
	}
	return fmt.Errorf("queue %q: %w", s.spec.Source, err)
}

// release takes a settled delivery out of the account.
func (s *subscription) release(d *delivery) {
	s.mu.Lock()
	delete(s.inflight, d)
	s.mu.Unlock()
	s.signal(s.wake)
}

// Pause stops the broker's deliveries. What nobody received goes back.
func (s *subscription) Pause(ctx context.Context) error { return s.turnTo(ctx, paused) }

// Resume ends Pause.
func (s *subscription) Resume(ctx context.Context) error { return s.turnTo(ctx, receiving) }

func (s *subscription) turnTo(ctx context.Context, to phase) error {
	s.mu.Lock()
	if s.phase == drained || s.phase == closed {
		s.mu.Unlock()
		return fmt.Errorf("subscription of %q: %w", s.spec.Source, broker.ErrClosed)
	}
	s.phase, s.received = to, time.Now()
	s.mu.Unlock()
	s.signal(s.wake)
	err := s.settle(ctx)
	if errors.Is(err, errDisconnected) {
		return nil // The keeper does it with the next connection.
	}
	return err
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
	s.signal(s.wake)
	err := s.settle(ctx)
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	close(s.stop)
	s.workers.Wait()
	if errors.Is(err, errDisconnected) {
		return nil // What was delivered went back by itself.
	}
	return err
}

// Close drains and gives up what is not settled: it goes back.
func (s *subscription) Close(ctx context.Context) error {
	err := s.Drain(ctx)
	s.mu.Lock()
	already := s.phase == closed
	s.phase = closed
	l := s.link
	s.link = nil
	clear(s.inflight)
	s.mu.Unlock()
	if already {
		return err
	}
	if l != nil {
		err = errors.Join(err, l.close(ctx))
	}
	s.b.unregister(s)
	return err
}

func (s *subscription) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == closed
}

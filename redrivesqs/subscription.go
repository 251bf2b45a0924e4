package redrivesqs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

const (
	// unclaimed is how long a message may lie here while nobody receives, before it
	// goes back for another worker.
	unclaimed = time.Second
	// pace is how long an error or a request that found nothing new is waited out.
	pace = 200 * time.Millisecond
	// farewell is how long requests for messages may go on after the last Receive:
	// cutting one off can hide what it brings for a lease.
	farewell = time.Second
)

// phase is what a subscription does.
type phase uint8

const (
	receiving phase = iota
	paused
	drained
	closed
)

// subscription consumes one queue.
type subscription struct {
	b       *Broker
	spec    broker.Spec
	queue   queue
	cluster string
	lines   *lines
	// seconds is the lease in full seconds.
	seconds int32

	wake chan struct{}
	// receiveLock is held by the one Receive that looks; others wait.
	receiveLock chan struct{}
	stop        chan struct{}
	janitor     sync.WaitGroup
	polls       sync.WaitGroup
	// polling is the life of the requests that are open.
	polling    context.Context //nolint:containedctx // requests outlive the Receive that began them
	endPolling context.CancelFunc

	mu       sync.Mutex
	phase    phase
	inflight map[string]*delivery
	shelf    shelf
	// open is the number of requests that are open and asked the number of messages
	// that they may bring.
	open, asked int
	// plenty says that the newest request brought all it could.
	plenty  bool
	trouble error
}

// Open starts consuming. It creates what the subscription needs and refuses queues
// that lose letters, with every problem listed.
func (b *Broker) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	spec = spec.WithDefaults()
	if spec.Lease > maxVisibility {
		return nil, fmt.Errorf("open queue %q: a lease of %v is longer than SQS allows, %v", spec.Source, spec.Lease, maxVisibility)
	}
	set, err := b.ensure(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("open queue %q for group %q: %w", spec.Source, spec.Group, err)
	}
	polling, end := context.WithCancel(b.base)
	s := &subscription{
		b: b, spec: spec, queue: set.queue, cluster: b.cluster(set.arn), lines: b.linesOf(set.queue),
		seconds: max(wholeSeconds(spec.Lease), 1),
		wake:    make(chan struct{}, 1), receiveLock: make(chan struct{}, 1), stop: make(chan struct{}),
		polling: polling, endPolling: end,
		inflight: map[string]*delivery{}, shelf: newShelf(set.queue.fifo),
	}
	if err := b.register(s); err != nil {
		end()
		return nil, err
	}
	s.janitor.Go(s.tidy)
	return s, nil
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
		return nil, cause(ctx)
	}
	defer func() { <-s.receiveLock }()
	timer := time.NewTimer(pace)
	defer timer.Stop()
	for {
		if ctx.Err() != nil {
			return nil, cause(ctx)
		}
		out, next, err := s.collect(limit) //nolint:contextcheck // requests outlive the Receive that began them
		if err != nil {
			if errors.Is(err, broker.ErrClosed) {
				return nil, err
			}
			return nil, s.pace(ctx, err)
		}
		if len(out) > 0 {
			return out, nil
		}
		timer.Reset(next)
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.stop:
		case <-ctx.Done():
		}
	}
}

// collect takes what has arrived and is due, and asks for more. next is how long
// nothing else can be expected.
func (s *subscription) collect(limit int) (out []broker.Delivery, next time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.phase {
	case drained, closed:
		return nil, 0, fmt.Errorf("subscription of %q: %w", s.spec.Source, broker.ErrClosed)
	case paused:
		return nil, pace, nil
	case receiving:
	}
	now := time.Now()
	limit = min(limit, s.room())
	for len(out) < limit {
		d := s.shelf.next(now)
		if d == nil {
			break
		}
		if d.held() != nil {
			s.shelf.gone(d) // Its lease ended while it lay here.
			continue
		}
		s.inflight[d.id] = d
		out = append(out, d)
	}
	if err := s.trouble; err != nil && len(out) == 0 {
		s.trouble = nil
		return nil, 0, err
	}
	s.ask(limit - len(out))
	return out, min(pace, max(s.shelf.soonest(now), time.Millisecond)), nil
}

// room is the number of deliveries that may still be handed out. It is called with
// the lock held.
func (s *subscription) room() int {
	if len(s.inflight) >= s.spec.MaxInFlight {
		s.dropLost()
	}
	return max(s.spec.MaxInFlight-len(s.inflight), 0)
}

// dropLost forgets deliveries whose leases have ended: whoever held them has them no
// more. It is called with the lock held.
func (s *subscription) dropLost() {
	for id, d := range s.inflight {
		if errors.Is(d.held(), broker.ErrLeaseLost) {
			delete(s.inflight, id)
			s.shelf.gone(d)
		}
	}
}

// ended takes a settled delivery out of account. stays says that the message is still
// in its place: what follows in its group must not overtake it.
func (s *subscription) ended(d *delivery, stays bool) {
	s.mu.Lock()
	if s.inflight[d.id] == d {
		delete(s.inflight, d.id)
	}
	var back []*delivery
	if stays {
		back = s.shelf.blocked(d)
	} else {
		s.shelf.gone(d)
	}
	s.mu.Unlock()
	if len(back) > 0 {
		s.b.running.Go(func() { s.giveBack(back) })
	}
	s.notify()
}

// pace returns an error not before a moment has passed: a caller who asks again at
// once shall not keep a processor busy while SQS is away.
func (s *subscription) pace(ctx context.Context, err error) error {
	timer := time.NewTimer(pace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return cause(ctx)
	case <-s.stop:
	}
	return fmt.Errorf("queue %q: %w", s.spec.Source, err)
}

// tidy gives back what lies here unclaimed.
func (s *subscription) tidy() {
	age := min(unclaimed, s.spec.Lease/3)
	ticker := time.NewTicker(max(age/2, 10*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
		s.mu.Lock()
		now := time.Now()
		s.dropLost()
		most := age
		if s.phase != receiving {
			most = 0
		}
		back := s.shelf.stale(now, most, s.spec.Lease/2)
		s.mu.Unlock()
		s.giveBack(back)
	}
}

// giveBack shows messages to others that nobody was given. SQS counts a delivery that
// no handler saw, so the note says that it is explained.
func (s *subscription) giveBack(list []*delivery) {
	if len(list) == 0 {
		return
	}
	ctx, cancel := s.b.briefly(s.b.base)
	defer cancel()
	// The last one first: in a FIFO group the first must not be seen before.
	var all sync.WaitGroup
	for _, d := range slices.Backward(list) {
		one := func() {
			if d.held() != nil {
				return
			}
			mark := d.deliveries.Mark
			mark.Explained++
			after := max(time.Until(d.due), 0)
			_ = d.giveBack(ctx, broker.Release{Mark: mark, After: after}) // Else its lease ends by itself.
		}
		if s.queue.fifo {
			one()
		} else {
			all.Go(one)
		}
	}
	all.Wait()
}

// Pause stops asking. What open requests bring goes back.
func (s *subscription) Pause(context.Context) error { return s.enter(paused) }

// Resume ends Pause.
func (s *subscription) Resume(context.Context) error { return s.enter(receiving) }

func (s *subscription) enter(to phase) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == drained || s.phase == closed {
		return fmt.Errorf("subscription of %q: %w", s.spec.Source, broker.ErrClosed)
	}
	s.phase = to
	s.notify()
	return nil
}

// Drain stops fetching for good and gives back what nobody received. Requests that
// are open get a moment to end.
func (s *subscription) Drain(ctx context.Context) error {
	s.mu.Lock()
	if s.phase == drained || s.phase == closed {
		s.mu.Unlock()
		return nil
	}
	s.phase = drained
	s.mu.Unlock()
	close(s.stop)
	over := make(chan struct{})
	go func() { s.polls.Wait(); close(over) }()
	timer := time.NewTimer(min(farewell, s.b.config.WaitTime) + pace)
	defer timer.Stop()
	select {
	case <-over:
	case <-timer.C:
	case <-ctx.Done():
	}
	s.endPolling()
	<-over
	s.mu.Lock()
	back := s.shelf.all()
	s.mu.Unlock()
	s.giveBack(back) //nolint:contextcheck // also when there is no time left
	return nil
}

// Close drains and gives up what is not settled: its leases end by themselves.
func (s *subscription) Close(ctx context.Context) error {
	err := s.Drain(ctx)
	s.mu.Lock()
	s.phase = closed
	clear(s.inflight)
	s.mu.Unlock()
	s.janitor.Wait()
	s.b.unregister(s)
	return err
}

func (s *subscription) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == closed
}

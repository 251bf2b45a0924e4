package redrivetest

import (
	"context"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// Subscription consumes the source of a subscription, its retry queue and its
// replay entry, taking from each in turn. It is safe for concurrent use.
type Subscription struct {
	client *Broker
	group  *group
	spec   broker.Spec
	// The rest is guarded by the server's mutex.
	open    int // deliveries out and not settled
	paused  bool
	drained bool
	closed  bool
	lost    bool // the connection broke and nobody was told yet
}

var _ broker.Subscription = (*Subscription)(nil)

// Receive implements broker.Subscription. While the subscription is paused, or
// has MaxInFlight deliveries out, it waits.
func (s *Subscription) Receive(ctx context.Context, max int) ([]broker.Delivery, error) {
	srv := s.client.server
	for {
		srv.mu.Lock()
		now := srv.cfg.now()
		got, err := s.receive(ctx, now, max)
		if err != nil || len(got) > 0 {
			srv.mu.Unlock()
			return got, err
		}
		bell := s.group.wait()
		due, timed := s.group.due()
		timed = timed && !s.paused // time alone does not end a pause
		srv.mu.Unlock()
		if err := await(ctx, bell, due.Sub(now), timed); err != nil {
			return nil, fmt.Errorf("receive from %s: %w", s.spec.Source, err)
		}
	}
}

// await returns when the bell rings, after d if timed, or with the context's
// error.
func await(ctx context.Context, bell <-chan struct{}, d time.Duration, timed bool) error {
	var clock <-chan time.Time
	if timed {
		t := time.NewTimer(d)
		defer t.Stop()
		clock = t.C
	}
	select {
	case <-bell:
		return nil
	case <-clock:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TryReceive is Receive without waiting, at a given time: it returns what is
// ready then, nothing if there is nothing. A single-threaded simulator drives
// the broker with it; its clock, set by WithClock, should show the same time.
func (s *Subscription) TryReceive(now time.Time, max int) ([]broker.Delivery, error) {
	s.client.server.mu.Lock()
	defer s.client.server.mu.Unlock()
	return s.receive(context.Background(), now, max)
}

func (s *Subscription) receive(ctx context.Context, now time.Time, max int) ([]broker.Delivery, error) {
	if err := s.usable(ctx, max); err != nil {
		return nil, fmt.Errorf("receive from %s: %w", s.spec.Source, err)
	}
	if s.paused {
		return nil, nil
	}
	var out []broker.Delivery
	for len(out) < max {
		next := s.group.take(now)
		if next == nil || s.open >= s.spec.MaxInFlight {
			break
		}
		out = append(out, s.hand(next, now))
	}
	return out, nil
}

func (s *Subscription) usable(ctx context.Context, max int) error {
	switch {
	case s.closed || s.drained:
		return fmt.Errorf("subscription %w", broker.ErrClosed)
	case max < 1:
		return fmt.Errorf("max is %d: ask for at least one delivery", max)
	case s.lost:
		s.lost = false
		return fmt.Errorf("connection lost: %w", broker.ErrUnknown)
	}
	return ctx.Err()
}

// hand makes a delivery of a ready slot.
func (s *Subscription) hand(sl *slot, now time.Time) *delivery {
	sl.lane.move(sl, leased, now.Add(s.spec.Lease))
	sl.holder = s
	s.open++
	sl.deliveries++
	caps := s.client.server.cfg.caps
	d := &delivery{
		sub: s, slot: sl, token: sl.deliveries,
		msg:     sl.entry.msg.Clone(),
		earlier: broker.Deliveries{Earlier: sl.deliveries - 1, Kind: caps.Count, Mark: cloneMark(sl.mark)},
	}
	switch caps.Count {
	case broker.CountNone:
		d.earlier.Earlier = 0
	case broker.CountFlag:
		d.earlier.Earlier = min(d.earlier.Earlier, 1)
	case broker.CountApproximate, broker.CountExact:
	}
	if caps.StableIdentity {
		d.identity = s.client.server.incarnation(sl.lane.queue, sl.entry)
	}
	return d
}

func (s *server) incarnation(q *queue, e *entry) broker.Incarnation {
	return broker.Incarnation{Cluster: s.cfg.cluster, Queue: q.name, Position: position(e.seq)}
}

// Pause implements broker.Subscription.
func (s *Subscription) Pause(ctx context.Context) error { return s.set(ctx, "pause", &s.paused, true) }

// Resume implements broker.Subscription.
func (s *Subscription) Resume(ctx context.Context) error {
	return s.set(ctx, "resume", &s.paused, false)
}

// Drain implements broker.Subscription. A waiting Receive ends with
// broker.ErrClosed.
func (s *Subscription) Drain(ctx context.Context) error { return s.set(ctx, "drain", &s.drained, true) }

func (s *Subscription) set(ctx context.Context, verb string, flag *bool, value bool) error {
	s.client.server.mu.Lock()
	defer s.client.server.mu.Unlock()
	err := ctx.Err()
	if s.closed {
		err = broker.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, s.spec.Source, err)
	}
	*flag = value
	s.group.ring()
	return nil
}

// Close implements broker.Subscription.
func (s *Subscription) Close(context.Context) error {
	s.client.server.mu.Lock()
	defer s.client.server.mu.Unlock()
	s.close(true)
	return nil
}

// close ends the subscription; giveBack says that it can still tell the broker
// which deliveries it gives up.
func (s *Subscription) close(giveBack bool) {
	if s.closed {
		return
	}
	s.closed = true
	delete(s.client.subs, s)
	if giveBack {
		for _, l := range s.group.lanes {
			for _, sl := range l.slots {
				if sl.holder == s {
					l.move(sl, ready, time.Time{})
				}
			}
		}
	}
	s.group.ring()
}

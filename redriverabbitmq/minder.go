package redriverabbitmq

import (
	"container/heap"
	"context"
	"time"
)

// waiter is a message that waits here until a time.
type waiter struct {
	d     *delivery
	until time.Time
}

// earlyHeap has the message that is due first at its head.
type earlyHeap []waiter //nolint:recvcheck // container/heap needs both

func (h earlyHeap) Len() int           { return len(h) }
func (h earlyHeap) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h earlyHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *earlyHeap) Push(x any)        { *h = append(*h, x.(waiter)) } //nolint:forcetypeassert,errcheck // only waiters are pushed
func (h *earlyHeap) Pop() any {
	old := *h
	n := len(old) - 1
	x := old[n]
	old[n] = waiter{}
	*h = old[:n]
	return x
}

// mind hands on what has become due, and gives back what nobody extended or asked
// for.
func (s *subscription) mind() {
	step := min(max(s.spec.Lease/8, 20*time.Millisecond), time.Second)
	timer := time.NewTimer(step)
	defer timer.Stop()
	next := time.Now().Add(step)
	for {
		select {
		case <-s.stop:
			return
		case <-s.tick:
		case <-timer.C:
		}
		now := time.Now()
		if !now.Before(next) {
			s.giveBackExpired(now)
			next = now.Add(step)
			if s.idle() {
				s.signal(s.kick)
			}
		}
		wait := time.Until(next)
		if due, ok := s.handOn(now); ok {
			wait = min(wait, time.Until(due))
		}
		timer.Reset(max(wait, 0))
	}
}

func (s *subscription) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.consuming && s.asleep()
}

// handOn sorts again what has waited long enough, and tells when the next is due.
func (s *subscription) handOn(now time.Time) (next time.Time, ok bool) {
	s.mu.Lock()
	var ready []*delivery
	for len(s.early) > 0 && !now.Before(s.early[0].until) {
		w, _ := heap.Pop(&s.early).(waiter)
		ready = append(ready, w.d)
	}
	if len(s.early) > 0 {
		next, ok = s.early[0].until, true
	}
	s.mu.Unlock()
	for _, d := range ready {
		s.sort(d)
	}
	return next, ok
}

// giveBackExpired ends leases that nobody extended, and gives back what has lain
// here for as long as the broker allows.
func (s *subscription) giveBackExpired(now time.Time) {
	oldest := now.Add(-s.b.maxHold())
	var late, stale []*delivery
	s.mu.Lock()
	for d := range s.inflight {
		if d.expire(now) {
			late = append(late, d)
			delete(s.inflight, d)
		}
	}
	for i := range s.arrived {
		kept := s.arrived[i][:0]
		for _, d := range s.arrived[i] {
			if d.arrived.Before(oldest) {
				stale = append(stale, d)
			} else {
				kept = append(kept, d)
			}
		}
		s.arrived[i] = kept
	}
	s.mu.Unlock()
	if len(late)+len(stale) == 0 {
		return
	}
	s.workers.Go(func() {
		ctx, cancel := context.WithTimeout(s.lasting, s.b.config.Timeout)
		defer cancel()
		s.sendBack(ctx, stale, true)
		s.sendBack(ctx, late, false)
	})
	s.signal(s.wake)
}

// giveBackArrived gives back everything that nobody received.
func (s *subscription) giveBackArrived() {
	s.mu.Lock()
	var all []*delivery
	for i := range s.arrived {
		all = append(all, s.arrived[i]...)
	}
	for _, w := range s.early {
		all = append(all, w.d)
	}
	s.drop()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.lasting, s.b.config.Timeout)
	defer cancel()
	s.sendBack(ctx, all, true)
}

// sendBack gives messages back in the order in which they came. With unseen, no
// handler saw them, which their notes are to say.
func (s *subscription) sendBack(ctx context.Context, all []*delivery, unseen bool) {
	for _, d := range all {
		if unseen {
			d.explain(ctx)
		}
	}
	for _, d := range all {
		switch t := d.handle.(type) {
		case *ticket:
			t.once(requeue)
		case *ticket10:
			t.requeue(ctx)
		}
	}
	for _, d := range all {
		_ = d.handle.giveBack(ctx, nil) // Else it goes back with the connection.
	}
}

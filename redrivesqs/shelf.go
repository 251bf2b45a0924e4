package redrivesqs

import (
	"slices"
	"time"
)

// shelf holds messages that have arrived and that nobody was given yet. Of a FIFO
// group it hands out one at a time: the others follow when it is gone, and go back
// when it stays, since SQS would let nobody see them before it. It does no I/O and
// has no clock; its owner locks.
type shelf struct {
	fifo bool
	// ready are those that may be handed out, early those that are not due, by their
	// due time.
	ready, early []*delivery
	// groups are the FIFO groups of which one is ready, early or out, with those that
	// wait behind it.
	groups map[string]*group
}

type group struct {
	head *delivery
	rest []*delivery
}

func newShelf(fifo bool) shelf { return shelf{fifo: fifo, groups: map[string]*group{}} }

// put takes an arrived message.
func (s *shelf) put(d *delivery, now time.Time) {
	if s.fifo {
		if g := s.groups[d.group]; g != nil {
			g.rest = append(g.rest, d)
			return
		}
		s.groups[d.group] = &group{head: d}
	}
	s.queue(d, now)
}

func (s *shelf) queue(d *delivery, now time.Time) {
	if !now.Before(d.due) {
		s.ready = append(s.ready, d)
		return
	}
	i, _ := slices.BinarySearchFunc(s.early, d.due, func(e *delivery, due time.Time) int { return e.due.Compare(due) })
	s.early = slices.Insert(s.early, i, d)
}

// next returns one that is due, nil if there is none.
func (s *shelf) next(now time.Time) *delivery {
	s.promote(now)
	if len(s.ready) == 0 {
		return nil
	}
	d := s.ready[0]
	s.ready[0] = nil
	s.ready = s.ready[1:]
	return d
}

// promote makes those ready that are due.
func (s *shelf) promote(now time.Time) {
	n := 0
	for n < len(s.early) && !now.Before(s.early[n].due) {
		n++
	}
	s.ready = append(s.ready, s.early[:n]...)
	s.early = slices.Delete(s.early, 0, n)
}

// soonest is the time until the next one is due, a minute if none is.
func (s *shelf) soonest(now time.Time) time.Duration {
	switch {
	case len(s.ready) > 0:
		return 0
	case len(s.early) > 0:
		return s.early[0].due.Sub(now)
	}
	return time.Minute
}

// gone says that a message has left its queue, or is no longer ours: the next of its
// group follows.
func (s *shelf) gone(d *delivery) {
	g := s.groups[d.group]
	if !s.fifo || g == nil || g.head != d {
		return
	}
	if len(g.rest) == 0 {
		delete(s.groups, d.group)
		return
	}
	g.head, g.rest = g.rest[0], g.rest[1:]
	s.queue(g.head, time.Time{})
}

// blocked says that a message stays in its queue, and returns those behind it.
func (s *shelf) blocked(d *delivery) []*delivery {
	g := s.groups[d.group]
	if !s.fifo || g == nil || g.head != d {
		return nil
	}
	delete(s.groups, d.group)
	return g.rest
}

// stale takes out what was ready for longer than age, and what waits behind another
// for longer than behind, since its lease would end. An age of 0 takes everything.
func (s *shelf) stale(now time.Time, age, behind time.Duration) []*delivery {
	if age == 0 {
		return s.all()
	}
	s.promote(now)
	var out []*delivery
	s.ready = slices.DeleteFunc(s.ready, func(d *delivery) bool {
		if now.Sub(latest(d.receivedAt, d.due)) < age {
			return false
		}
		out = append(append(out, d), s.blocked(d)...)
		return true
	})
	for _, g := range s.groups {
		if len(g.rest) > 0 && now.Sub(g.rest[0].receivedAt) >= behind {
			out = append(out, g.rest...)
			g.rest = nil
		}
	}
	return out
}

// all empties the shelf.
func (s *shelf) all() []*delivery {
	var out []*delivery
	for _, list := range [][]*delivery{s.ready, s.early} {
		for _, d := range list {
			out = append(append(out, d), s.blocked(d)...)
		}
	}
	s.ready, s.early = nil, nil
	for _, g := range s.groups {
		out = append(out, g.rest...)
		g.rest = nil
	}
	return out
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

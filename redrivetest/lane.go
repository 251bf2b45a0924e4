package redrivetest

import (
	"container/heap"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// group is a subscription as the broker keeps it: it outlives the clients that
// consume under it.
type group struct {
	spec  broker.Spec
	names broker.Names
	// lanes are the retry queue, the replay entry and the source.
	lanes []*lane
	next  int           // the lane to ask first
	bell  chan struct{} // closed when something may have become ready; nil if nobody waits
}

// wait returns a channel that is closed at the next ring.
func (g *group) wait() <-chan struct{} {
	if g.bell == nil {
		g.bell = make(chan struct{})
	}
	return g.bell
}

func (g *group) ring() {
	if g.bell != nil {
		close(g.bell)
		g.bell = nil
	}
}

// take returns the next ready slot, asking the lanes in turn, nil if there is
// none.
func (g *group) take(now time.Time) *slot {
	for _, l := range g.lanes {
		l.advance(now)
	}
	for range g.lanes {
		l := g.lanes[g.next]
		g.next = (g.next + 1) % len(g.lanes)
		if len(l.ready.slots) > 0 {
			return l.ready.slots[0]
		}
	}
	return nil
}

// due returns when the next waiting slot becomes ready.
func (g *group) due() (time.Time, bool) {
	var first time.Time
	for _, l := range g.lanes {
		if len(l.timed.slots) > 0 {
			if at := l.timed.slots[0].at; first.IsZero() || at.Before(first) {
				first = at
			}
		}
	}
	return first, !first.IsZero()
}

// lane is what one subscription still has to do with one queue.
type lane struct {
	queue *queue
	owner *group
	slots map[uint64]*slot
	ready slotHeap // by sequence
	timed slotHeap // by time
}

type state uint8

const (
	ready   state = iota
	waiting       // until at
	leased        // until at
)

// slot is one stored copy as one subscription sees it.
type slot struct {
	lane       *lane
	entry      *entry
	state      state
	at         time.Time
	holder     *Subscription
	deliveries int // also the token of the newest delivery
	mark       broker.Mark
	index      int
}

func (l *lane) add(e *entry, now time.Time) {
	s := &slot{lane: l, entry: e}
	l.slots[e.seq] = s
	if e.due.After(now) {
		l.put(s, waiting, e.due)
		return
	}
	l.put(s, ready, time.Time{})
}

// put files a slot that is in no heap, and tells the subscription.
func (l *lane) put(s *slot, st state, at time.Time) {
	s.state, s.at = st, at
	if st == ready {
		heap.Push(&l.ready, s)
	} else {
		l.timed.byTime = true
		heap.Push(&l.timed, s)
	}
	if st != leased {
		l.owner.ring()
	}
}

// pull takes the slot out of its heap and from whoever holds it.
func (l *lane) pull(s *slot) {
	if s.state == ready {
		heap.Remove(&l.ready, s.index)
	} else {
		heap.Remove(&l.timed, s.index)
	}
	if s.holder != nil {
		s.holder.open--
		s.holder = nil
		l.owner.ring()
	}
}

func (l *lane) move(s *slot, st state, at time.Time) {
	l.pull(s)
	l.put(s, st, at)
}

func (l *lane) drop(s *slot) {
	l.pull(s)
	delete(l.slots, s.entry.seq)
}

// advance makes ready what is due and what nobody holds any more.
func (l *lane) advance(now time.Time) {
	for len(l.timed.slots) > 0 && !l.timed.slots[0].at.After(now) {
		l.move(l.timed.slots[0], ready, time.Time{})
	}
}

// slotHeap orders slots by sequence, or by time and then sequence.
type slotHeap struct {
	slots  []*slot
	byTime bool
}

func (h *slotHeap) Len() int { return len(h.slots) }

func (h *slotHeap) Less(i, j int) bool {
	a, b := h.slots[i], h.slots[j]
	if h.byTime && !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return a.entry.seq < b.entry.seq
}

func (h *slotHeap) Swap(i, j int) {
	h.slots[i], h.slots[j] = h.slots[j], h.slots[i]
	h.slots[i].index, h.slots[j].index = i, j
}

// Push implements heap.Interface.
func (h *slotHeap) Push(x any) {
	s, _ := x.(*slot)
	s.index = len(h.slots)
	h.slots = append(h.slots, s)
}

// Pop implements heap.Interface.
func (h *slotHeap) Pop() any {
	last := len(h.slots) - 1
	s := h.slots[last]
	h.slots[last] = nil
	h.slots = h.slots[:last]
	return s
}

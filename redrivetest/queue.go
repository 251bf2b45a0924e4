package redrivetest

import (
	"bytes"
	"sort"
	"strconv"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// queue is a log of stored copies, and one lane for each subscription that
// reads it. A copy leaves the log when every lane is done with it, or when it is
// removed by hand; without lanes it stays.
type queue struct {
	name   string
	kind   broker.QueueKind
	seq    uint64
	log    []*entry // by seq, with holes where gone is set
	live   map[uint64]*entry
	lanes  []*lane
	dedupe map[string]stamp
	stamps []stamp // by time
}

// entry is one stored copy.
type entry struct {
	seq    uint64
	msg    broker.Message
	stored time.Time
	due    time.Time
	gone   bool
}

// stamp remembers a publish id for the dedupe window.
type stamp struct {
	id  string
	seq uint64
	at  time.Time
}

func newQueue(name string) *queue {
	return &queue{name: name, kind: broker.KindOf(name), live: map[uint64]*entry{}, dedupe: map[string]stamp{}}
}

// known returns the position at which the id was stored within the window.
func (q *queue) known(id string, now time.Time, window time.Duration) (uint64, bool) {
	for len(q.stamps) > 0 && now.Sub(q.stamps[0].at) >= window {
		if s := q.stamps[0]; q.dedupe[s.id] == s {
			delete(q.dedupe, s.id)
		}
		q.stamps = q.stamps[1:]
	}
	s, ok := q.dedupe[id]
	return s.seq, ok
}

func (q *queue) remember(id string, seq uint64, now time.Time) {
	s := stamp{id: id, seq: seq, at: now}
	q.dedupe[id] = s
	q.stamps = append(q.stamps, s)
}

func (q *queue) store(m broker.Message, now, due time.Time) *entry {
	q.seq++
	e := &entry{seq: q.seq, msg: m, stored: now, due: due}
	if e.msg.ID == "" {
		e.msg.ID = q.name + "/" + strconv.FormatUint(e.seq, 10)
	}
	if e.msg.Time.IsZero() {
		e.msg.Time = now
	}
	q.log = append(q.log, e)
	q.live[e.seq] = e
	for _, l := range q.lanes {
		l.add(e, now)
	}
	return e
}

// remove takes the copy away from everybody.
func (q *queue) remove(e *entry) {
	for _, l := range q.lanes {
		if s := l.slots[e.seq]; s != nil {
			l.drop(s)
		}
	}
	e.gone = true
	delete(q.live, e.seq)
	if len(q.log) > 32 && len(q.live) < len(q.log)/2 {
		kept := make([]*entry, 0, len(q.live))
		for _, e := range q.log {
			if !e.gone {
				kept = append(kept, e)
			}
		}
		q.log = kept
	}
}

// forget removes the copies with the key.
func (q *queue) forget(key []byte) {
	for _, e := range q.from(0, len(q.log)) {
		if bytes.Equal(e.msg.Key, key) {
			q.remove(e)
		}
	}
}

// settle ends a slot for its lane, and the copy with it when no other lane
// still needs it.
func (q *queue) settle(s *slot) {
	s.lane.drop(s)
	for _, l := range q.lanes {
		if l.slots[s.entry.seq] != nil {
			return
		}
	}
	q.remove(s.entry)
}

// join returns the lane of a subscription, and makes it if it is new: it then
// sees every copy that the queue still has.
func (q *queue) join(owner *group, now time.Time) *lane {
	for _, l := range q.lanes {
		if l.owner == owner {
			return l
		}
	}
	l := &lane{queue: q, owner: owner, slots: map[uint64]*slot{}}
	q.lanes = append(q.lanes, l)
	for _, e := range q.log {
		if !e.gone {
			l.add(e, now)
		}
	}
	return l
}

// from returns at most n copies with a sequence of at least seq, oldest first.
func (q *queue) from(seq uint64, n int) []*entry {
	i := sort.Search(len(q.log), func(i int) bool { return q.log[i].seq >= seq })
	var out []*entry
	for ; i < len(q.log) && len(out) < n; i++ {
		if !q.log[i].gone {
			out = append(out, q.log[i])
		}
	}
	return out
}

func (q *queue) stats(now time.Time) broker.Stats {
	st := broker.Stats{AsOf: now, Exact: true}
	for _, e := range q.log {
		if e.gone {
			continue
		}
		if st.Oldest.IsZero() {
			st.Oldest = e.stored
		}
		switch q.stateOf(e, now) {
		case leased:
			st.InFlight++
		case waiting:
			st.Delayed++
		case ready:
			st.Ready++
		}
	}
	return st
}

// stateOf sums up the lanes: in flight if anybody has the copy, else ready if
// anybody could have it.
func (q *queue) stateOf(e *entry, now time.Time) state {
	if len(q.lanes) == 0 {
		if e.due.After(now) {
			return waiting
		}
		return ready
	}
	sum := waiting
	for _, l := range q.lanes {
		s := l.slots[e.seq]
		switch {
		case s == nil:
		case s.state == leased && s.at.After(now):
			return leased
		case s.state == ready || !s.at.After(now):
			sum = ready
		}
	}
	return sum
}

func (q *queue) groups() []string {
	var out []string
	for _, l := range q.lanes {
		out = append(out, l.owner.spec.Group)
	}
	sort.Strings(out)
	return out
}

package redrivekafka

import (
	"container/heap"
	"slices"
	"time"
)

// tier is a retry topic. The delay in its name is the longest that its messages
// wait.
type tier struct {
	name  string
	delay time.Duration
}

var tiers = [...]tier{ //nolint:gochecknoglobals // a table, never written to
	{"1s", time.Second},
	{"5s", 5 * time.Second},
	{"30s", 30 * time.Second},
	{"2m", 2 * time.Minute},
	{"10m", 10 * time.Minute},
	{"1h", time.Hour},
}

// tierFor is the tier for a message that has to wait that long: the first whose
// delay is not shorter, so that what lies in one topic waits for times of one order.
// The last one takes the longer waits too.
func tierFor(wait time.Duration) int {
	for i, t := range tiers {
		if wait <= t.delay {
			return i
		}
	}
	return len(tiers) - 1
}

// waiting holds records until their times, the next one first.
type waiting []*record

func (w *waiting) Len() int           { return len(*w) }
func (w *waiting) Less(i, j int) bool { return (*w)[i].due.Before((*w)[j].due) }
func (w *waiting) Swap(i, j int)      { (*w)[i], (*w)[j] = (*w)[j], (*w)[i] }

// Push and Pop implement heap.Interface: use add and take.
func (w *waiting) Push(x any) {
	if r, ok := x.(*record); ok {
		*w = append(*w, r)
	}
}

func (w *waiting) Pop() any {
	old := *w
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	return last
}

func (w *waiting) add(r *record) { heap.Push(w, r) }

// take removes the next record that is due, nil if none is.
func (w *waiting) take(now time.Time) *record {
	if len(*w) == 0 || (*w)[0].due.After(now) {
		return nil
	}
	r, _ := heap.Pop(w).(*record)
	return r
}

// drop takes the records of a partition out.
func (w *waiting) drop(p *partition) {
	kept := slices.DeleteFunc(*w, func(r *record) bool { return r.p == p })
	if len(kept) < len(*w) {
		*w = kept
		heap.Init(w)
	}
}

// next is the time of the next record, zero if there is none.
func (w *waiting) next() time.Time {
	if len(*w) == 0 {
		return time.Time{}
	}
	return (*w)[0].due
}

package poison

import "time"

const buckets = 60

// Window counts the outcomes of a subscription over a sliding time, in 60
// buckets. It is not safe for concurrent use and has no clock of its own. A
// clock that steps back is read as standing still.
type Window struct {
	width time.Duration
	slots [buckets]Peers
	head  int64
	sum   Peers
}

// NewWindow makes a window of the length.
func NewWindow(length time.Duration) *Window {
	return &Window{width: max(length/buckets, time.Millisecond)}
}

// Add records an outcome.
func (w *Window) Add(now time.Time, succeeded bool) {
	slot := &w.slots[w.advance(now)%buckets]
	slot.Total++
	w.sum.Total++
	if succeeded {
		slot.Succeeded++
		w.sum.Succeeded++
	}
}

// Count returns the outcomes inside the window that ends now.
func (w *Window) Count(now time.Time) Peers {
	w.advance(now)
	return w.sum
}

func (w *Window) advance(now time.Time) int64 {
	at := now.UnixNano() / int64(w.width)
	if at <= w.head {
		return w.head
	}
	for i := max(w.head+1, at-buckets+1); i <= at; i++ {
		old := &w.slots[i%buckets]
		w.sum.Total -= old.Total
		w.sum.Succeeded -= old.Succeeded
		*old = Peers{}
	}
	w.head = at
	return at
}

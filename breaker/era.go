package breaker

import (
	"math"
	"slices"
	"sync/atomic"
)

// era is one generation of a breaker: a state and all that is counted in it. A
// change of state replaces the whole, so that nothing has to be reset and a late
// result finds only counters that nobody reads any more.
//
// Times are nanoseconds since the breaker's origin. Fields that are not atomic
// are guarded by the breaker's mutex, but for generation, state and since, which
// never change.
type era struct {
	generation uint64
	state      State
	since      int64

	// Closed.
	streak atomic.Int64
	window window

	// Open.
	due int64

	// Half-open.
	probes    []probe
	successes int
}

// probe is a permit that is out.
type probe struct {
	serial   uint64
	deadline int64
}

// expire takes back the probes whose time is over.
func (e *era) expire(now int64) {
	e.probes = slices.DeleteFunc(e.probes, func(p probe) bool { return now >= p.deadline })
}

// out returns how many probes are out, and when the first of them is taken back.
func (e *era) out(now int64) (n int, earliest int64) {
	earliest = math.MaxInt64
	for _, p := range e.probes {
		if now < p.deadline {
			n++
			earliest = min(earliest, p.deadline)
		}
	}
	return n, earliest
}

// ticket makes the report of a permit count once: reporting moves the serial on,
// and a permit with an older serial is void. Tickets are used again, because a
// new one per call would be an allocation per call.
type ticket struct{ serial atomic.Uint64 }

// steps is the number of parts of a window; the oldest is forgotten as a whole.
const steps = 10

// window counts the results of the last steps, the current one included.
type window struct {
	step int64
	// from is where the current step begins.
	from atomic.Int64
	// successes are those of the current step. They are counted without the mutex; one
	// that is counted while the window turns goes to the step before or after.
	successes atomic.Int64
	failures  int64
	// past are the steps before, newest first.
	past [steps - 1]tally
}

type tally struct{ successes, failures int64 }

// current reports whether now is in the current step. A negative difference
// becomes a large one.
func (w *window) current(now int64) bool {
	return uint64(now-w.from.Load()) < uint64(w.step)
}

// age returns by how many steps now is ahead of the current one, at most steps. A
// time that is a little earlier comes from a race and belongs to the current
// step; one that is earlier by a whole window comes from a clock that was set
// back, and makes everything old.
func (w *window) age(now int64) int64 {
	ahead := now - w.from.Load()
	switch {
	case ahead >= 0:
		return min(ahead/w.step, steps)
	case ahead < -steps*w.step:
		return steps
	}
	return 0
}

// turn makes the step of now the current one.
func (w *window) turn(now int64) {
	if w.current(now) {
		return
	}
	age := w.age(now)
	if age == 0 {
		return
	}
	ended := tally{w.successes.Swap(0), w.failures}
	w.failures = 0
	if age == steps {
		clear(w.past[:])
	} else {
		copy(w.past[age:], w.past[:])
		clear(w.past[:age])
		w.past[age-1] = ended
	}
	from := w.from.Load()
	if now < from {
		w.from.Store(now)
	} else {
		w.from.Store(now - (now-from)%w.step)
	}
}

// counts returns the results that are within the window at now, and changes
// nothing.
func (w *window) counts(now int64) (successes, failures int64) {
	age := w.age(now)
	if age == steps {
		return 0, 0
	}
	successes, failures = w.successes.Load(), w.failures
	for _, t := range w.past[:steps-1-age] {
		successes += t.successes
		failures += t.failures
	}
	return successes, failures
}

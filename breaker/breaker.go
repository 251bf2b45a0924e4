package breaker

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Breaker guards one downstream. It is made by New and safe for concurrent use.
type Breaker struct {
	config  Config
	current atomic.Pointer[era]
	tickets sync.Pool
	// origin is the first time that the breaker was given. All others are kept as
	// distances from it, which are monotonic if the times are.
	origin atomic.Pointer[time.Time]

	// mu guards what follows and every change of state.
	mu       sync.Mutex
	random   *rand.Rand
	serial   uint64
	openings uint64
	level    int // openings since the breaker was last closed
}

// New returns a closed breaker. The seed decides the jitter of its recovery
// times. The error is that of Validate.
func New(c Config, seed uint64) (*Breaker, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	b := &Breaker{
		config: c.WithDefaults(),
		random: rand.New(rand.NewPCG(seed, 0x7265_6472_6976_6521)), //nolint:gosec // Jitter is no secret and must follow from the seed.
	}
	b.current.Store(b.closed(0, 0))
	return b, nil
}

// AllowClosed is Allow for a caller that has not read the clock: a closed breaker
// gives permits without asking for the time, and reading it costs more than the
// permit. If ok is false the breaker is not closed, and Allow decides.
func (b *Breaker) AllowClosed() (p Permit, ok bool) {
	e := b.current.Load()
	if e.state != Closed {
		return Permit{}, false
	}
	return b.permit(e), true
}

// Allow asks for a permit for one call. A refusal is an *OpenError and costs
// nothing: neither a message's attempt nor a count here. A permit should be
// reported, but a closed breaker does not mind one that never is.
func (b *Breaker) Allow(now time.Time) (Permit, error) {
	if p, ok := b.AllowClosed(); ok {
		return p, nil
	}
	at := b.offset(now)
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.current.Load()
	switch e.state {
	case Closed:
		return b.permit(e), nil
	case Open:
		if at < e.due {
			return Permit{}, b.refusal(ahead(now, at, e.due))
		}
		e = &era{state: HalfOpen, since: at, probes: make([]probe, 0, b.config.Probes)}
		b.change(e)
	case HalfOpen:
	}
	e.expire(at)
	if n, earliest := e.out(at); n >= b.config.Probes {
		return Permit{}, b.refusal(ahead(now, at, earliest))
	}
	b.serial++
	e.probes = append(e.probes, probe{b.serial, later(at, b.config.ProbeTimeout)})
	return Permit{era: e, serial: b.serial}, nil
}

// Report says how a permitted call ended. It has no effect for a permit that was
// reported before, belongs to an older generation or another breaker, or is a
// probe whose time is over.
func (b *Breaker) Report(now time.Time, p Permit, o Outcome) {
	e := b.current.Load()
	if p.era != e {
		return
	}
	if p.ticket == nil {
		b.probed(b.offset(now), p, o)
		return
	}
	if !p.ticket.serial.CompareAndSwap(p.serial, p.serial+1) {
		return
	}
	b.tickets.Put(p.ticket)
	switch o {
	case Success:
		b.succeeded(b.offset(now), e)
	case Failure:
		b.failed(b.offset(now), e)
	case Ignored:
	}
}

// Trip opens the breaker at once and keeps it open at least until the given time,
// because the downstream asked for it. It stays open for its own recovery time if
// that is longer; one that is open already keeps the later of the two times. The
// caller bounds until.
func (b *Breaker) Trip(now, until time.Time) {
	at := b.offset(now)
	b.mu.Lock()
	defer b.mu.Unlock()
	least := int64(until.Sub(*b.origin.Load()))
	if e := b.current.Load(); e.state == Open {
		e.due = max(e.due, least)
		return
	}
	b.open(at, least)
}

// State returns the state. It changes nothing: an open breaker whose time has come
// is Open until a probe is admitted, see Next.
func (b *Breaker) State(time.Time) State { return b.current.Load().state }

// Next returns when the next call may be admitted: now, if the breaker is closed
// or a probe is due; the end of the recovery time, if it is open; the earliest
// time at which a probe is taken back, if it is half-open and all are out. It
// changes nothing.
func (b *Breaker) Next(now time.Time) time.Time {
	if b.current.Load().state == Closed {
		return now
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.offset(now)
	if due, closed := b.due(b.current.Load(), at); !closed && due > at {
		return ahead(now, at, due)
	}
	return now
}

// Snapshot returns what can be seen of the breaker. It changes nothing.
func (b *Breaker) Snapshot(now time.Time) Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.current.Load()
	s := Snapshot{State: e.state, Generation: e.generation, Openings: b.openings}
	if b.origin.Load() == nil {
		return s
	}
	at := b.offset(now)
	s.Since = b.time(e.since)
	if e.state == Closed {
		successes, failures := e.window.counts(at)
		s.WindowSuccesses, s.WindowFailures = int(successes), int(failures)
		s.ConsecutiveFailures = int(e.streak.Load())
	}
	s.ProbesOut, _ = e.out(at)
	s.ProbeSuccesses = e.successes
	if due, closed := b.due(e, at); !closed {
		s.ProbeDueAt = b.time(due)
	}
	return s
}

// permit hands out a permit of a closed era.
func (b *Breaker) permit(e *era) Permit {
	t, ok := b.tickets.Get().(*ticket)
	if !ok {
		t = new(ticket)
	}
	return Permit{era: e, ticket: t, serial: t.serial.Load()}
}

func (b *Breaker) succeeded(at int64, e *era) {
	// Most successes follow one, and reading costs other cores less than writing.
	if e.streak.Load() != 0 {
		e.streak.Store(0)
	}
	if !e.window.current(at) {
		b.mu.Lock()
		e.window.turn(at)
		b.mu.Unlock()
	}
	e.window.successes.Add(1)
}

func (b *Breaker) failed(at int64, e *era) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current.Load() != e {
		return
	}
	e.window.turn(at)
	e.window.failures++
	streak := e.streak.Add(1)
	if c := b.config.Consecutive; c > 0 && streak >= int64(c) {
		b.open(at, math.MinInt64)
		return
	}
	successes, failures := e.window.counts(at)
	volume := successes + failures
	if rate := b.config.FailureRate; rate > 0 && volume >= int64(b.config.MinVolume) && float64(failures) >= rate*float64(volume) {
		b.open(at, math.MinInt64)
	}
}

func (b *Breaker) probed(at int64, p Permit, o Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// A probe of an older generation is not found: serials are never used again.
	e := b.current.Load()
	e.expire(at)
	i := slices.IndexFunc(e.probes, func(out probe) bool { return out.serial == p.serial })
	if i < 0 {
		return
	}
	e.probes = slices.Delete(e.probes, i, i+1)
	switch o {
	case Success:
		if e.successes++; e.successes >= b.config.Successes {
			b.level = 0
			b.change(b.closed(at, e.generation))
		}
	case Failure:
		b.open(at, math.MinInt64)
	case Ignored:
	}
}

// open begins an open era that lasts for the recovery time, and at least until
// least.
func (b *Breaker) open(at, least int64) {
	b.level++
	b.openings++
	v := b.config.recovery(b.level)
	if j := b.config.Jitter; j > 0 {
		v -= time.Duration(b.random.Int64N(max(int64(j*float64(v)), 0) + 1))
	}
	b.change(&era{state: Open, since: at, due: max(later(at, v), least)})
}

func (b *Breaker) closed(at int64, generation uint64) *era {
	e := &era{state: Closed, since: at, generation: generation}
	e.window.step = int64(b.config.Window / steps)
	e.window.from.Store(at)
	return e
}

// change puts e in the place of the current era.
func (b *Breaker) change(e *era) {
	e.generation = b.current.Load().generation + 1
	b.current.Store(e)
}

// due returns when e may admit a probe: at, if that is now.
func (b *Breaker) due(e *era, at int64) (due int64, closed bool) {
	switch e.state {
	case Open:
		return e.due, false
	case HalfOpen:
		if n, earliest := e.out(at); n >= b.config.Probes {
			return earliest, false
		}
		return at, false
	case Closed:
	}
	return at, true
}

func (b *Breaker) refusal(until time.Time) error {
	return &OpenError{Name: b.config.Name, Until: until}
}

// ahead returns the time of due, seen from now. It is counted from now and not
// from the origin: others will compare it with wall clocks, and the one of the
// origin may have been wrong.
func ahead(now time.Time, at, due int64) time.Time { return now.Add(time.Duration(due - at)) }

// offset returns the distance of now from the origin, which is the first time
// that came by here.
func (b *Breaker) offset(now time.Time) int64 {
	if origin := b.origin.Load(); origin != nil {
		return int64(now.Sub(*origin))
	}
	return b.begin(now)
}

// begin is apart from offset so that only the first time escapes to the heap.
func (b *Breaker) begin(now time.Time) int64 {
	b.origin.CompareAndSwap(nil, &now)
	return int64(now.Sub(*b.origin.Load()))
}

// time is the inverse of offset.
func (b *Breaker) time(at int64) time.Time { return b.origin.Load().Add(time.Duration(at)) }

// later adds without overflow.
func later(at int64, d time.Duration) int64 {
	if at > math.MaxInt64-int64(d) {
		return math.MaxInt64
	}
	return at + int64(d)
}

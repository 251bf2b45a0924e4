package simulation

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
)

// plan is what a seed stands for: the settings of the worker, what the broker
// can do, the messages, and which faults there are. Each kind of fault is there
// in some seeds only, so that every combination comes up, also the quiet ones.
type plan struct {
	policy      decision.Policy
	caps        broker.Caps
	async       int  // of so many settlements in four nobody waits for the end
	identity    bool // the broker gives messages an identity
	concurrency int
	inFlight    int
	lease       time.Duration
	settle      time.Duration
	stop        time.Duration
	inbox       inboxMode
	keyHeader   bool
	groups      int
	seats       int // workers per group
	split       bool
	heartbeat   time.Duration

	messages []message
	futures  int           // messages with an envelope of a later release
	horizon  time.Duration // of all faults

	latency    time.Duration // longest of a call
	fail       float64       // of calls that fail before their effect
	lose       float64       // whose confirmation is lost
	hang       float64       // that hang
	slow       float64       // that take as long as the caller waits, and longer
	shuffle    bool
	kills      int      // that strike at a step
	killWithin int      // steps
	down       []window // of the whole broker
	outages    []outage // of what handlers call
	bank       []outage // of the named dependency
	flaky      []window // handlers' calls fail one by one
	inboxDown  []window
	refused    []refusal
	tight      []window // the largest message is small
	tightLimit int
	events     []event
}

type inboxMode int

const (
	noInbox inboxMode = iota
	inboxBeside
	inboxInTransaction
)

// window is a span of virtual time.
type window struct{ from, to time.Duration }

func (w window) contains(at int64) bool { return int64(w.from) <= at && at < int64(w.to) }

func within(all []window, at int64) bool {
	return slices.ContainsFunc(all, func(w window) bool { return w.contains(at) })
}

// outage is a window in which each call fails, at once or after a long time.
type outage struct {
	window
	hangs bool
}

// refusal is a window in which a kind of queue takes no copies.
type refusal struct {
	window
	kind broker.QueueKind
	err  error
}

// event is something that happens at a time.
type event struct {
	at   time.Duration
	what eventKind
	seat int
	by   time.Duration
}

type eventKind int

const (
	eventKill eventKind = iota
	eventStop
	eventFreeze
	eventJump
	eventRestart
	eventReplay
)

// dice draws the choices of a plan.
type dice struct{ *rand.Rand }

func (d dice) chance(p float64) bool { return d.Float64() < p }

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

// span draws a duration between the two, small ones as often as large ones.
func (d dice) span(from, to time.Duration) time.Duration {
	v := float64(from)
	for v < float64(to) && d.chance(0.8) {
		v *= 1 + d.Float64()
	}
	return min(time.Duration(v), to)
}

// draw makes the plan of a seed.
func draw(seed uint64) *plan {
	d := dice{rand.New(rand.NewPCG(seed, 0x706c616e))} //nolint:gosec // it must follow from the seed
	p := &plan{
		concurrency: 1 + d.IntN(8), groups: 1, seats: 1,
		lease:  pick(d, 3*time.Second, 10*time.Second, 30*time.Second),
		settle: pick(d, time.Second, 10*time.Second), stop: pick(d, time.Second, 30*time.Second),
		latency: pick(d, 0, 0, 20*time.Millisecond, 500*time.Millisecond),
		shuffle: d.chance(0.5), split: d.chance(0.5), identity: true,
	}
	p.inFlight = p.concurrency * (1 + d.IntN(4))
	if d.chance(0.2) {
		p.groups = 2
	}
	if d.chance(0.3) {
		p.seats = 2
	}
	p.keyHeader = d.chance(0.3)
	p.inbox = pick(d, noInbox, noInbox, inboxBeside, inboxInTransaction, inboxInTransaction)
	if p.inbox == noInbox && d.chance(0.15) {
		p.identity = false
	}
	p.heartbeat = pick(d, -1, -1, -1, 10*time.Second)
	p.drawPolicy(d)
	p.drawCaps(d)
	p.drawMessages(d)
	p.drawFaults(d)
	p.drawEvents(d)
	p.async = pick(d, 0, 2, 4)
	return p
}

func (p *plan) drawPolicy(d dice) {
	c := &p.policy
	c.Retry.Attempts = pick(d, 2, 3, 5, 5, 8)
	c.Retry.Strategy.Base = pick(d, 10*time.Millisecond, 100*time.Millisecond, time.Second)
	c.Retry.Strategy.Max = pick(d, time.Second, 30*time.Second)
	c.Retry.MaxAge = pick(d, time.Hour, 6*time.Hour)
	c.HoldMax = pick(d, 20*time.Second, 2*time.Minute, 10*time.Minute)
	c.HandlerTimeout = pick(d, 2*time.Second, 10*time.Second, 30*time.Second)
	c.HandlerGrace = pick(d, time.Second, 10*time.Second)
	c.LoneHold = pick(d, time.Minute, 15*time.Minute)
	c.Breaker.Consecutive = pick(d, 3, 5, 5, 10)
	c.Breaker.FailureRate = pick(d, -1.0, 0.5)
	c.Breaker.Probes = pick(d, 1, 1, 3)
	c.Breaker.Successes = pick(d, 1, 2)
	c.Breaker.Recovery = pick(d, 100*time.Millisecond, time.Second, 5*time.Second)
	c.Budget.Floor = pick(d, 0.05, 1, 10)
	c.Budget.Burst = pick(d, 1.0, 100)
	c.Poison.MinVolume = pick(d, 5, 20)
}

func (p *plan) drawCaps(d dice) {
	p.caps = broker.Caps{
		Server: "simulation", Marks: d.chance(0.85), Count: broker.CountExact, StableIdentity: true,
		MaxRelease:   pick(d, 0, time.Second, 15*time.Minute, 365*24*time.Hour),
		MaxMessage:   1 << 20,
		DedupeWindow: pick(d, 0, 2*time.Minute, time.Hour),
		MaxHold:      pick(d, 0, 0, time.Minute, 30*time.Minute),
		MaxEnvelope:  pick(d, 0, 0, 4<<10),
		LettersMode:  broker.Observe,
	}
	if d.chance(0.3) {
		p.caps.Count = pick(d, broker.CountApproximate, broker.CountFlag, broker.CountNone)
	}
}

func (p *plan) drawFaults(d dice) {
	rate := func() float64 {
		if d.chance(0.6) {
			return 0
		}
		return pick(d, 0.01, 0.05, 0.2)
	}
	p.fail, p.lose, p.hang, p.slow = rate(), rate(), rate(), rate()
	windows := func(chance float64, longest time.Duration) (out []window) {
		for d.chance(chance) && len(out) < 3 {
			from := time.Duration(d.Int64N(int64(p.horizon)))
			out = append(out, window{from, min(p.horizon, from+d.span(100*time.Millisecond, longest))})
		}
		return out
	}
	outages := func(chance float64, longest time.Duration) (out []outage) {
		for _, w := range windows(chance, longest) {
			out = append(out, outage{w, d.chance(0.4)})
		}
		return out
	}
	p.outages = outages(0.5, p.horizon)
	p.bank = outages(0.4, p.horizon)
	p.down = windows(0.2, time.Minute)
	p.flaky = windows(0.2, p.horizon)
	p.inboxDown = windows(0.3, 5*time.Minute)
	p.tight = windows(0.15, p.horizon)
	p.tightLimit = pick(d, 1500, 2500)
	for _, w := range windows(0.4, p.horizon) {
		p.refused = append(p.refused, refusal{
			w, pick(d, broker.KindDeadLetter, broker.KindQuarantine, broker.KindRetry),
			pick(d, broker.ErrFull, broker.ErrUnroutable, errDenied),
		})
	}
}

func (p *plan) drawEvents(d dice) {
	if d.chance(0.5) {
		p.kills = 1 + d.IntN(10)
		p.killWithin = pick(d, 60, 400, 3000)
	}
	add := func(chance float64, most int, what eventKind, by func() time.Duration) {
		if !d.chance(chance) {
			return
		}
		for range 1 + d.IntN(most) {
			p.events = append(p.events, event{
				at: time.Duration(d.Int64N(int64(p.horizon))), what: what, seat: d.IntN(p.groups * p.seats), by: by(),
			})
		}
	}
	none := func() time.Duration { return 0 }
	add(0.3, 5, eventKill, none)
	add(0.3, 4, eventStop, none)
	add(0.25, 4, eventFreeze, func() time.Duration { return d.span(time.Second, 3*p.lease) })
	add(0.2, 3, eventJump, func() time.Duration {
		return pick(d, -24*time.Hour, -time.Hour, -time.Minute, time.Minute, time.Hour, 24*time.Hour)
	})
	add(0.25, 4, eventRestart, none)
	add(0.35, 4, eventReplay, none)
	slices.SortStableFunc(p.events, func(a, b event) int { return int(a.at - b.at) })
}

package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/poison"
	"github.com/redrive-dev/redrive/retry"
)

// Bounds that are not settings.
const (
	// firstReceive is the size of the first batch: a message that kills the process
	// takes few innocent ones with it.
	firstReceive = 8
	// MaxStaying bounds the messages that are held although nothing can be done with
	// them, because their move failed or they must not come back yet, before intake
	// stops. They are held beside those that MaxInFlight bounds, so that they do not
	// keep good messages out.
	MaxStaying = 1000
	// maxHistory bounds the attempts that a message carries.
	maxHistory = 16
)

// Causes of cancelled handlers.
var (
	// ErrTimeout cancels a handler that ran out of its time.
	ErrTimeout = errors.New("handler timeout")
	// ErrShutdown cancels a handler because the worker stops.
	ErrShutdown = errors.New("worker is stopping")
)

// Config configures a Machine. All fields are needed but Decide.
type Config struct {
	Source, Group, Worker string
	// Policy has its defaults filled in.
	Policy                   decision.Policy
	Caps                     broker.Caps
	Concurrency, MaxInFlight int
	Lease                    time.Duration
	// Closing is how long a run may go on after its handler has returned, because an
	// inbox is told of it. Zero if there is none.
	Closing time.Duration
	Seed    uint64
	// Decide replaces decision.Decide in tests of checkers.
	Decide func(*decision.Input) decision.Verdict
}

// Machine is the state of one subscription's worker. It is not safe for
// concurrent use.
type Machine struct {
	cfg     Config
	holdMax time.Duration
	breaker *breaker.Breaker
	budget  *retry.Budget
	window  *poison.Window
	rand    *rand.Rand

	all      list
	waiting  queue
	suspects queue
	alone    *Item
	running  int
	stuck    int
	moving   int // items whose Settle is under way
	staying  int
	resting  int

	ramp         int
	receiving    bool
	receiveAt    time.Time
	receiveFails int
	blockedUntil time.Time
	blocks       int
	stopping     bool
	paused       bool
	lastState    breaker.State
	stuckTold    bool

	started     time.Time
	lastSuccess time.Time
	lastFailed  [2]failed

	next  time.Time
	input decision.Input
	fresh envelope.Envelope // of messages without a history, never written to
}

// failed remembers which message failed last, so that a message can be asked
// whether another one failed.
type failed struct {
	key string
	at  time.Time
}

// New makes a machine.
func New(c Config) (*Machine, error) {
	if c.Decide == nil {
		c.Decide = decision.Decide
	}
	br, err := breaker.New(c.Policy.Breaker, c.Seed)
	if err != nil {
		return nil, fmt.Errorf("breaker: %w", err)
	}
	budget, err := retry.NewBudget(c.Policy.Budget)
	if err != nil {
		return nil, fmt.Errorf("retry budget: %w", err)
	}
	m := &Machine{
		cfg: c, breaker: br, budget: budget,
		window:  poison.NewWindow(c.Policy.Poison.Window),
		rand:    rand.New(rand.NewPCG(c.Seed, 0x9e3779b97f4a7c15)), //nolint:gosec // jitter, not a secret
		ramp:    min(firstReceive, c.MaxInFlight),
		holdMax: c.Policy.HoldMax,
	}
	if c.Caps.MaxHold > 0 {
		m.holdMax = min(m.holdMax, c.Caps.MaxHold*9/10)
	}
	return m, nil
}

// Start asks for the first messages.
func (m *Machine) Start(now time.Time, out []Action) []Action {
	m.started = now
	return m.settleDown(now, out)
}

// Next is when Tick must be called, the zero time if there is nothing to wait
// for.
func (m *Machine) Next() time.Time { return m.next }

// Idle reports whether no message is in flight and none is on its way.
func (m *Machine) Idle() bool { return m.all.n == 0 && !m.receiving }

// wake makes sure that Tick is called at t.
func (m *Machine) wake(t time.Time) {
	if m.next.IsZero() || t.Before(m.next) {
		m.next = t
	}
}

// extendEvery leaves room for two extensions that fail.
func (m *Machine) extendEvery() time.Duration { return m.cfg.Lease / 3 }

// admits reports whether the breaker would let a call through.
func (m *Machine) admits(now time.Time) bool {
	return m.breaker.State(now) == breaker.Closed || !m.breaker.Next(now).After(now)
}

// facts fills in what Decide looks at. The input is reused: it is only valid
// until the next call.
func (m *Machine) facts(it *Item, fact decision.Fact, now time.Time) *decision.Input {
	st := m.breaker.State(now)
	in := &m.input
	*in = decision.Input{
		Policy: &m.cfg.Policy, Fact: fact, History: it.Env,
		Deliveries: it.Deliveries, Marks: m.cfg.Caps.Marks, ExpiresAt: it.ExpiresAt,
		Breaker: decision.Breaker{State: st, Admits: true},
		Since:   it.since, HoldMax: m.holdMax, Moves: it.moves,
		Started: m.started, Now: now, Rand: m.rand,
	}
	if st != breaker.Closed {
		in.Breaker.Next = m.breaker.Next(now)
		in.Breaker.Admits = !in.Breaker.Next.After(now)
	}
	return in
}

// settleDown does everything that may have become possible: start handlers, ask
// for messages, tell of the breaker.
func (m *Machine) settleDown(now time.Time, out []Action) []Action {
	out = m.dispatch(now, out)
	out = m.intake(now, out)
	return m.watchBreaker(now, out)
}

// watchBreaker tells of a change of the breaker, and pauses or resumes the
// intake with it.
func (m *Machine) watchBreaker(now time.Time, out []Action) []Action {
	st := m.breaker.State(now)
	if st != breaker.Closed {
		// A breaker whose time has come waits for a message and not for the clock.
		if next := m.breaker.Next(now); next.After(now) {
			m.wake(next)
		}
	}
	if st != m.lastState {
		m.lastState = st
		out = append(out, Action{Kind: Notify, Event: EventBreaker, State: st})
	}
	// A Receive that is under way when the breaker opens goes on: what it brings is
	// held, and makes the next probe.
	if paused := st == breaker.Open && !m.receiving; paused != m.paused {
		m.paused = paused
		out = append(out, Action{Kind: PauseIntake})
	}
	return out
}

// Paused reports whether no Receive will come for a while.
func (m *Machine) Paused() bool { return m.paused }

// Snapshot is the state of a machine, for people.
type Snapshot struct {
	// Waiting counts received messages that do not run, Running those that do,
	// Moving those that are being settled, Staying those whose move failed or that
	// must not come back yet, Stuck the handlers that did not return.
	Waiting, Running, Moving, Staying, Stuck int
	// Suspects counts the messages that must run alone.
	Suspects int
	// Alone says that a suspect runs alone now.
	Alone bool
	// Stalled says that nothing more is taken because handlers did not return.
	Stalled bool
	Breaker breaker.Snapshot
}

// Snapshot returns the state.
func (m *Machine) Snapshot(now time.Time) Snapshot {
	return Snapshot{
		Waiting: m.waiting.len() + m.suspects.len(), Running: m.running, Moving: m.moving, Staying: m.staying + m.resting, Stuck: m.stuck,
		Suspects: m.suspects.len(), Alone: m.alone != nil, Stalled: m.stalled(), Breaker: m.breaker.Snapshot(now),
	}
}

// StuckLimit is the number of stuck handlers at which the worker takes nothing
// more: a quarter of the concurrency, at least one.
func (m *Machine) StuckLimit() int { return max(1, m.cfg.Concurrency/4) }

// stalled reports whether nothing more is taken until handlers return: too many
// are stuck, or a suspect is, beside which nothing may run.
func (m *Machine) stalled() bool {
	return m.stuck >= m.StuckLimit() || m.alone != nil && m.alone.state == stateAbandoned
}

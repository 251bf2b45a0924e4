package engine

import (
	"errors"
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
)

// Finished reports the end of a Run.
func (m *Machine) Finished(now time.Time, it *Item, res *Result, out []Action) []Action {
	if it.state == stateAbandoned {
		// Its verdict was given when it ran out of grace.
		m.stuck--
		if m.alone == it {
			m.alone = nil
		}
		if !m.stalled() {
			m.stuckTold = false
		}
		return m.settleDown(now, out)
	}
	if it.state != stateRunning {
		return out
	}
	m.leaveSlot(it)
	if res.Key != "" {
		it.history(m).Key = res.Key
	}
	if it.lost && res.Fact != decision.Handled && res.Fact != decision.InboxDone {
		// Somebody else may have the message: a copy made now would be a second one.
		m.breaker.Report(now, it.permit, breaker.Ignored)
		return m.settleDown(now, m.drop(it, out))
	}
	out = m.conclude(now, it, res, out)
	return m.settleDown(now, out)
}

func (m *Machine) leaveSlot(it *Item) {
	m.running--
	if m.alone == it {
		m.alone = nil
	}
}

// conclude tells the breaker, decides, and does what was decided.
func (m *Machine) conclude(now time.Time, it *Item, res *Result, out []Action) []Action {
	if res.Fact == decision.InboxUnreachable {
		m.breaker.Report(now, it.permit, breaker.Ignored)
		it.moves = m.blocks
		v := m.decide(m.facts(it, res.Fact, now))
		m.block(now)
		out = append(out, Action{Kind: Notify, Event: EventInboxDown, Item: it, Err: res.Err})
		it.moves = 0
		switch {
		case v.Action != decision.Hold:
			return m.apply(now, it, v, out)
		case m.stopping:
			return m.release(it, out)
		}
		it.state = stateWaiting
		if it.suspect(m) {
			m.suspects.unpop(it)
		} else {
			m.waiting.unpop(it)
		}
		return out
	}
	m.blocks = 0
	m.breaker.Report(now, it.permit, m.outcome(res))
	in := m.facts(it, res.Fact, now)
	in.Breaker.Probe = it.permit.Probe()
	in.Until = res.Until
	took := now.Sub(it.started)
	if res.Fact == decision.Handled {
		// A run that began before an outage says nothing about it.
		if it.started.After(m.lastSuccess) {
			m.lastSuccess = it.started
		}
		m.window.Add(now, true)
	}
	if res.Fact == decision.Failed || res.Fact == decision.DependencyOpen {
		in.Failure, in.Signature = res.Failure, res.Signature
	}
	if res.Fact == decision.Failed {
		in.Peers = m.peers(now, it)
		if res.Dependency {
			in.Peers.LastSuccess = onClock(now, res.Worked)
		}
		m.window.Add(now, false)
	}
	v := m.decide(in)
	if in.Failure != nil {
		if in.Failure.Downstream {
			m.noteFailure(now, key(it))
		}
		m.charge(now, &v)
		m.record(it, in, &v)
		out = append(out, Action{Kind: Notify, Event: EventFailed, Item: it, Verdict: v, Failure: in.Failure, Duration: took})
	} else if res.Fact == decision.Handled {
		out = append(out, Action{Kind: Notify, Event: EventHandled, Item: it, Duration: took})
	}
	if !v.Trip.IsZero() {
		m.breaker.Trip(now, v.Trip)
	}
	return m.apply(now, it, v, out)
}

// outcome is what a run means for the breaker: only failures that speak against
// the downstream count, and what says nothing about it gives the permit back.
func (m *Machine) outcome(res *Result) breaker.Outcome {
	switch {
	case res.Fact == decision.Handled:
		return breaker.Success
	case res.Fact == decision.Failed && res.Failure.Downstream && !res.Failure.Throttled:
		return breaker.Failure
	}
	return breaker.Ignored
}

// charge postpones a counted retry to the token that the budget gives.
func (m *Machine) charge(now time.Time, v *decision.Verdict) {
	if v.Action == decision.Retry && v.Budgeted {
		// The budget never refuses; in a lasting overload its wait is bounded like
		// every other.
		wait := min(m.budget.Reserve(now), m.cfg.Policy.Retry.MaxAge)
		if at := now.Add(wait); at.After(v.At) {
			v.At = at
			v.Delay = at.Sub(now)
		}
	}
}

// peers is what the other messages did: all outcomes less those of this one
// that this worker can have counted.
func (m *Machine) peers(now time.Time, it *Item) decision.Peers {
	// What succeeds after this run has begun may have found the downstream well again,
	// where this one did not, and its verdict may come late: an inbox has to be told.
	p := decision.Peers{LastSuccess: onClock(now, it.worked), Window: m.window.Count(now)}
	from := now.Add(-m.cfg.Policy.Poison.Window)
	for i := range it.Env.Attempts {
		if a := &it.Env.Attempts[i]; a.Worker == m.cfg.Worker && a.At.After(from) {
			p.Window.Total--
		}
	}
	p.Window.Total = max(p.Window.Total, p.Window.Succeeded)
	own := key(it)
	for _, f := range m.lastFailed {
		if f.key != own && f.at.After(p.LastFailure) {
			p.LastFailure = f.at
		}
	}
	p.LastFailure = onClock(now, p.LastFailure)
	return p
}

// onClock tells a time of this process by the wall clock as it is now. Histories
// carry wall-clock times, and this clock may have been set since.
func onClock(now, t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(-now.Sub(t))
}

func (m *Machine) noteFailure(now time.Time, k string) {
	if m.lastFailed[0].key != k {
		m.lastFailed[1] = m.lastFailed[0]
	}
	m.lastFailed[0] = failed{k, now}
}

// key tells messages apart, over retries.
func key(it *Item) string {
	if it.Env.Key != "" {
		return it.Env.Key
	}
	return it.Delivery.Identity().String()
}

// record writes the failed run into the history that travels with the message.
func (m *Machine) record(it *Item, in *decision.Input, v *decision.Verdict) {
	e, f := it.history(m), in.Failure
	a := envelope.Attempt{
		At: in.Now, Category: f.Category, ErrorType: f.Type, Signature: in.Signature,
		Worker: m.cfg.Worker, Uncounted: v.Uncounted, Replay: e.Replays,
	}
	if v.Action == decision.Retry {
		a.Delay = v.At.Sub(in.Now)
	}
	if len(e.Attempts) >= maxHistory {
		half := maxHistory / 2
		e.Attempts = append(e.Attempts[:half:half], e.Attempts[len(e.Attempts)-half+1:]...)
	}
	e.Attempts = append(e.Attempts, a)
	switch {
	case v.Counted:
		e.Count++
	case v.Uncounted != "":
		e.Uncounted++
	}
	if e.FirstFailure.IsZero() {
		e.FirstFailure = in.Now
	}
	e.LastFailure = in.Now
	e.MaxAttempts = in.Policy.Retry.Attempts
	e.Category, e.ErrorType, e.Message, e.Stack, e.Signature = f.Category, f.Type, f.Message, f.Stack, in.Signature
	e.Exhausted = v.Exhausted
}

// apply does what was decided.
func (m *Machine) apply(now time.Time, it *Item, v decision.Verdict, out []Action) []Action {
	it.keep(v)
	it.moves = 0
	if v.Action == decision.Release {
		// What the broker cannot delay for long enough is kept here for the rest of the
		// time: given back at once, it would come back at once.
		if wait := v.After - m.cfg.Caps.MaxRelease; wait > 0 && !m.stopping {
			it.state = stateResting
			m.resting++
			it.due = now.Add(min(wait, m.holdMax))
			m.wake(it.due)
			if it.alone {
				// Its handler has returned, or was never called: the death of this process
				// while it is kept here is not its doing.
				it.alone = false
				out = append(out, Action{Kind: StoreMark, Item: it, Mark: m.released(it)})
			}
			return out
		}
		return m.emitRelease(it, out)
	}
	if v.Action == decision.DeadLetter || v.Action == decision.Quarantine {
		e := it.history(m)
		e.Category, e.Reason = v.Category, v.Reason
	}
	if it.Env.Replays > 0 && m.final(it) {
		it.state = stateReporting
		return append(out, Action{Kind: Report, Item: it, Verdict: v})
	}
	m.move(it)
	return append(out, Action{Kind: Settle, Item: it, Verdict: v})
}

// move counts an item that is about to be settled.
func (m *Machine) move(it *Item) {
	it.state = stateMoving
	m.moving++
}

// Settled reports the end of a Settle.
func (m *Machine) Settled(now time.Time, it *Item, err error, out []Action) []Action {
	if it.state != stateMoving {
		return out
	}
	m.moving--
	switch {
	case err == nil:
		m.unstay(it)
		m.forget(it)
		out = m.settledEvent(it, out)
	case errors.Is(err, broker.ErrLeaseLost), errors.Is(err, broker.ErrSettled), errors.Is(err, broker.ErrGone), it.lost:
		m.unstay(it)
		out = m.drop(it, out)
	case it.verdict().Action == decision.Release:
		// The broker gives the message to somebody when the lease ends.
		m.unstay(it)
		m.forget(it)
		out = append(out, Action{Kind: Notify, Event: EventMoveFailed, Item: it, Verdict: it.verdict(), Err: err})
	default:
		out = m.moveFailed(now, it, err, out)
	}
	return m.settleDown(now, out)
}

func (m *Machine) unstay(it *Item) {
	if it.moves > 0 {
		it.moves = 0
		m.staying--
	}
}

var settledEvents = map[decision.Action]EventKind{ //nolint:gochecknoglobals // a table, never written to
	decision.Retry: EventRetry, decision.DeadLetter: EventDeadLettered,
	decision.Quarantine: EventQuarantined, decision.Release: EventReleased,
}

func (m *Machine) settledEvent(it *Item, out []Action) []Action {
	v := it.verdict()
	if v.Action == decision.Repeat {
		v.Action = repeated(it.Deliveries.Mark.Pending)
	}
	if v.Action == decision.Settle {
		if !v.Duplicate {
			return out
		}
		return append(out, Action{Kind: Notify, Event: EventDuplicate, Item: it, Verdict: v})
	}
	return append(out, Action{Kind: Notify, Event: settledEvents[v.Action], Item: it, Verdict: v})
}

// repeated is the action that a noted move stands for.
func repeated(p *broker.Pending) decision.Action {
	switch {
	case p.Retry:
		return decision.Retry
	case broker.KindOf(p.Queue) == broker.KindQuarantine:
		return decision.Quarantine
	}
	return decision.DeadLetter
}

// moveFailed keeps the message unsettled, notes the move on it once, and tries
// again later.
func (m *Machine) moveFailed(now time.Time, it *Item, err error, out []Action) []Action {
	fact := decision.MoveFailed
	if tooLarge := (*broker.TooLargeError)(nil); errors.As(err, &tooLarge) {
		fact = decision.MoveTooLarge
	}
	v := m.decide(m.facts(it, fact, now))
	out = append(out, Action{Kind: Notify, Event: EventMoveFailed, Item: it, Verdict: it.verdict(), Err: err})
	if v.Action == decision.Release || m.stopping {
		m.unstay(it)
		it.keep(decision.Verdict{Action: decision.Release, Row: decision.RowMoveGiveBack})
		return m.emitRelease(it, out)
	}
	if it.moves == 0 {
		m.staying++
	}
	it.moves++
	it.state = stateStaying
	it.due = v.At
	m.wake(v.At)
	if failed := it.verdict().Action; m.cfg.Caps.Marks && !it.noted && failed != decision.Settle && failed != decision.Repeat {
		out = append(out, Action{Kind: StoreMark, Item: it, Mark: it.Deliveries.Mark, Pending: true})
	}
	return out
}

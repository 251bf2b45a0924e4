package engine

import (
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/poison"
)

// intake asks for messages if there is room for them.
func (m *Machine) intake(now time.Time, out []Action) []Action {
	if m.stopping || m.receiving {
		return out
	}
	if now.Before(m.receiveAt) {
		m.wake(m.receiveAt)
		return out
	}
	n := m.want(now)
	if n <= 0 {
		return out
	}
	m.receiving = true
	return append(out, Action{Kind: Receive, Max: n})
}

// want is the number of messages to ask for. While the breaker is not closed it
// is none, or one to probe with. While a suspect waits it is none either: what
// is in flight when a suspect kills the process comes under suspicion too.
func (m *Machine) want(now time.Time) int {
	switch {
	case m.stalled(), m.staying+m.resting >= MaxStaying, now.Before(m.blockedUntil):
		return 0
	case m.alone != nil || m.suspects.len() > 0:
		return 0
	case m.breaker.State(now) != breaker.Closed:
		if m.waiting.len() > 0 || m.running > 0 || !m.admits(now) {
			return 0
		}
		return min(m.room(), 1)
	}
	room := m.room()
	// A request costs the broker about as much as a message. As long as handlers are
	// fed or settlements make more room, it is worth waiting for a batch.
	if room < m.cfg.MaxInFlight/4 && (m.waiting.len() > 0 || m.moving > 0) {
		return 0
	}
	return min(room, m.ramp)
}

// room is how many more messages may be held, beside those with which nothing can
// be done.
func (m *Machine) room() int { return m.cfg.MaxInFlight - (m.all.n - m.staying - m.resting) }

// Received reports the end of a Receive.
func (m *Machine) Received(now time.Time, items []*Item, err error, out []Action) []Action {
	m.receiving = false
	if err != nil && !m.stopping {
		m.receiveFails++
		m.receiveAt = now.Add(pause(m.receiveFails))
		out = append(out, Action{Kind: Notify, Event: EventReceiveFailed, Err: err})
	} else {
		m.receiveFails = 0
	}
	clean := true
	for _, it := range items {
		it.since = now
		it.extendAt = now.Add(m.extendEvery())
		it.state = stateWaiting
		if it.Env == nil {
			it.Env = &m.fresh
		}
		m.all.add(it)
		m.wake(it.extendAt)
		if poison.Unexplained(it.Deliveries) > 0 {
			clean = false
		}
		switch {
		case m.stopping:
			out = m.release(it, out)
		case it.Newer:
			out = m.apply(now, it, m.decide(m.facts(it, decision.NewerEnvelope, now)), out)
		case it.Deliveries.Mark.Pending != nil:
			out = m.apply(now, it, m.decide(m.facts(it, decision.Delivered, now)), out)
		case m.early(it, now) > 0:
			in := m.facts(it, decision.Early, now)
			in.Until = now.Add(m.early(it, now))
			out = m.apply(now, it, m.decide(in), out)
		case it.suspect(m):
			m.suspects.push(it)
		default:
			m.waiting.push(it)
		}
	}
	if clean && len(items) > 0 {
		m.ramp = min(2*m.ramp, m.cfg.MaxInFlight)
	}
	return m.settleDown(now, out)
}

// clockSlack is by how much the clocks of a worker and its broker may differ
// without notice.
const clockSlack = 10 * time.Millisecond

// early is how long it is until a retry that this worker made is due by the clock
// that it was made by, zero if it is due, another worker made it, or the clock was
// set back since and tells nothing.
func (m *Machine) early(it *Item, now time.Time) time.Duration {
	n := len(it.Env.Attempts)
	if n == 0 {
		return 0
	}
	last := &it.Env.Attempts[n-1]
	if last.Worker != m.cfg.Worker || last.Replay != it.Env.Replays {
		return 0
	}
	wait := last.At.Add(last.Delay).Sub(now)
	if wait <= clockSlack || wait > last.Delay {
		return 0
	}
	return wait
}

// dispatch starts what may start.
func (m *Machine) dispatch(now time.Time, out []Action) []Action {
	if m.stopping {
		return out
	}
	if now.Before(m.blockedUntil) {
		m.wake(m.blockedUntil)
		return out
	}
	out = m.dispatchSuspects(now, out)
	for m.alone == nil && m.suspects.len() == 0 && m.running < m.cfg.Concurrency && m.waiting.len() > 0 {
		it := m.pick(now)
		v := m.decide(m.facts(it, decision.Delivered, now))
		if v.Action == decision.Hold {
			m.waiting.unpop(it)
			return out
		}
		if v.Action != decision.Run {
			out = m.apply(now, it, v, out)
			continue
		}
		permit, err := m.breaker.Allow(now)
		if err != nil {
			m.waiting.unpop(it)
			return out
		}
		it.permit = permit
		out = m.start(now, it, out)
	}
	return out
}

// pick takes the next message: the oldest, or, for a probe, the one that failed
// least.
func (m *Machine) pick(now time.Time) *Item {
	if m.breaker.State(now) == breaker.Closed {
		return m.waiting.pop()
	}
	return m.waiting.popFewest()
}

// dispatchSuspects starts a suspect when nothing else runs and nothing is being
// settled. As long as one waits for that, nothing else is started.
func (m *Machine) dispatchSuspects(now time.Time, out []Action) []Action {
	for m.alone == nil && m.suspects.len() > 0 {
		it := m.suspects.pop()
		v := m.decide(m.facts(it, decision.Delivered, now))
		switch {
		case v.Action == decision.RunAlone:
			permit, err := breaker.Permit{}, error(nil)
			// What has returned and is not settled yet would come again, as if it had
			// killed the process, if this one does.
			busy := m.running > 0 || m.moving > 0
			if !busy {
				permit, err = m.breaker.Allow(now)
			}
			if busy || err != nil {
				m.suspects.unpop(it)
				return out
			}
			it.permit = permit
			it.state = stateMarking
			m.alone = it
			mark := it.Deliveries.Mark
			mark.StartedAlone++
			out = append(out,
				Action{Kind: Notify, Event: EventSuspect, Item: it, Verdict: v},
				Action{Kind: StoreMark, Item: it, Mark: mark})
		case v.Action == decision.Hold:
			m.suspects.unpop(it)
			return out
		case v.Action == decision.Run:
			m.waiting.push(it)
		default:
			out = m.apply(now, it, v, out)
		}
	}
	return out
}

// Marked reports the end of a StoreMark.
func (m *Machine) Marked(now time.Time, it *Item, err error, out []Action) []Action {
	if it.state != stateMarking {
		if err == nil && it.state == stateStaying {
			it.noted = true
		}
		return out
	}
	switch {
	case err == nil && !m.stopping && !it.lost:
		it.alone = true
		out = m.start(now, it, out)
	default:
		// Without a durable marker the message must not run: if it kills the process
		// nobody would know.
		m.breaker.Report(now, it.permit, breaker.Ignored)
		m.alone = nil
		it.state = stateWaiting
		switch {
		case it.lost:
			out = m.drop(it, out)
		case m.stopping:
			out = m.release(it, out)
		default:
			m.suspects.unpop(it)
			m.block(now)
			out = append(out, Action{Kind: Notify, Event: EventMarkFailed, Item: it, Err: err})
		}
	}
	return m.settleDown(now, out)
}

// start runs the handler of an item that has a permit.
func (m *Machine) start(now time.Time, it *Item, out []Action) []Action {
	it.state = stateRunning
	it.run++
	it.started, it.worked = now, m.lastSuccess
	it.timedOut = false
	it.due = now.Add(m.cfg.Policy.HandlerTimeout)
	m.wake(it.due)
	m.running++
	if failures(it) == 0 {
		m.budget.Attempt(now)
	}
	return append(out, Action{Kind: Run, Item: it})
}

// block stops dispatching and intake for a while.
func (m *Machine) block(now time.Time) {
	m.blocks++
	m.blockedUntil = now.Add(pause(m.blocks))
	m.wake(m.blockedUntil)
}

// pause is the wait after a number of failures in a row: 50 ms doubled, at most
// 10 s.
func pause(fails int) time.Duration {
	return min(10*time.Second, 50*time.Millisecond<<min(max(fails-1, 0), 8))
}

// release gives an item back with a note that explains this delivery.
func (m *Machine) release(it *Item, out []Action) []Action {
	it.keep(decision.Verdict{Action: decision.Release, Row: decision.RowInterrupted})
	return m.emitRelease(it, out)
}

func (m *Machine) emitRelease(it *Item, out []Action) []Action {
	if it.state == stateResting {
		m.resting--
	}
	m.move(it)
	v := it.verdict()
	return append(out, Action{Kind: Settle, Item: it, Verdict: v, Mark: m.released(it), Pending: v.Row == decision.RowMoveGiveBack})
}

// released is the mark of an item that is given back: this delivery is explained, and
// did not end a process.
func (m *Machine) released(it *Item) broker.Mark {
	if !m.cfg.Caps.Marks {
		return broker.Mark{}
	}
	mark := it.Deliveries.Mark
	mark.Explained++
	return mark
}

func (m *Machine) drop(it *Item, out []Action) []Action {
	m.forget(it)
	return append(out, Action{Kind: Notify, Event: EventLeaseLost, Item: it})
}

func (m *Machine) forget(it *Item) {
	if it.state == stateGone {
		return
	}
	if it.state == stateResting {
		m.resting--
	}
	it.state = stateGone
	m.all.remove(it)
}

func (m *Machine) decide(in *decision.Input) decision.Verdict { return m.cfg.Decide(in) }

package engine

import (
	"time"

	"github.com/redrive-dev/redrive/decision"
)

// final reports whether the verdict ends the message's way through its
// subscription: whoever replayed it waits for that.
func (m *Machine) final(it *Item) bool {
	action := it.verdict().Action
	if action == decision.Repeat {
		action = repeated(it.Deliveries.Mark.Pending)
	}
	return action == decision.Settle || action == decision.DeadLetter || action == decision.Quarantine
}

// Reported reports the end of a Report. Only when the outcome is confirmed, or
// could not be for as long as the message may be held, is the message settled:
// killed in between, the next worker reports it again under the same id.
func (m *Machine) Reported(now time.Time, it *Item, err error, out []Action) []Action {
	switch {
	case it.state != stateReporting:
		return out
	case it.lost:
		m.leaveUnreported(it)
		out = m.drop(it, out)
	case err == nil:
		m.leaveUnreported(it)
		out = m.settle(it, out)
	default:
		out = m.reportFailed(now, it, err, out)
	}
	return m.settleDown(now, out)
}

func (m *Machine) reportFailed(now time.Time, it *Item, err error, out []Action) []Action {
	in := m.facts(it, decision.OutcomeFailed, now)
	in.Moves = it.unreported
	v := m.decide(in)
	out = append(out, Action{Kind: Notify, Event: EventOutcomeFailed, Item: it, Verdict: it.verdict(), Err: err})
	if v.Action == decision.Repeat || m.stopping {
		// The effect is there or the letter is on its way; the replay's outcome is
		// unknown from here on.
		m.leaveUnreported(it)
		out = append(out, Action{Kind: Notify, Event: EventOutcomeLost, Item: it, Verdict: it.verdict(), Err: err})
		return m.settle(it, out)
	}
	if it.unreported == 0 {
		m.staying++
	}
	it.unreported++
	it.state = stateUnreported
	it.due = v.At
	m.wake(v.At)
	return out
}

func (m *Machine) settle(it *Item, out []Action) []Action {
	m.move(it)
	return append(out, Action{Kind: Settle, Item: it, Verdict: it.verdict()})
}

func (m *Machine) leaveUnreported(it *Item) {
	if it.unreported > 0 {
		it.unreported = 0
		m.staying--
	}
}

// reportAgain tries again to report an outcome.
func (m *Machine) reportAgain(it *Item, out []Action) []Action {
	it.state = stateReporting
	return append(out, Action{Kind: Report, Item: it, Verdict: it.verdict()})
}

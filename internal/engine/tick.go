package engine

import (
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/failure"
)

// Tick does what is due: extend leases, end handlers that ran out of time, give
// back what was held too long, try failed moves again.
func (m *Machine) Tick(now time.Time, out []Action) []Action {
	m.next = time.Time{}
	for it := m.all.head; it != nil; {
		following := it.next
		out = m.tickItem(now, it, out)
		it = following
	}
	if !m.stopping && (!m.admits(now) || m.stalled()) {
		out = m.giveBack(now, out)
	}
	return m.settleDown(now, out)
}

func (m *Machine) tickItem(now time.Time, it *Item, out []Action) []Action {
	if !it.lost && it.state != stateAbandoned {
		if !now.Before(it.extendAt) {
			it.extendAt = now.Add(m.extendEvery())
			out = append(out, Action{Kind: Extend, Item: it, Duration: m.cfg.Lease})
		}
		m.wake(it.extendAt)
	}
	switch {
	case it.state == stateRunning:
		if now.Before(it.due) {
			m.wake(it.due)
			return out
		}
		if !it.timedOut {
			it.timedOut = true
			it.due = now.Add(m.cfg.Policy.HandlerGrace + m.cfg.Closing)
			m.wake(it.due)
			return append(out,
				Action{Kind: Notify, Event: EventTimeout, Item: it},
				Action{Kind: Cancel, Item: it, Run: it.run, Err: ErrTimeout})
		}
		return m.abandon(now, it, out)
	case it.state == stateStaying, it.state == stateUnreported:
		if now.Before(it.due) {
			m.wake(it.due)
			return out
		}
		if it.state == stateUnreported {
			return m.reportAgain(it, out)
		}
		return m.settle(it, out)
	case it.state == stateResting:
		if now.Before(it.due) {
			m.wake(it.due)
			return out
		}
		return m.emitRelease(it, out)
	}
	return out
}

// abandon gives the verdict on a handler that did not return in its grace. Its
// goroutine counts as stuck; what it returns later is ignored. A suspect still
// runs, so what may not run beside it goes on waiting.
func (m *Machine) abandon(now time.Time, it *Item, out []Action) []Action {
	m.running--
	m.stuck++
	ghost := it
	// The delivery goes on in a new item, so that the handler's late return finds
	// the old one abandoned, and has a history of its own.
	env := *it.Env
	heir := &Item{
		Delivery: it.Delivery, Deliveries: it.Deliveries, ExpiresAt: it.ExpiresAt, Env: &env, Data: it.Data,
		since: it.since, started: it.started, worked: it.worked, extendAt: it.extendAt, permit: it.permit, lost: it.lost, run: it.run,
	}
	m.all.remove(ghost)
	ghost.state = stateAbandoned
	m.all.add(heir)
	if m.stalled() && !m.stuckTold {
		m.stuckTold = true
		out = append(out, Action{Kind: Notify, Event: EventStuck, Item: it})
	}
	if heir.lost {
		m.breaker.Report(now, heir.permit, breaker.Ignored)
		return m.drop(heir, out)
	}
	res := Result{Fact: decision.Failed, Failure: &failure.Failure{
		Category: failure.Transient, Err: ErrTimeout, Type: "handler timeout", Timeout: true, Downstream: true,
		Message: "handler did not return within " + (m.cfg.Policy.HandlerTimeout + m.cfg.Policy.HandlerGrace).String(),
	}}
	res.Signature = failure.Signature(failure.SignatureInput{
		Source: m.cfg.Source, Group: m.cfg.Group, Category: res.Failure.Category,
		Type: res.Failure.Type, Message: res.Failure.Message,
	})
	return m.conclude(now, heir, &res, out)
}

// giveBack releases what was held for as long as the policy or the broker
// allows, behind a breaker or behind handlers that do not return.
func (m *Machine) giveBack(now time.Time, out []Action) []Action {
	overdue := func(it *Item) bool {
		due := it.since.Add(m.holdMax)
		if now.Before(due) {
			m.wake(due)
			return false
		}
		return true
	}
	for _, q := range []*queue{&m.suspects, &m.waiting} {
		for _, it := range q.filter(overdue) {
			v := m.decide(m.facts(it, decision.Delivered, now))
			switch v.Action { //nolint:exhaustive // everything else is a verdict to be carried out
			case decision.Hold:
				q.push(it)
			case decision.Run, decision.RunAlone:
				out = m.release(it, out)
			default:
				out = m.apply(now, it, v, out)
			}
		}
	}
	return out
}

// Extended reports an Extend that failed.
func (m *Machine) Extended(now time.Time, it *Item, lost bool, out []Action) []Action {
	if !lost || it.lost || it.state == stateGone {
		return out
	}
	it.lost = true
	// What is moved or marked finds out at its end.
	switch {
	case it.state == stateRunning:
		out = append(out, Action{Kind: Cancel, Item: it, Run: it.run, Err: broker.ErrLeaseLost})
	case it.state == stateWaiting:
		is := func(other *Item) bool { return other == it }
		m.waiting.filter(is)
		m.suspects.filter(is)
		out = m.drop(it, out)
	case it.state == stateStaying:
		m.unstay(it)
		out = m.drop(it, out)
	case it.state == stateUnreported:
		m.leaveUnreported(it)
		out = m.drop(it, out)
	case it.state == stateResting:
		out = m.drop(it, out)
	}
	return m.settleDown(now, out)
}

// Stop begins a clean stop: nothing is received or started any more, what waits
// is given back, and what runs may finish.
func (m *Machine) Stop(now time.Time, out []Action) []Action {
	if m.stopping {
		return out
	}
	m.stopping = true
	for _, q := range []*queue{&m.suspects, &m.waiting} {
		for _, it := range q.take() {
			out = m.release(it, out)
		}
	}
	for it := m.all.head; it != nil; it = it.next {
		if it.state == stateUnreported {
			out = m.reportAgain(it, out)
		}
		if it.state == stateStaying {
			it.keep(decision.Verdict{Action: decision.Release, Row: decision.RowMoveGiveBack})
			m.unstay(it)
			out = m.emitRelease(it, out)
		} else if it.state == stateResting {
			out = m.emitRelease(it, out)
		}
	}
	return m.watchBreaker(now, out)
}

// Abort cancels the handlers that still run after Stop.
func (m *Machine) Abort(_ time.Time, out []Action) []Action {
	for it := m.all.head; it != nil; it = it.next {
		if it.state == stateRunning {
			out = append(out, Action{Kind: Cancel, Item: it, Run: it.run, Err: ErrShutdown})
		}
	}
	return out
}

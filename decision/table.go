package decision

import (
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

// Row names a row of the table. The names are stable: events and metrics carry
// them.
type Row string

// The rows, in the order in which they are read.
const (
	RowHandled          Row = "handled"
	RowPendingMove      Row = "pending-move"
	RowGiveBack         Row = "breaker-give-back"
	RowHold             Row = "breaker-hold"
	RowCrashLoop        Row = "crash-loop"
	RowExpired          Row = "expired"
	RowSuspect          Row = "suspect"
	RowRun              Row = "run"
	RowNewerEnvelope    Row = "newer-envelope"
	RowEarly            Row = "early"
	RowInterrupted      Row = "interrupted"
	RowInboxDone        Row = "inbox-done"
	RowInboxConflict    Row = "inbox-conflict"
	RowInboxBusy        Row = "inbox-busy"
	RowInboxGiveBack    Row = "inbox-give-back"
	RowInboxUnreachable Row = "inbox-unreachable"
	RowDependencyTooOld Row = "dependency-too-old"
	RowDependencyOpen   Row = "dependency-open"
	RowThrottledTooOld  Row = "throttled-too-old"
	RowThrottled        Row = "throttled"
	RowRequested        Row = "quarantine-requested"
	RowLone             Row = "attempts-lone"
	RowTooOld           Row = "attempts-too-old"
	RowProbeFailed      Row = "probe-failed"
	RowRepeated         Row = "permanent-repeated"
	RowPermanent        Row = "permanent"
	RowIntegration      Row = "integration"
	RowPanicRetry       Row = "panic-retry"
	RowPanic            Row = "panic"
	RowRetry            Row = "retry"
	RowUnclear          Row = "attempts-unclear"
	RowPoison           Row = "attempts-poison"
	RowAttempts         Row = "attempts"
	RowMoveGiveBack     Row = "move-give-back"
	RowMoveTooLarge     Row = "move-too-large"
	RowMoveFailed       Row = "move-failed"
	RowOutcomeLost      Row = "outcome-lost"
	RowOutcomeFailed    Row = "outcome-failed"
)

type row struct {
	name    Row
	facts   facts
	matches func(*Input) bool
	verdict func(*Input) Verdict
}

// facts is a set of facts.
type facts uint16

func on(all ...Fact) (set facts) {
	for _, f := range all {
		set |= 1 << f
	}
	return set
}

func (set facts) has(f Fact) bool { return set>>f&1 != 0 }

// Table lists the rows in the order in which they are read.
func Table() []Row {
	names := make([]Row, len(table))
	for i := range table {
		names[i] = table[i].name
	}
	return names
}

// Decide returns the verdict of the first row that matches. It has no effect.
func Decide(in *Input) (v Verdict) {
	if in.Fact < factEnd {
		rows := byFact[in.Fact]
		for i := range rows {
			if rows[i].matches(in) {
				v = rows[i].verdict(in)
				v.Row = rows[i].name
				return v
			}
		}
	}
	// Not reached, as a property test shows. Were it reached, the message stays
	// where it is.
	return Verdict{Action: Release}
}

// byFact is the table as each fact sees it, so that a decision does not pass by
// the rows of the others.
var byFact = func() (by [factEnd][]row) { //nolint:gochecknoglobals // the rules, never written to
	for _, r := range table {
		for f := range factEnd {
			if r.facts.has(f) {
				by[f] = append(by[f], r)
			}
		}
	}
	return by
}()

var table = []row{ //nolint:gochecknoglobals // the rules, never written to
	{RowHandled, on(Handled), anyway, always(Verdict{Action: Settle})},

	// Before the handler.
	{RowPendingMove, on(Delivered), func(in *Input) bool { return in.Deliveries.Mark.Pending != nil }, always(Verdict{Action: Repeat})},
	{RowGiveBack, on(Delivered), func(in *Input) bool { return notAdmitted(in) && heldTooLong(in) }, always(Verdict{Action: Release})},
	{RowHold, on(Delivered), notAdmitted, always(Verdict{Action: Hold})},
	{RowCrashLoop, on(Delivered), func(in *Input) bool {
		return in.Marks && in.Policy.Poison.CrashLoop(in.Deliveries)
	}, always(Verdict{Action: Quarantine, Category: failure.Crash, Reason: envelope.ReasonCrashLoop})},
	{RowExpired, on(Delivered), expired, expiredLetter},
	{RowSuspect, on(Delivered), func(in *Input) bool {
		return in.Marks && in.Policy.Poison.Suspect(in.Deliveries)
	}, always(Verdict{Action: RunAlone})},
	{RowRun, on(Delivered), anyway, always(Verdict{Action: Run})},

	// A newer worker knows what this message went through; this one would start it
	// afresh.
	{RowNewerEnvelope, on(NewerEnvelope), anyway, always(Verdict{Action: Release, After: newerPause})},
	// The clocks of broker and worker differ by more than the delay: without this a
	// retry that costs no attempt would go round without a pause.
	{RowEarly, on(Early), anyway, func(in *Input) Verdict {
		return Verdict{Action: Release, After: max(0, in.Until.Sub(in.Now))}
	}},

	// The handler did not get to say anything about the message.
	{RowInterrupted, on(Interrupted), anyway, always(Verdict{Action: Release})},
	{RowInboxDone, on(InboxDone), anyway, always(Verdict{Action: Settle, Duplicate: true})},
	{RowInboxConflict, on(InboxConflict), anyway, always(Verdict{Action: DeadLetter, Category: failure.Business, Reason: envelope.ReasonKeyConflict})},
	{RowInboxBusy, on(InboxBusy), anyway, func(in *Input) Verdict {
		return Verdict{Action: Release, After: max(busyPause, in.Until.Sub(in.Now))}
	}},
	{RowInboxGiveBack, on(InboxUnreachable), heldTooLong, always(Verdict{Action: Release})},
	{RowInboxUnreachable, on(InboxUnreachable), anyway, func(in *Input) Verdict {
		return Verdict{Action: Hold, At: in.Now.Add(backoff(in.Moves))}
	}},
	{RowDependencyTooOld, on(DependencyOpen), (*Input).tooOld, expiredLetter},
	{RowDependencyOpen, on(DependencyOpen), anyway, func(in *Input) Verdict {
		return uncounted(in, in.Until, UncountedDependency)
	}},

	// The handler failed, and asked for something.
	{RowThrottledTooOld, on(Failed), func(in *Input) bool { return in.Failure.Throttled && in.tooOld() }, expiredLetter},
	{RowThrottled, on(Failed), func(in *Input) bool { return in.Failure.Throttled }, throttled},
	{RowRequested, on(Failed), func(in *Input) bool { return in.Failure.Quarantine }, func(in *Input) Verdict {
		return Verdict{Action: Quarantine, Counted: true, Category: in.Failure.Category, Reason: envelope.ReasonRequested}
	}},

	// Bounds of messages that wait for proof that they are not at fault.
	{RowLone, on(Failed), lone, counted(Verdict{Action: DeadLetter, Category: failure.Transient, Reason: envelope.ReasonAttempts})},
	{RowTooOld, on(Failed), func(in *Input) bool {
		return (in.usedUp() || in.Breaker.Probe) && in.transient() && in.tooOld()
	}, expiredLetter},

	{RowProbeFailed, on(Failed), func(in *Input) bool { return in.Breaker.Probe && in.Failure.Downstream }, func(in *Input) Verdict {
		return uncounted(in, in.Breaker.Next, UncountedProbe)
	}},

	// The failure speaks for itself.
	{RowRepeated, on(Failed), func(in *Input) bool {
		return in.Failure.Category.Permanent() && in.History.Replays > 0 &&
			in.same() >= in.Policy.Poison.Threshold && in.same() > 1
	}, func(in *Input) Verdict {
		return Verdict{Action: Quarantine, Counted: true, Category: in.Failure.Category, Reason: envelope.ReasonRepeated}
	}},
	{RowPermanent, on(Failed), func(in *Input) bool { return in.category(failure.Schema) || in.category(failure.Business) }, permanent},
	{RowIntegration, on(Failed), func(in *Input) bool { return in.category(failure.Integration) }, permanent},
	{RowPanicRetry, on(Failed), func(in *Input) bool {
		return in.category(failure.Crash) && in.attempt() < in.Policy.Retry.Attempts
	}, retryLater},
	{RowPanic, on(Failed), func(in *Input) bool { return in.category(failure.Crash) }, counted(Verdict{Action: Quarantine, Category: failure.Crash, Reason: envelope.ReasonPanic})},

	// Transient, classified or not.
	{RowRetry, on(Failed), func(in *Input) bool { return !in.usedUp() }, retryLater},
	{RowUnclear, on(Failed), func(in *Input) bool { return in.usedUp() && in.unclear() }, unclear},
	{RowPoison, on(Failed), func(in *Input) bool {
		return in.usedUp() && in.Policy.Poison.Healthy(in.Peers.Window) && in.same() >= in.Policy.Poison.Threshold
	}, counted(Verdict{Action: Quarantine, Category: failure.Transient, Reason: envelope.ReasonPoison})},
	{RowAttempts, on(Failed), anyway, counted(Verdict{Action: DeadLetter, Category: failure.Transient, Reason: envelope.ReasonAttempts})},

	// The copy could not be written.
	{RowMoveGiveBack, on(MoveFailed, MoveTooLarge), heldTooLong, always(Verdict{Action: Release})},
	{RowMoveTooLarge, on(MoveTooLarge), anyway, stay(Park)},
	{RowMoveFailed, on(MoveFailed), anyway, stay(Stay)},

	// The outcome of a replay could not be reported.
	{RowOutcomeLost, on(OutcomeFailed), heldTooLong, always(Verdict{Action: Repeat})},
	{RowOutcomeFailed, on(OutcomeFailed), anyway, stay(Stay)},
}

func anyway(*Input) bool { return true }

func always(v Verdict) func(*Input) Verdict { return func(*Input) Verdict { return v } }

func counted(v Verdict) func(*Input) Verdict {
	v.Counted = true
	return always(v)
}

func notAdmitted(in *Input) bool { return !in.Breaker.Admits }

func heldTooLong(in *Input) bool { return in.Now.Sub(in.Since) >= in.HoldMax }

func expired(in *Input) bool { return !in.ExpiresAt.IsZero() && !in.Now.Before(in.ExpiresAt) }

// lone reports a message whose attempts were used up a long time ago while no
// other message failed: there is no outage to wait for.
func lone(in *Input) bool {
	return in.usedUp() && !in.History.Exhausted.IsZero() &&
		in.Now.Sub(later(in.History.Exhausted, in.Started)) >= in.Policy.LoneHold &&
		!in.Peers.LastFailure.After(in.History.Exhausted)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func permanent(in *Input) Verdict {
	return Verdict{Action: DeadLetter, Counted: true, Category: in.Failure.Category, Reason: envelope.ReasonPermanent}
}

func expiredLetter(in *Input) Verdict {
	category := in.History.Category
	if in.Failure != nil {
		category = in.Failure.Category
	}
	if category == failure.None {
		category = failure.Transient
	}
	return Verdict{Action: DeadLetter, Category: category, Reason: envelope.ReasonExpired}
}

func retryLater(in *Input) Verdict {
	previous := in.Policy.Retry.Strategy.Base
	if n := len(in.History.Attempts); n > 0 && in.History.Attempts[n-1].Delay > 0 {
		previous = in.History.Attempts[n-1].Delay
	}
	d := in.Policy.Retry.Delay(in.attempt(), in.Failure.Category, previous, in.Failure.RetryAfter, in.Rand)
	return Verdict{Action: Retry, Counted: true, Delay: d, At: in.Now.Add(d), Budgeted: true}
}

func uncounted(in *Input, at time.Time, why string) Verdict {
	if at.Before(in.Now) {
		at = in.Now
	}
	return Verdict{Action: Retry, At: at, Uncounted: why, Exhausted: in.History.Exhausted}
}

func throttled(in *Input) Verdict {
	wait := min(in.Failure.RetryAfter, in.Policy.Retry.RetryAfterMax)
	if wait <= 0 {
		wait = in.Policy.Breaker.Recovery
	}
	until := in.Now.Add(wait)
	v := uncounted(in, until, UncountedThrottled)
	v.Trip = until
	return v
}

// unclear sends the message to wait for the breaker, or, when that is closed and
// nobody else has succeeded, for the longest delay of the policy. The run does not
// count, so the next one is the last attempt again.
func unclear(in *Input) Verdict {
	at := in.Breaker.Next
	if in.Breaker.State == breaker.Closed {
		at = in.Now.Add(in.Policy.Retry.Strategy.Max)
	}
	v := uncounted(in, at, UncountedOutage)
	v.Exhausted = in.exhausted()
	return v
}

func stay(a Action) func(*Input) Verdict {
	return func(in *Input) Verdict { return Verdict{Action: a, At: in.Now.Add(backoff(in.Moves))} }
}

// busyPause is the shortest wait for somebody else's claim: clocks differ, and a
// claim that looks over may not be.
const busyPause = time.Second

// newerPause is how long a message is left to newer workers before this one may
// see it again.
const newerPause = 30 * time.Second

// backoff is the wait before a failed write is tried again: 100 ms doubled each
// time, at most 30 s.
func backoff(tries int) time.Duration {
	return min(30*time.Second, 100*time.Millisecond<<min(max(tries, 0), 9))
}

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
	matches func(*Input) bool
	verdict func(*Input) Verdict
}

// Table lists the rows in the order in which they are read.
func Table() []Row {
	names := make([]Row, len(table))
	for i := range table {
		names[i] = table[i].name
	}
	return names
}

// Decide returns the verdict of the first row that matches. It has no effect.
func Decide(in *Input) Verdict {
	for i := range table {
		if table[i].matches(in) {
			v := table[i].verdict(in)
			v.Row = table[i].name
			return v
		}
	}
	// Not reached, as a property test shows. Were it reached, the message stays
	// where it is.
	return Verdict{Action: Release}
}

var table = []row{ //nolint:gochecknoglobals // the rules, never written to
	{RowHandled, fact(Handled), always(Verdict{Action: Settle})},

	// Before the handler.
	{RowPendingMove, func(in *Input) bool { return in.Fact == Delivered && in.Deliveries.Mark.Pending != nil }, always(Verdict{Action: Repeat})},
	{RowGiveBack, func(in *Input) bool { return notAdmitted(in) && heldTooLong(in) }, always(Verdict{Action: Release})},
	{RowHold, notAdmitted, always(Verdict{Action: Hold})},
	{RowCrashLoop, func(in *Input) bool {
		return in.Fact == Delivered && in.Marks && in.Policy.Poison.CrashLoop(in.Deliveries)
	}, always(Verdict{Action: Quarantine, Category: failure.Crash, Reason: envelope.ReasonCrashLoop})},
	{RowExpired, func(in *Input) bool { return in.Fact == Delivered && expired(in) }, expiredLetter},
	{RowSuspect, func(in *Input) bool {
		return in.Fact == Delivered && in.Marks && in.Policy.Poison.Suspect(in.Deliveries)
	}, always(Verdict{Action: RunAlone})},
	{RowRun, fact(Delivered), always(Verdict{Action: Run})},

	// A newer worker knows what this message went through; this one would start it
	// afresh.
	{RowNewerEnvelope, fact(NewerEnvelope), always(Verdict{Action: Release, After: newerPause})},

	// The handler did not get to say anything about the message.
	{RowInterrupted, fact(Interrupted), always(Verdict{Action: Release})},
	{RowInboxDone, fact(InboxDone), always(Verdict{Action: Settle, Duplicate: true})},
	{RowInboxConflict, fact(InboxConflict), always(Verdict{Action: DeadLetter, Category: failure.Business, Reason: envelope.ReasonKeyConflict})},
	{RowInboxBusy, fact(InboxBusy), func(in *Input) Verdict {
		return Verdict{Action: Release, After: max(busyPause, in.Until.Sub(in.Now))}
	}},
	{RowInboxGiveBack, func(in *Input) bool { return in.Fact == InboxUnreachable && heldTooLong(in) }, always(Verdict{Action: Release})},
	{RowInboxUnreachable, fact(InboxUnreachable), func(in *Input) Verdict {
		return Verdict{Action: Hold, At: in.Now.Add(backoff(in.Moves))}
	}},
	{RowDependencyTooOld, func(in *Input) bool { return in.Fact == DependencyOpen && in.tooOld() }, expiredLetter},
	{RowDependencyOpen, fact(DependencyOpen), func(in *Input) Verdict {
		return uncounted(in, in.Until, UncountedDependency)
	}},

	// The handler failed, and asked for something.
	{RowThrottledTooOld, func(in *Input) bool { return in.Fact == Failed && in.Failure.Throttled && in.tooOld() }, expiredLetter},
	{RowThrottled, func(in *Input) bool { return in.Fact == Failed && in.Failure.Throttled }, throttled},
	{RowRequested, func(in *Input) bool { return in.Fact == Failed && in.Failure.Quarantine }, func(in *Input) Verdict {
		return Verdict{Action: Quarantine, Counted: true, Category: in.Failure.Category, Reason: envelope.ReasonRequested}
	}},

	// Bounds of messages that wait for proof that they are not at fault.
	{RowLone, lone, counted(Verdict{Action: DeadLetter, Category: failure.Transient, Reason: envelope.ReasonAttempts})},
	{RowTooOld, func(in *Input) bool {
		return in.transient() && in.tooOld() && (in.usedUp() || in.Breaker.Probe)
	}, expiredLetter},

	{RowProbeFailed, func(in *Input) bool { return in.Fact == Failed && in.Breaker.Probe && in.Failure.Downstream }, func(in *Input) Verdict {
		return uncounted(in, in.Breaker.Next, UncountedProbe)
	}},

	// The failure speaks for itself.
	{RowRepeated, func(in *Input) bool {
		return in.Fact == Failed && in.Failure.Category.Permanent() && in.History.Replays > 0 &&
			in.same() >= in.Policy.Poison.Threshold && in.same() > 1
	}, func(in *Input) Verdict {
		return Verdict{Action: Quarantine, Counted: true, Category: in.Failure.Category, Reason: envelope.ReasonRepeated}
	}},
	{RowPermanent, func(in *Input) bool { return in.category(failure.Schema) || in.category(failure.Business) }, permanent},
	{RowIntegration, func(in *Input) bool { return in.category(failure.Integration) }, permanent},
	{RowPanicRetry, func(in *Input) bool {
		return in.category(failure.Crash) && in.attempt() < in.Policy.Retry.Attempts
	}, retryLater},
	{RowPanic, func(in *Input) bool { return in.category(failure.Crash) }, counted(Verdict{Action: Quarantine, Category: failure.Crash, Reason: envelope.ReasonPanic})},

	// Transient, classified or not.
	{RowRetry, func(in *Input) bool { return in.Fact == Failed && !in.usedUp() }, retryLater},
	{RowUnclear, func(in *Input) bool { return in.usedUp() && in.unclear() }, unclear},
	{RowPoison, func(in *Input) bool {
		return in.usedUp() && in.Policy.Poison.Healthy(in.Peers.Window) && in.same() >= in.Policy.Poison.Threshold
	}, counted(Verdict{Action: Quarantine, Category: failure.Transient, Reason: envelope.ReasonPoison})},
	{RowAttempts, fact(Failed), counted(Verdict{Action: DeadLetter, Category: failure.Transient, Reason: envelope.ReasonAttempts})},

	// The copy could not be written.
	{RowMoveGiveBack, func(in *Input) bool {
		return (in.Fact == MoveFailed || in.Fact == MoveTooLarge) && heldTooLong(in)
	}, always(Verdict{Action: Release})},
	{RowMoveTooLarge, fact(MoveTooLarge), stay(Park)},
	{RowMoveFailed, fact(MoveFailed), stay(Stay)},

	// The outcome of a replay could not be reported.
	{RowOutcomeLost, func(in *Input) bool { return in.Fact == OutcomeFailed && heldTooLong(in) }, always(Verdict{Action: Repeat})},
	{RowOutcomeFailed, fact(OutcomeFailed), stay(Stay)},
}

func fact(f Fact) func(*Input) bool { return func(in *Input) bool { return in.Fact == f } }

func always(v Verdict) func(*Input) Verdict { return func(*Input) Verdict { return v } }

func counted(v Verdict) func(*Input) Verdict {
	v.Counted = true
	return always(v)
}

func notAdmitted(in *Input) bool { return in.Fact == Delivered && !in.Breaker.Admits }

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

package decision_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/poison"
)

var epoch = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// base is a healthy subscription that has just received a message for the first
// time.
func base() *decision.Input {
	p := decision.Policy{}.WithDefaults()
	return &decision.Input{
		Policy: &p, Fact: decision.Delivered, History: &envelope.Envelope{},
		Deliveries: broker.Deliveries{Kind: broker.CountExact}, Marks: true,
		Breaker: decision.Breaker{State: breaker.Closed, Admits: true},
		Peers:   decision.Peers{LastSuccess: epoch, Window: poison.Peers{Succeeded: 5, Total: 5}},
		Since:   epoch, HoldMax: p.HoldMax, Now: epoch, Rand: rand.New(rand.NewPCG(1, 2)),
	}
}

func failed(in *decision.Input, err error) {
	f := failure.Classify(err)
	in.Fact, in.Failure, in.Signature = decision.Failed, &f, "s1:x"
}

func history(in *decision.Input, n int) {
	for range n {
		in.History.Attempts = append(in.History.Attempts, envelope.Attempt{At: in.Now.Add(-time.Minute), Signature: "s1:x", Category: failure.Transient})
	}
	in.History.Count = n
	in.History.FirstFailure = in.Now.Add(-time.Minute)
}

func open(in *decision.Input) {
	in.Breaker = decision.Breaker{State: breaker.Open, Next: in.Now.Add(7 * time.Second)}
}

var errDown = failure.AsTransient(errors.New("downstream is away"))

// rowCase is an input that must meet a row.
type rowCase struct {
	name   string
	row    decision.Row
	action decision.Action
	input  func(*decision.Input)
	check  func(*decision.Input, decision.Verdict) bool
}

// casesBefore are about messages whose handler has not said anything.
func casesBefore() []rowCase {
	return []rowCase{
		{"the handler returned nil", decision.RowHandled, decision.Settle, func(in *decision.Input) { in.Fact = decision.Handled }, nil},
		{"a healthy message runs", decision.RowRun, decision.Run, func(*decision.Input) {}, nil},
		{"a noted move is repeated, never the handler", decision.RowPendingMove, decision.Repeat, func(in *decision.Input) {
			open(in)
			in.Deliveries.Mark.Pending = &broker.Pending{}
		}, nil},
		{"an open breaker holds", decision.RowHold, decision.Hold, open, nil},
		{"holding ends", decision.RowGiveBack, decision.Release, func(in *decision.Input) {
			open(in)
			in.Since = in.Now.Add(-in.HoldMax)
		}, nil},
		{"an open breaker whose time has come lets a probe through", decision.RowRun, decision.Run, func(in *decision.Input) {
			open(in)
			in.Breaker.Admits = true
		}, nil},
		{"one unexplained delivery is no suspicion", decision.RowRun, decision.Run, func(in *decision.Input) { in.Deliveries.Earlier = 1 }, nil},
		{"two are", decision.RowSuspect, decision.RunAlone, func(in *decision.Input) { in.Deliveries.Earlier = 2 }, nil},
		{"a release is an explanation", decision.RowRun, decision.Run, func(in *decision.Input) {
			in.Deliveries.Earlier, in.Deliveries.Mark.Explained = 2, 1
		}, nil},
		{"without a marker store the rule is off", decision.RowRun, decision.Run, func(in *decision.Input) {
			in.Deliveries.Earlier, in.Marks = 9, false
		}, nil},
		{"a suspect that never came back is quarantined", decision.RowCrashLoop, decision.Quarantine, func(in *decision.Input) {
			in.Deliveries.Earlier, in.Deliveries.Mark.StartedAlone = 5, 3
		}, func(_ *decision.Input, v decision.Verdict) bool {
			return v.Category == failure.Crash && v.Reason == envelope.ReasonCrashLoop
		}},
		{"an expired message is never dropped", decision.RowExpired, decision.DeadLetter, func(in *decision.Input) { in.ExpiresAt = in.Now }, func(_ *decision.Input, v decision.Verdict) bool {
			return v.Reason == envelope.ReasonExpired
		}},
		{"a newer release wrote the envelope", decision.RowNewerEnvelope, decision.Release, func(in *decision.Input) { in.Fact = decision.NewerEnvelope }, func(_ *decision.Input, v decision.Verdict) bool { return v.After > 0 }},
		{"a retry is early by the clock that delayed it", decision.RowEarly, decision.Release, func(in *decision.Input) {
			in.Fact, in.Until = decision.Early, in.Now.Add(time.Minute)
		}, func(_ *decision.Input, v decision.Verdict) bool { return v.After == time.Minute && !v.Counted }},
		{"shutdown costs nothing", decision.RowInterrupted, decision.Release, func(in *decision.Input) { in.Fact = decision.Interrupted }, nil},
		{"done in the inbox", decision.RowInboxDone, decision.Settle, func(in *decision.Input) { in.Fact = decision.InboxDone }, func(_ *decision.Input, v decision.Verdict) bool { return v.Duplicate }},
		{"the key belongs to another body", decision.RowInboxConflict, decision.DeadLetter, func(in *decision.Input) { in.Fact = decision.InboxConflict }, func(_ *decision.Input, v decision.Verdict) bool {
			return v.Reason == envelope.ReasonKeyConflict
		}},
		{"claimed by another", decision.RowInboxBusy, decision.Release, func(in *decision.Input) {
			in.Fact, in.Until = decision.InboxBusy, in.Now.Add(9*time.Second)
		}, func(_ *decision.Input, v decision.Verdict) bool { return v.After == 9*time.Second }},
		{"the inbox is away", decision.RowInboxUnreachable, decision.Hold, func(in *decision.Input) { in.Fact = decision.InboxUnreachable }, nil},
		{"the inbox is away for too long", decision.RowInboxGiveBack, decision.Release, func(in *decision.Input) {
			in.Fact, in.Since = decision.InboxUnreachable, in.Now.Add(-in.HoldMax)
		}, nil},
	}
}

// casesFailed are about failures that speak for themselves.
func casesFailed() []rowCase {
	return []rowCase{
		{"a dependency's breaker refused", decision.RowDependencyOpen, decision.Retry, func(in *decision.Input) {
			failed(in, failure.Local(errDown))
			in.Fact, in.Until = decision.DependencyOpen, in.Now.Add(time.Second)
		}, func(in *decision.Input, v decision.Verdict) bool {
			return !v.Counted && v.Uncounted == decision.UncountedDependency && v.At.Equal(in.Until)
		}},
		{"a dependency that never recovers", decision.RowDependencyTooOld, decision.DeadLetter, func(in *decision.Input) {
			failed(in, errDown)
			in.Fact, in.History.FirstFailure = decision.DependencyOpen, in.Now.Add(-24*time.Hour)
		}, func(_ *decision.Input, v decision.Verdict) bool { return v.Reason == envelope.ReasonExpired }},
		{"throttled holds everybody", decision.RowThrottled, decision.Retry, func(in *decision.Input) {
			failed(in, failure.Throttled(3*time.Second, errors.New("429")))
		}, func(in *decision.Input, v decision.Verdict) bool {
			return !v.Counted && v.Trip.Equal(in.Now.Add(3*time.Second)) && v.At.Equal(v.Trip)
		}},
		{"throttled for ever", decision.RowThrottledTooOld, decision.DeadLetter, func(in *decision.Input) {
			failed(in, failure.Throttled(time.Second, errors.New("429")))
			in.History.FirstFailure = in.Now.Add(-24 * time.Hour)
		}, nil},
		{"the handler asks for quarantine", decision.RowRequested, decision.Quarantine, func(in *decision.Input) {
			failed(in, failure.Quarantine(failure.AsSchema(errors.New("odd"))))
		}, func(_ *decision.Input, v decision.Verdict) bool {
			return v.Category == failure.Schema && v.Reason == envelope.ReasonRequested
		}},
		{"a probe that fails costs nothing", decision.RowProbeFailed, decision.Retry, func(in *decision.Input) {
			history(in, 4)
			failed(in, errDown)
			open(in)
			in.Breaker.Probe = true
		}, func(in *decision.Input, v decision.Verdict) bool {
			return !v.Counted && v.Uncounted == decision.UncountedProbe && v.At.Equal(in.Breaker.Next)
		}},
		{"a probe that fails by the message's own fault is not one", decision.RowPermanent, decision.DeadLetter, func(in *decision.Input) {
			failed(in, failure.AsSchema(errors.New("odd")))
			open(in)
			in.Breaker.Probe = true
		}, nil},
		{"schema", decision.RowPermanent, decision.DeadLetter, func(in *decision.Input) { failed(in, failure.AsSchema(errors.New("odd"))) }, func(_ *decision.Input, v decision.Verdict) bool {
			return v.Category == failure.Schema && v.Reason == envelope.ReasonPermanent
		}},
		{"business", decision.RowPermanent, decision.DeadLetter, func(in *decision.Input) { failed(in, failure.AsBusiness(errors.New("no"))) }, nil},
		{"integration", decision.RowIntegration, decision.DeadLetter, func(in *decision.Input) { failed(in, failure.AsIntegration(errors.New("no"))) }, nil},
		{"permanent again after replays", decision.RowRepeated, decision.Quarantine, func(in *decision.Input) {
			history(in, 2)
			in.History.Replays = 2
			failed(in, failure.AsBusiness(errors.New("no")))
		}, func(_ *decision.Input, v decision.Verdict) bool { return v.Category == failure.Business }},
		{"permanent again after one replay, below the threshold", decision.RowPermanent, decision.DeadLetter, func(in *decision.Input) {
			history(in, 1)
			in.History.Replays = 1
			failed(in, failure.AsBusiness(errors.New("no")))
		}, nil},
		{"a panic is tried again", decision.RowPanicRetry, decision.Retry, func(in *decision.Input) {
			failed(in, failure.NewPanic("boom", nil))
		}, func(_ *decision.Input, v decision.Verdict) bool { return v.Counted }},
		{"and quarantined", decision.RowPanic, decision.Quarantine, func(in *decision.Input) {
			history(in, 4)
			failed(in, failure.NewPanic("boom", nil))
		}, func(_ *decision.Input, v decision.Verdict) bool { return v.Category == failure.Crash }},
	}
}

// casesTransient are about transient failures, and about copies that cannot be written.
func casesTransient() []rowCase {
	return []rowCase{
		{"transient with attempts left", decision.RowRetry, decision.Retry, func(in *decision.Input) {
			history(in, 3)
			failed(in, errDown)
		}, func(in *decision.Input, v decision.Verdict) bool {
			return v.Counted && v.Budgeted && v.At.Equal(in.Now.Add(v.Delay)) && v.Delay <= 30*time.Second
		}},
		{"RetryAfter wins up to its limit", decision.RowRetry, decision.Retry, func(in *decision.Input) {
			failed(in, failure.RetryAfter(48*time.Hour, errDown))
		}, func(_ *decision.Input, v decision.Verdict) bool { return v.Delay == time.Hour }},
		{"used up while the breaker is open", decision.RowUnclear, decision.Retry, func(in *decision.Input) {
			history(in, 4)
			failed(in, errDown)
			open(in)
		}, func(in *decision.Input, v decision.Verdict) bool {
			return !v.Counted && v.At.Equal(in.Breaker.Next) && v.Exhausted.Equal(in.Now)
		}},
		{"used up before anybody else succeeded", decision.RowUnclear, decision.Retry, func(in *decision.Input) {
			history(in, 4)
			in.Peers.LastSuccess = in.History.FirstFailure.Add(-time.Second)
			failed(in, errDown)
		}, nil},
		{"alone for too long", decision.RowLone, decision.DeadLetter, func(in *decision.Input) {
			history(in, 4)
			failed(in, errDown)
			open(in)
			in.Breaker.Probe = true
			in.History.Exhausted = in.Now.Add(-15 * time.Minute)
		}, func(_ *decision.Input, v decision.Verdict) bool { return v.Reason == envelope.ReasonAttempts }},
		{"not alone: others fail too", decision.RowUnclear, decision.Retry, func(in *decision.Input) {
			history(in, 4)
			failed(in, errDown)
			open(in)
			in.History.Exhausted = in.Now.Add(-15 * time.Minute)
			in.Peers.LastFailure = in.Now.Add(-time.Minute)
		}, nil},
		{"an outage of a day", decision.RowTooOld, decision.DeadLetter, func(in *decision.Input) {
			history(in, 4)
			in.History.FirstFailure = in.Now.Add(-24 * time.Hour)
			failed(in, errDown)
			open(in)
			in.Peers.LastFailure = in.Now
		}, func(_ *decision.Input, v decision.Verdict) bool { return v.Reason == envelope.ReasonExpired }},
		{"used up while nearly all others succeed", decision.RowPoison, decision.Quarantine, func(in *decision.Input) {
			history(in, 4)
			in.Peers.Window = poison.Peers{Succeeded: 19, Total: 20}
			failed(in, errDown)
		}, func(_ *decision.Input, v decision.Verdict) bool { return v.Category == failure.Transient }},
		{"used up with another error each time", decision.RowAttempts, decision.DeadLetter, func(in *decision.Input) {
			history(in, 4)
			in.Peers.Window = poison.Peers{Succeeded: 20, Total: 20}
			failed(in, errDown)
			in.Signature = "s1:y"
		}, nil},
		{"used up", decision.RowAttempts, decision.DeadLetter, func(in *decision.Input) {
			history(in, 4)
			failed(in, errDown)
		}, func(_ *decision.Input, v decision.Verdict) bool {
			return v.Reason == envelope.ReasonAttempts && v.Counted
		}},
		{"the copy cannot be written", decision.RowMoveFailed, decision.Stay, func(in *decision.Input) { in.Fact = decision.MoveFailed }, func(in *decision.Input, v decision.Verdict) bool { return v.At.After(in.Now) }},
		{"the copy is too large", decision.RowMoveTooLarge, decision.Park, func(in *decision.Input) { in.Fact = decision.MoveTooLarge }, nil},
		{"and that for too long", decision.RowMoveGiveBack, decision.Release, func(in *decision.Input) {
			in.Fact, in.Since = decision.MoveTooLarge, in.Now.Add(-in.HoldMax)
		}, nil},
		{"the outcome of a replay cannot be reported", decision.RowOutcomeFailed, decision.Stay, func(in *decision.Input) { in.Fact = decision.OutcomeFailed }, func(in *decision.Input, v decision.Verdict) bool { return v.At.After(in.Now) }},
		{"and that for too long, so that the message goes on", decision.RowOutcomeLost, decision.Repeat, func(in *decision.Input) {
			in.Fact, in.Since = decision.OutcomeFailed, in.Now.Add(-in.HoldMax)
		}, nil},
	}
}

// One case per row of the table, and for the rows with bounds one on each side.
func TestRows(t *testing.T) {
	cases := slices.Concat(casesBefore(), casesFailed(), casesTransient())
	seen := map[decision.Row]bool{}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := base()
			c.input(in)
			v := decision.Decide(in)
			seen[v.Row] = true
			if v.Row != c.row || v.Action != c.action {
				t.Fatalf("got row %q and action %s, want %q and %s", v.Row, v.Action, c.row, c.action)
			}
			if c.check != nil && !c.check(in, v) {
				t.Fatalf("details are wrong: %+v", v)
			}
		})
	}
	for _, row := range decision.Table() {
		if !seen[row] {
			t.Errorf("row %q has no case", row)
		}
	}
}

// Every input meets a row, and no verdict names two places or none.
func TestEveryInputHasOnePlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := arbitrary(t)
		v := decision.Decide(in)
		if v.Row == "" {
			t.Fatalf("no row for %+v", in)
		}
		if v.Action.Place() == 0 {
			t.Fatalf("row %q: action %s has no place", v.Row, v.Action)
		}
		if v.Counted && v.Uncounted != "" {
			t.Fatalf("row %q both counts the attempt and does not", v.Row)
		}
		ran := in.Fact == decision.Handled || in.Fact == decision.Failed || in.Fact == decision.DependencyOpen
		if !ran && v.Counted {
			t.Fatalf("row %q counts an attempt of a message that did not run", v.Row)
		}
		switch v.Action {
		case decision.Retry:
			if v.At.Before(in.Now) {
				t.Fatalf("row %q: due %s before now", v.Row, v.At)
			}
			if v.Counted == (v.Uncounted != "") {
				t.Fatalf("row %q: a retry is counted or says why not: %+v", v.Row, v)
			}
		case decision.DeadLetter, decision.Quarantine:
			if v.Category == failure.None || v.Reason == "" {
				t.Fatalf("row %q: a letter without category or reason: %+v", v.Row, v)
			}
		default:
		}
	})
}

// Only proof that the message is at fault ends it: while the breaker is not
// closed and the message is younger than its bounds, a transient failure never
// dead-letters.
func TestAnOutageIsNotPoison(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := arbitrary(t)
		failed(in, errDown)
		open(in)
		in.Breaker.Probe = rapid.Bool().Draw(t, "probe")
		in.History.Exhausted = time.Time{}
		if !in.History.FirstFailure.IsZero() && in.Now.Sub(in.History.FirstFailure) >= in.Policy.Retry.MaxAge {
			in.History.FirstFailure = in.Now.Add(-time.Hour)
		}
		v := decision.Decide(in)
		if v.Action != decision.Retry {
			t.Fatalf("row %q: %s during an outage", v.Row, v.Action)
		}
	})
}

func arbitrary(t *rapid.T) *decision.Input {
	in := base()
	in.Fact = decision.Fact(rapid.IntRange(0, int(decision.MoveTooLarge)).Draw(t, "fact"))
	ago := func(name string) time.Time {
		if rapid.Bool().Draw(t, name+"?") {
			return time.Time{}
		}
		return in.Now.Add(-time.Duration(rapid.Int64Range(int64(-time.Hour), int64(48*time.Hour)).Draw(t, name)))
	}
	count := rapid.IntRange(0, 9).Draw(t, "count")
	history(in, count)
	in.History.FirstFailure = ago("first")
	in.History.Exhausted = ago("exhausted")
	in.History.Replays = rapid.IntRange(0, 3).Draw(t, "replays")
	in.Marks = rapid.Bool().Draw(t, "marks")
	in.Deliveries.Earlier = rapid.IntRange(0, 6).Draw(t, "earlier")
	in.Deliveries.Mark.Explained = rapid.IntRange(0, 6).Draw(t, "explained")
	in.Deliveries.Mark.StartedAlone = rapid.IntRange(0, 4).Draw(t, "alone")
	if rapid.IntRange(0, 9).Draw(t, "pending") == 0 {
		in.Deliveries.Mark.Pending = &broker.Pending{}
	}
	in.ExpiresAt = ago("expires")
	in.Since = in.Now.Add(-time.Duration(rapid.Int64Range(0, int64(20*time.Minute)).Draw(t, "since")))
	in.Breaker.State = breaker.State(rapid.IntRange(0, 2).Draw(t, "state"))
	in.Breaker.Admits = in.Breaker.State == breaker.Closed || rapid.Bool().Draw(t, "admits")
	in.Breaker.Next = in.Now.Add(time.Duration(rapid.Int64Range(int64(-time.Minute), int64(time.Minute)).Draw(t, "next")))
	in.Breaker.Probe = rapid.Bool().Draw(t, "probe")
	in.Peers.LastSuccess, in.Peers.LastFailure = ago("success"), ago("failure")
	in.Peers.Window.Total = rapid.IntRange(0, 50).Draw(t, "total")
	in.Peers.Window.Succeeded = rapid.IntRange(0, in.Peers.Window.Total).Draw(t, "succeeded")
	in.Moves = rapid.IntRange(0, 100).Draw(t, "moves")
	in.Until = ago("until")
	if in.Fact == decision.Failed || in.Fact == decision.DependencyOpen {
		f := failure.Failure{
			Category:  rapid.SampledFrom(append(failure.Categories(), failure.None)).Draw(t, "category"),
			Throttled: rapid.Bool().Draw(t, "throttled"), Quarantine: rapid.IntRange(0, 4).Draw(t, "quarantine") == 0,
			RetryAfter: time.Duration(rapid.Int64Range(0, int64(100*time.Hour)).Draw(t, "after")),
		}
		f.Downstream = f.Category == failure.Transient && rapid.Bool().Draw(t, "downstream")
		if f.Quarantine && f.Category == failure.None {
			f.Category = failure.Transient
		}
		in.Failure, in.Signature = &f, rapid.SampledFrom([]string{"s1:x", "s1:y"}).Draw(t, "signature")
	}
	return in
}

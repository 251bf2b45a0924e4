package mutant_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/redrivetest/mutant"
	"github.com/redrive-dev/redrive/retry"
)

// parts applies a mutant to a good worker.
func parts(t *testing.T, name string) mutant.Parts {
	t.Helper()
	p, err := mutant.Apply(name, mutant.Parts{Inbox: idempotency.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// half is a source of randomness without any.
type half struct{}

func (half) Float64() float64     { return 0.5 }
func (half) Int64N(n int64) int64 { return n / 2 }

// situation is a transient failure, or what else the fact says, after a number of
// counted attempts.
func situation(count int, b decision.Breaker, fact decision.Fact, budget retry.BudgetConfig) *decision.Input {
	policy := decision.Policy{Retry: retry.Policy{Attempts: 5}, Budget: budget}.WithDefaults()
	f := failure.Classify(failure.AsTransient(errors.New("away")))
	return &decision.Input{
		Policy: &policy, Fact: fact, Failure: &f, Signature: "s", History: &envelope.Envelope{Count: count}, Breaker: b,
		HoldMax: time.Minute, Now: time.Unix(99, 0), Since: time.Unix(98, 0), Rand: half{},
	}
}

var (
	probe    = decision.Breaker{State: breaker.Open, Next: time.Unix(100, 0), Probe: true}
	opened   = decision.Breaker{State: breaker.Open, Next: time.Unix(100, 0)}
	admitted = decision.Breaker{State: breaker.Closed, Admits: true}
)

// The mutants of the decision differ from the library where they are meant to, and
// nowhere else.
func TestDecisions(t *testing.T) {
	letter := decision.Verdict{Action: decision.DeadLetter, Counted: true, Category: failure.Transient, Reason: envelope.ReasonAttempts}
	counted := decision.Verdict{Action: decision.Retry, Counted: true}
	free := func(why string) decision.Verdict {
		return decision.Verdict{Action: decision.Retry, Uncounted: why}
	}
	none := retry.BudgetConfig{Ratio: 0.001, Floor: 0.001, Burst: 1}
	for _, c := range []struct {
		rule, mutant string
		in           *decision.Input
		right, want  decision.Verdict
	}{
		{"a failed probe costs an attempt", mutant.CountWhileOpen, situation(0, probe, decision.Failed, none), free(decision.UncountedProbe), counted},
		{"and the last one", mutant.CountWhileOpen, situation(4, probe, decision.Failed, none), free(decision.UncountedProbe), letter},
		{"an outage uses up the last attempt", mutant.CountWhileOpen, situation(4, opened, decision.Failed, none), free(decision.UncountedOutage), letter},
		{"a counted retry stays one", mutant.CountWhileOpen, situation(1, opened, decision.Failed, none), counted, counted},
		{"success stays success", mutant.CountWhileOpen, situation(0, opened, decision.Handled, none), decision.Verdict{Action: decision.Settle}, decision.Verdict{Action: decision.Settle}},
		{"a failed probe costs an attempt", mutant.ProbeCounted, situation(0, probe, decision.Failed, none), free(decision.UncountedProbe), counted},
		{"and the last one", mutant.ProbeCounted, situation(4, probe, decision.Failed, none), free(decision.UncountedProbe), letter},
		{"an outage costs nothing", mutant.ProbeCounted, situation(4, opened, decision.Failed, none), free(decision.UncountedOutage), free(decision.UncountedOutage)},
	} {
		short := func(v decision.Verdict) decision.Verdict {
			return decision.Verdict{Action: v.Action, Counted: v.Counted, Uncounted: v.Uncounted, Category: v.Category, Reason: v.Reason}
		}
		if diff := cmp.Diff(c.right, short(decision.Decide(c.in))); diff != "" {
			t.Errorf("%s: the library (-want +got):\n%s", c.rule, diff)
		}
		if diff := cmp.Diff(c.want, short(parts(t, c.mutant).Decide(c.in))); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", c.rule, c.mutant, diff)
		}
	}
}

// What there is a token for is retried, and what there is none for is given up.
func TestAnEmptyBudgetDeadLetters(t *testing.T) {
	bad := parts(t, mutant.BudgetDeadLetters).Decide
	budget := retry.BudgetConfig{Ratio: 1, Floor: 0.001, Burst: 2}
	fail := func() decision.Action { return bad(situation(0, admitted, decision.Failed, budget)).Action }
	var got []decision.Action
	for range 3 {
		got = append(got, fail())
	}
	got = append(got, bad(situation(0, admitted, decision.Delivered, budget)).Action, fail(), fail())
	want := []decision.Action{decision.Retry, decision.Retry, decision.DeadLetter, decision.Run, decision.Retry, decision.DeadLetter}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("two tokens, and one for a first attempt (-want +got):\n%s", diff)
	}
	unlimited := parts(t, mutant.BudgetDeadLetters).Decide
	for range 100 {
		if v := unlimited(situation(0, admitted, decision.Failed, retry.BudgetConfig{Ratio: -1})); v.Action != decision.Retry {
			t.Fatalf("%v without a budget", v.Action)
		}
	}
}

func TestGroupInKeyTellsGroupsApart(t *testing.T) {
	key := parts(t, mutant.GroupInKey).Key
	m, id := &broker.Message{}, broker.Incarnation{Cluster: "c", Queue: "q", Position: "1"}
	one, _ := key("", "one", m, id)
	two, ok := key("", "two", m, id)
	if one == two || !ok || !strings.HasSuffix(one, "i:c/q/1") {
		t.Errorf("keys %q and %q", one, two)
	}
	if _, ok := key("", "one", m, broker.Incarnation{}); ok {
		t.Error("a key of nothing")
	}
}

func TestInboxKeepsFailed(t *testing.T) {
	inbox := parts(t, mutant.InboxKeepsFailed).Inbox
	claim := func() idempotency.Result {
		r, err := inbox.Claim(t.Context(), "k", "g", "f", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := claim()
	if err := inbox.Release(t.Context(), first.Claim); err != nil {
		t.Fatal(err)
	}
	if first.State != idempotency.Claimed || claim().State != idempotency.Done {
		t.Error("the retry of a failed run is not taken for a duplicate")
	}
}

package worker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/redrivetest/mutant"
	"github.com/redrive-dev/redrive/torture/scenario"
)

func TestEveryMutantIsListed(t *testing.T) {
	all := Mutants()
	for _, name := range append(mutant.Names(), CountWhileOpen) {
		if !slices.Contains(all, name) {
			t.Errorf("%q is not among %v", name, all)
		}
	}
	if !slices.IsSorted(all) || len(all) < 5 {
		t.Errorf("%v", all)
	}
}

// The mutant differs from the library where it is meant to, and nowhere else.
func TestCountWhileOpen(t *testing.T) {
	policy := Policy().WithDefaults()
	f := failure.Classify(failure.AsTransient(errAway))
	input := func(count int, probe bool, fact decision.Fact) *decision.Input {
		b := decision.Breaker{State: breaker.Open, Next: time.Unix(100, 0), Probe: probe}
		return &decision.Input{
			Policy: &policy, Fact: fact, Failure: &f, Signature: "s", History: &envelope.Envelope{Count: count}, Breaker: b,
			HoldMax: time.Minute, Now: time.Unix(99, 0), Since: time.Unix(98, 0), Rand: half{},
		}
	}
	for _, c := range []struct {
		name        string
		in          *decision.Input
		right, want decision.Verdict
	}{
		{
			"a failed probe costs an attempt", input(0, true, decision.Failed),
			decision.Verdict{Action: decision.Retry, Uncounted: decision.UncountedProbe},
			decision.Verdict{Action: decision.Retry, Counted: true},
		},
		{
			"and the last one", input(4, true, decision.Failed),
			decision.Verdict{Action: decision.Retry, Uncounted: decision.UncountedProbe},
			decision.Verdict{Action: decision.DeadLetter, Counted: true, Category: failure.Transient, Reason: envelope.ReasonAttempts},
		},
		{
			"an outage uses up the last attempt", input(4, false, decision.Failed),
			decision.Verdict{Action: decision.Retry, Uncounted: decision.UncountedOutage},
			decision.Verdict{Action: decision.DeadLetter, Counted: true, Category: failure.Transient, Reason: envelope.ReasonAttempts},
		},
		{
			"a counted retry stays one", input(1, false, decision.Failed),
			decision.Verdict{Action: decision.Retry, Counted: true},
			decision.Verdict{Action: decision.Retry, Counted: true},
		},
		{
			"success stays success", input(0, false, decision.Handled),
			decision.Verdict{Action: decision.Settle},
			decision.Verdict{Action: decision.Settle},
		},
	} {
		short := func(v decision.Verdict) decision.Verdict {
			return decision.Verdict{Action: v.Action, Counted: v.Counted, Uncounted: v.Uncounted, Category: v.Category, Reason: v.Reason}
		}
		if diff := cmp.Diff(c.right, short(decision.Decide(c.in))); diff != "" {
			t.Errorf("%s: the library (-want +got):\n%s", c.name, diff)
		}
		if diff := cmp.Diff(c.want, short(countWhileOpen(c.in))); diff != "" {
			t.Errorf("%s: the mutant (-want +got):\n%s", c.name, diff)
		}
	}
}

// half is a source of randomness without any.
type half struct{}

func (half) Float64() float64     { return 0.5 }
func (half) Int64N(n int64) int64 { return n / 2 }

func TestConfigTravelsInTheEnvironment(t *testing.T) {
	c := Config{DataDir: "d", Journal: "j", Outage: "o", Scenario: scenario.Scenario{Seed: 7, Mix: scenario.Harsh}, Mutant: "m", Name: "n"}
	variable, err := c.Environment()
	if err != nil {
		t.Fatal(err)
	}
	raw, ok := strings.CutPrefix(variable, Variable+"=")
	var got Config
	if err := json.Unmarshal([]byte(raw), &got); !ok || err != nil {
		t.Fatalf("%q: %v", variable, err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestConnectReadsTheDataDirectory(t *testing.T) {
	dir := t.TempDir()
	if _, err := Connect(dir); err == nil {
		t.Error("connected to a directory without a broker")
	}
	for name, text := range map[string]string{"nats.url": "nats://127.0.0.1:1\n", "nats.token": "secret\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Connect(dir)
	if err != nil || got.URL != "nats://127.0.0.1:1" || got.Token != "secret" {
		t.Errorf("got %q, %v", got.URL, err)
	}
}

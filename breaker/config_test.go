package breaker_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/breaker"
)

func TestDefaults(t *testing.T) {
	want := breaker.Config{
		Consecutive: 5, FailureRate: 0.5, Window: 10 * time.Second, MinVolume: 20, Successes: 2, Probes: 1,
		ProbeTimeout: time.Minute, Recovery: time.Second, RecoveryMax: 30 * time.Second, Multiplier: 2, Jitter: 0.5,
	}
	got := breaker.Config{}.WithDefaults()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(got, got.WithDefaults()); diff != "" {
		t.Errorf("a second time (-first +second)\n%s", diff)
	}
	if got := (breaker.Config{Recovery: time.Minute}).WithDefaults(); got.RecoveryMax != time.Minute || got.Jitter != 0.5 {
		t.Errorf("a recovery over the default cap: %+v", got)
	}
	if got := (breaker.Config{Recovery: time.Minute, RecoveryMax: time.Minute}).WithDefaults(); got.Jitter >= 0 {
		t.Errorf("a fixed recovery has jitter %v", got.Jitter)
	}
	if got := (breaker.Config{Recovery: time.Minute, RecoveryMax: time.Minute, Jitter: 0.1}).WithDefaults(); got.Jitter != 0.1 {
		t.Errorf("a given jitter became %v", got.Jitter)
	}
}

func TestValidateNamesEveryField(t *testing.T) {
	bad := breaker.Config{
		FailureRate: 1.5, Window: 1, MinVolume: -1, Successes: -1, Probes: 1001, ProbeTimeout: -1,
		Recovery: -1, RecoveryMax: -2, Multiplier: 0.5, Jitter: math.NaN(),
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("a bad configuration was taken")
	}
	fields := []string{"FailureRate", "Window", "MinVolume", "Successes", "Probes", "ProbeTimeout", "Recovery", "RecoveryMax", "Multiplier", "Jitter"}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(fields) {
		t.Fatalf("%d problems, want %d:\n%v", len(lines), len(fields), err)
	}
	for i, field := range fields {
		if !strings.HasPrefix(lines[i], "breaker: "+field+" is ") {
			t.Errorf("problem %q does not name %s", lines[i], field)
		}
	}
	if b, err := breaker.New(bad, 1); b != nil || err == nil {
		t.Errorf("New took a bad configuration: %v, %v", b, err)
	}
	if err := (breaker.Config{Consecutive: -1, FailureRate: -1, Jitter: -1}).Validate(); err != nil {
		t.Errorf("rules turned off are refused: %v", err)
	}
}

func TestStateNames(t *testing.T) {
	states := []breaker.State{breaker.Closed, breaker.Open, breaker.HalfOpen}
	text, err := json.Marshal(states)
	if err != nil || string(text) != `["closed","open","half-open"]` {
		t.Errorf("got %s, %v", text, err)
	}
	var back []breaker.State
	if err := json.Unmarshal(text, &back); err != nil || !cmp.Equal(states, back) {
		t.Errorf("got %v, %v", back, err)
	}
	if err := back[0].UnmarshalText([]byte("ajar")); err == nil || !strings.Contains(err.Error(), `"ajar"`) {
		t.Errorf("an unknown state: %v", err)
	}
	got := []string{breaker.State(9).String(), breaker.Success.String(), breaker.Failure.String(), breaker.Ignored.String(), breaker.Outcome(9).String()}
	if diff := cmp.Diff([]string{"state(9)", "success", "failure", "ignored", "outcome(9)"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/bench/brokers"
	"github.com/redrive-dev/redrive/bench/report"
	"github.com/redrive-dev/redrive/bench/rounds"
)

func bench(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, progress bytes.Buffer
	code = command(t.Context(), args, &out, &progress)
	return code, out.String(), progress.String()
}

func TestWrongCommandLines(t *testing.T) {
	for _, args := range [][]string{{"all"}, {"-rounds", "-1"}, {"-render"}, {"-fast"}} {
		if code, _, stderr := bench(t, args...); code != exitUsage || stderr == "" {
			t.Errorf("%v: exit code %d, %q; want 2 and a reason", args, code, stderr)
		}
	}
	if code, _, stderr := bench(t, "-only", "nothing"); code != exitFailed || !strings.Contains(stderr, "-list") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestExperimentsHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range experiments(options{}, brokers.New(false)) {
		if e.ID == "" || seen[e.ID] || e.Title == "" || e.Method == "" || e.Rounds < 1 {
			t.Errorf("%+v", e)
		}
		seen[e.ID] = true
	}
	code, stdout, _ := bench(t, "-list", "-only", "failing1-")
	if code != 0 || strings.Count(stdout, "\n") != 2 {
		t.Errorf("exit code %d:\n%s", code, stdout)
	}
}

// TestARunLeavesAPageThatCanBeRenderedAgain makes the shortest run there is.
func TestARunLeavesAPageThatCanBeRenderedAgain(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := bench(t, "-quick", "-only", "composed8", "-o", dir); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	first, err := os.ReadFile(filepath.Join(dir, pageFile))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(first), "### Retry and breaker composed, success, eight goroutines") {
		t.Errorf("the page:\n%s", first)
	}
	if err := os.Remove(filepath.Join(dir, pageFile)); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := bench(t, "-render", "-o", dir); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	again, err := os.ReadFile(filepath.Join(dir, pageFile))
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("rendered again it differs: %v", err)
	}
}

// TestAMissedTargetIsProfiled gives an experiment a target that nothing can meet.
func TestAMissedTargetIsProfiled(t *testing.T) {
	busy := func(context.Context) (rounds.Sample, error) {
		n := 0.0
		for i := range 30_000_000 {
			n += float64(i)
		}
		return rounds.Sample{rounds.Nanoseconds: n}, nil
	}
	e := rounds.Experiment{
		ID: "e", Rounds: 1, Subjects: []rounds.Subject{{Name: "busy", Measure: busy}},
		Targets: []rounds.Target{
			{Name: "first", Of: "busy", Metric: rounds.Nanoseconds, Limit: 1},
			{Name: "second", Of: "busy", Metric: rounds.Nanoseconds, Limit: 2},
			{Name: "met", Of: "busy", Metric: rounds.Nanoseconds, AtLeast: true, Limit: 1},
		},
	}
	var progress bytes.Buffer
	r := runner{progress: &progress}
	result, err := r.run(t.Context(), e, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Profiles) != 1 || result.Profiles[0].Subject != "busy" {
		t.Errorf("profiles %+v, want one of the subject", result.Profiles)
	}
	e.Remote = true
	if result, err = r.run(t.Context(), e, 1, 1); err != nil || len(result.Profiles) != 0 {
		t.Errorf("work of another process was profiled: %+v, %v", result.Profiles, err)
	}
}

// TestWhatCannotBeMeasuredIsOnThePage runs an experiment that fails.
func TestWhatCannotBeMeasuredIsOnThePage(t *testing.T) {
	e := rounds.Experiment{ID: "e", Title: "Broken", Rounds: 1, Subjects: []rounds.Subject{{Name: "s", Measure: func(context.Context) (rounds.Sample, error) {
		return nil, errors.New("no disk")
	}}}}
	var progress bytes.Buffer
	r := runner{progress: &progress}
	result, err := r.run(t.Context(), e, 1, 1)
	if err == nil {
		t.Fatal("it was measured")
	}
	if text := report.Render(report.Page{Experiments: []report.Result{result}}); !strings.Contains(text, "could not be measured:** round 1, s: no disk") {
		t.Errorf("the page:\n%s", text)
	}
}

// TestALateExperimentHasOneRound gives a run a limit that is over.
func TestALateExperimentHasOneRound(t *testing.T) {
	calls := 0
	e := rounds.Experiment{ID: "e", Rounds: 5, Subjects: []rounds.Subject{{Name: "s", Measure: func(context.Context) (rounds.Sample, error) {
		calls++
		return rounds.Sample{rounds.Rate: 1}, nil
	}}}}
	var progress bytes.Buffer
	r := runner{progress: &progress, start: time.Now().Add(-time.Hour), limit: time.Minute}
	if result, err := r.run(t.Context(), e, 1, 1); err != nil || result.Rounds != 1 || calls != 1 {
		t.Errorf("%d measurements, %d rounds on the page, %v; want 1", calls, result.Rounds, err)
	}
}

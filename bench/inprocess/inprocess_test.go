package inprocess_test

import (
	"context"
	"os"
	"runtime"
	"testing"

	"github.com/redrive-dev/redrive/bench/child"
	"github.com/redrive-dev/redrive/bench/inprocess"
	"github.com/redrive-dev/redrive/bench/rounds"
)

// TestMain lets the test binary be the process whose memory is looked at.
func TestMain(m *testing.M) {
	if role := os.Getenv(child.Variable); role != "" {
		os.Exit(inprocess.ServeInFlight(context.Background(), role, os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestEverythingCanBeMeasured takes one quick measurement of each subject, and
// checks that each target names something that is measured.
func TestEverythingCanBeMeasured(t *testing.T) {
	for _, e := range inprocess.Experiments(1, true) {
		t.Run(e.ID, func(t *testing.T) {
			if e.ID == "inflight" && runtime.GOOS != "linux" {
				t.Skip("memory of a process is read on Linux alone")
			}
			out, err := rounds.Run(t.Context(), 1, e.Subjects, func(int, string, rounds.Sample, error) {})
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Repeated) > 0 {
				t.Error(out.Repeated)
			}
			for _, target := range e.Targets {
				if !rounds.Judge(target, out.Series).Known {
					t.Errorf("target %q names what is not measured", target.Name)
				}
			}
			if e.Against != "" && rounds.Find(out.Series, e.Against, e.Metric) == nil {
				t.Errorf("%q, which the others are compared with, has no %s", e.Against, e.Metric)
			}
		})
	}
}

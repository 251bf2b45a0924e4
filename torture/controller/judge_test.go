package controller

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/redrivetest"
	"github.com/redrive-dev/redrive/redrivetest/mutant"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/scenario"
	"github.com/redrive-dev/redrive/torture/worker"
)

// one is the only group.
var one = []broker.Names{broker.NamesFor(worker.Source, "")}

// calm makes a run without kills in one process and in virtual time, on the
// broker in memory: everything but the processes.
func calm(t *testing.T, messages int, mutated string) checker.Result {
	t.Helper()
	dir := t.TempDir()
	var result checker.Result
	synctest.Test(t, func(t *testing.T) {
		b := redrivetest.NewBroker()
		s := scenario.Scenario{Seed: 1, Mix: scenario.Harsh}
		c := worker.Config{Journal: filepath.Join(dir, "1"), Outage: filepath.Join(dir, "outage"), Scenario: s, Mutant: mutated, Name: "w"}
		p, err := newProducer(s, b, worker.Source, filepath.Join(t.TempDir(), "books"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := b.Topology().Ensure(ctx, broker.Spec{Source: worker.Source}); err != nil {
			t.Fatal(err)
		}
		if err := p.publish(ctx, messages); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() { ended <- c.Work(ctx, b) }()
		drained := await(ctx, t, p, b)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := p.close(); err != nil {
			t.Error(err)
		}
		publications, err := readBooks(p.file.Name())
		if err != nil {
			t.Fatal(err)
		}
		journals, err := readJournals(dir)
		if err != nil {
			t.Fatal(err)
		}
		letters, err := readLetters(t.Context(), b, one, anyQueue)
		if err != nil {
			t.Fatal(err)
		}
		result = checker.Check(&checker.History{
			Publications: publications, Journals: journals, Letters: letters, Drained: drained, InFlight: worker.InFlight,
			MaxAttempts: scenario.Attempts, CrashThreshold: worker.CrashThreshold, OutageCategory: failure.Transient.String(), Fate: s.Fate,
		})
	})
	return result
}

// await publishes beacons until the queues are empty, for a minute at most.
func await(ctx context.Context, t *testing.T, p *producer, b broker.Broker) bool {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 600 {
		rest, err := left(ctx, b, one)
		if err != nil {
			t.Fatal(err)
		}
		if rest == 0 {
			return true
		}
		if err := p.beacons(ctx, 8); err != nil {
			t.Fatal(err)
		}
		<-tick.C
	}
	return false
}

func TestACalmRunPasses(t *testing.T) {
	r := calm(t, 400, "")
	if !r.OK || r.Dup+r.DupLetters+r.Unsettled+r.Redelivered > 0 || r.DeadLettered < 50 || r.Quarantined < 10 {
		t.Errorf("%s", &r)
	}
}

// The mutants that are wrong without a kill too.
func TestMutantsInACalmRun(t *testing.T) {
	for name, laws := range map[string][]checker.Law{
		mutant.TimestampedKey: {checker.LawKey},
		mutant.HistoryDropped: {checker.LawKey, checker.LawHistory, checker.LawAttempts},
	} {
		t.Run(name, func(t *testing.T) {
			r := calm(t, 400, name)
			for _, l := range laws {
				if !slices.Contains(r.Broken(), l) {
					t.Errorf("the law %q is not broken: %s", l, &r)
				}
			}
		})
	}
}

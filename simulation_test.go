package redrive_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/host"
	"github.com/redrive-dev/redrive/internal/simulation"
	"github.com/redrive-dev/redrive/redrivetest/mutant"
)

var (
	simulatedSeed  = flag.String("simulation.seed", os.Getenv("REDRIVE_SEED"), "replay this seed of the simulation, with its trace")
	simulatedSeeds = flag.Int("simulation.seeds", 0, "how many seeds of the simulation to run (default 300, in CI 5000)")
)

func launch(on host.Host, b broker.Broker, h redrive.Handler, c redrive.Config) (simulation.Worker, error) {
	return redrive.NewWorkerOn(on, b, h, c)
}

func seedCount() int {
	switch {
	case *simulatedSeeds > 0:
		return *simulatedSeeds
	case raceDetector:
		return 100
	case os.Getenv("CI") != "":
		return 5_000
	}
	return 300
}

// tally adds up what ran.
type tally struct {
	messages, deliveries, runs, steps, deaths, failed atomic.Int64
}

// simulate runs seeds on all processors.
func simulate(t *testing.T, seeds []uint64, o *simulation.Options, report func(*simulation.Result)) *tally {
	t.Helper()
	ctx := t.Context()
	var sum tally
	var next atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			var a simulation.Arena
			defer a.Close()
			for i := next.Add(1) - 1; i < int64(len(seeds)); i = next.Add(1) - 1 {
				res, err := a.Run(ctx, seeds[i], o)
				if err != nil {
					t.Error(err)
					return
				}
				sum.messages.Add(int64(res.Messages))
				sum.deliveries.Add(int64(res.Deliveries))
				sum.runs.Add(int64(res.Runs))
				sum.steps.Add(int64(res.Steps))
				sum.deaths.Add(int64(res.Deaths))
				if len(res.Violations) > 0 {
					sum.failed.Add(1)
					mu.Lock()
					report(res)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return &sum
}

func TestSimulation(t *testing.T) {
	o := &simulation.Options{Launch: launch}
	if *simulatedSeed != "" {
		seed, err := strconv.ParseUint(*simulatedSeed, 10, 64)
		if err != nil {
			t.Fatalf("-simulation.seed: %v", err)
		}
		replaySeed(t, seed, o)
		return
	}
	seeds := keptSeeds(t)
	kept := len(seeds)
	for i := range seedCount() {
		seeds = append(seeds, uint64(i+1))
	}
	start := time.Now()
	shown := 0
	laws := map[string][]uint64{}
	sum := simulate(t, seeds, o, func(res *simulation.Result) {
		for _, v := range res.Violations {
			if n := len(laws[v.Law]); n < 5 && (n == 0 || laws[v.Law][n-1] != res.Seed) {
				laws[v.Law] = append(laws[v.Law], res.Seed)
			}
		}
		if shown++; shown > 10 {
			return
		}
		t.Errorf("seed %d: %s", res.Seed, verdicts(res))
	})
	if len(laws) > 0 {
		t.Logf("laws broken: %v", laws)
	}
	took := time.Since(start)
	t.Logf("%d seeds, %d of them kept, %d messages, %d deliveries, %d handler runs, %d steps, %d killed processes, %d seeds failed; %.0f histories of messages a second",
		len(seeds), kept, sum.messages.Load(), sum.deliveries.Load(), sum.runs.Load(), sum.steps.Load(), sum.deaths.Load(), sum.failed.Load(),
		float64(sum.messages.Load())/took.Seconds())
}

// keptSeeds reads the seeds that once failed.
func keptSeeds(t *testing.T) []uint64 {
	t.Helper()
	raw, err := os.ReadFile("testdata/simulation/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	var seeds []uint64
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		seed, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil || len(fields) < 3 {
			t.Fatalf("seeds.txt: %q is not a seed, a date and what it found", line)
		}
		seeds = append(seeds, seed)
	}
	return seeds
}

func verdicts(res *simulation.Result) string {
	var out strings.Builder
	for _, v := range res.Violations {
		fmt.Fprintf(&out, "\n  %s: %s", v.Law, v.What)
	}
	fmt.Fprintf(&out, "\n  replay it with: go test -run '^TestSimulation$' -simulation.seed=%d .", res.Seed)
	return out.String()
}

func replaySeed(t *testing.T, seed uint64, o *simulation.Options) {
	t.Helper()
	var a simulation.Arena
	defer a.Close()
	res, err := a.Run(t.Context(), seed, o)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s", res.Trace)
	t.Logf("%s\ntrace %s, %d steps, %s of virtual time", simulation.Describe(seed), res.Hash(), res.Steps, res.Elapsed)
	if len(res.Violations) > 0 {
		t.Errorf("seed %d: %s", seed, verdicts(res))
	}
}

// Every wrong worker is caught, by a law that it breaks, within a bounded number
// of seeds.
func TestSimulationCatchesMutants(t *testing.T) {
	t.Parallel()
	const most = 400
	laws := map[string][]string{
		mutant.AckFirst:           {"nothing is lost"},
		mutant.BudgetDeadLetters:  {"attempts"},
		mutant.CountWhileOpen:     {"an outage is not poison"},
		mutant.GroupInKey:         {"key is stable"},
		mutant.HistoryDropped:     {"attempts", "envelope"},
		mutant.InboxKeepsFailed:   {"nothing is lost"},
		mutant.ProbeCounted:       {"an outage is not poison"},
		mutant.ReleaseAsCrash:     {"suspicion has a reason"},
		mutant.TimestampedKey:     {"publish ids are stable", "key is stable"},
		mutant.UnconfirmedPublish: {"nothing is lost"},
	}
	for _, name := range mutant.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if len(laws[name]) == 0 {
				t.Fatal("no law is named for this mutant")
			}
			var a simulation.Arena
			defer a.Close()
			for seed := uint64(1); seed <= most; seed++ {
				res, err := a.Run(t.Context(), seed, &simulation.Options{Launch: launch, Mutant: name})
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range res.Violations {
					if slices.Contains(laws[name], v.Law) {
						t.Logf("seed %d: %s: %s", seed, v.Law, v.What)
						return
					}
				}
			}
			t.Errorf("not caught by %q within %d seeds", laws[name], most)
		})
	}
}

// One seed is one history, to the byte: again, with used memory, and beside others.
func TestSimulationIsDeterministic(t *testing.T) {
	const seeds = 40
	hashes := make([]string, seeds)
	var a simulation.Arena
	defer a.Close()
	run := func(a *simulation.Arena, seed int) string {
		res, err := a.Run(t.Context(), uint64(seed), &simulation.Options{Launch: launch})
		if err != nil {
			t.Error(err)
			return ""
		}
		return res.Hash()
	}
	for i := range seeds {
		hashes[i] = run(&a, i)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			var a simulation.Arena
			defer a.Close()
			for i := seeds - 1; i >= 0; i-- {
				if got := run(&a, i); got != hashes[i] {
					t.Errorf("seed %d: trace %s, and before %s", i, got, hashes[i])
				}
			}
		})
	}
	wg.Wait()
}

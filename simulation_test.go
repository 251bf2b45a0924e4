package redrive_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/host"
	"github.com/redrive-dev/redrive/internal/simulation"
)

var (
	simulatedSeed  = flag.String("simulation.seed", os.Getenv("REDRIVE_SEED"), "replay this seed of the simulation, with its trace")
	simulatedSeeds = flag.Int("simulation.seeds", 0, "how many seeds of the simulation to run (default 300, in CI 5000, with REDRIVE_FULL=1 200000)")
)

func launch(on host.Host, b broker.Broker, h redrive.Handler, c redrive.Config) (simulation.Worker, error) {
	return redrive.NewWorkerOn(on, b, h, c)
}

func seedCount() int {
	switch {
	case *simulatedSeeds > 0:
		return *simulatedSeeds
	case os.Getenv("REDRIVE_FULL") != "":
		return 200_000
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
	var sum tally
	var next atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			var a simulation.Arena
			defer a.Close()
			for i := next.Add(1) - 1; i < int64(len(seeds)); i = next.Add(1) - 1 {
				res, err := a.Run(seeds[i], o)
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
	seeds := make([]uint64, seedCount())
	for i := range seeds {
		seeds[i] = uint64(i + 1)
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
	t.Logf("%d seeds, %d messages, %d deliveries, %d handler runs, %d steps, %d killed processes, %d seeds failed; %.0f histories of messages a second",
		len(seeds), sum.messages.Load(), sum.deliveries.Load(), sum.runs.Load(), sum.steps.Load(), sum.deaths.Load(), sum.failed.Load(),
		float64(sum.messages.Load())/took.Seconds())
}

func verdicts(res *simulation.Result) string {
	out := ""
	for _, v := range res.Violations {
		out += fmt.Sprintf("\n  %s: %s", v.Law, v.What)
	}
	return out + fmt.Sprintf("\n  replay it with: go test -run '^TestSimulation$' -simulation.seed=%d .", res.Seed)
}

func replaySeed(t *testing.T, seed uint64, o *simulation.Options) {
	t.Helper()
	var a simulation.Arena
	defer a.Close()
	res, err := a.Run(seed, o)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s", res.Trace)
	t.Logf("%s\ntrace %s, %d steps, %s of virtual time", simulation.Describe(seed), res.Hash(), res.Steps, res.Elapsed)
	if len(res.Violations) > 0 {
		t.Errorf("seed %d: %s", seed, verdicts(res))
	}
}

package demo

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPlanHasItsShares(t *testing.T) {
	t.Parallel()
	const n = 20_000
	seen := map[Kind]int{}
	failures := map[int]int{}
	p := Plan{Seed: 3, Block: n}
	for id := uint64(1); id <= n; id++ {
		kind, times := p.Of(id)
		seen[kind]++
		if kind == Brief {
			failures[times]++
		} else {
			require.Zero(t, times)
		}
	}
	for kind, want := range map[Kind]int{Brief: n * briefShare / 1000, Malformed: n * malformedShare / 1000, Refused: n * refusedShare / 1000} {
		require.InEpsilon(t, want, seen[kind], 0.3, "%s", kind)
	}
	for _, kind := range []Kind{Poison, Panicking, Killer} {
		require.Equal(t, 1, seen[kind], "%s", kind)
	}
	require.Len(t, failures, 3)
}

func TestEveryBlockHasItsSingleOrders(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := Plan{Seed: rapid.Uint64().Draw(t, "seed"), Block: rapid.IntRange(10, 3000).Draw(t, "block")}
		first := rapid.Uint64Range(0, 5).Draw(t, "blocks before")*uint64(p.Block) + 1
		seen := map[Kind]int{}
		for id := first; id < first+uint64(p.Block); id++ {
			kind, _ := p.Of(id)
			seen[kind]++
		}
		for _, kind := range []Kind{Poison, Panicking, Killer} {
			if seen[kind] != 1 {
				t.Fatalf("%d %s in a block", seen[kind], kind)
			}
		}
	})
}

// What the plan says is what the body is.
func TestBodiesFollowThePlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := Plan{Seed: rapid.Uint64().Draw(t, "seed"), Block: 100}
		id := rapid.Uint64Range(1, 1_000_000).Draw(t, "id")
		kind, _ := p.Of(id)
		m := p.outbound(Source, "run", id)
		var o order
		err := json.Unmarshal(m.Body, &o)
		if (err != nil) != (kind == Malformed) {
			t.Fatalf("%s: %s: %v", kind, m.Body, err)
		}
		if err == nil && (o.Order != id || (o.Quantity < 1) != (kind == Refused)) {
			t.Fatalf("%s: %s", kind, m.Body)
		}
		if got, ok := orderID(m.Headers[1].Value, true); !ok || got != id {
			t.Fatalf("header says %d", got)
		}
	})
}

func TestOutages(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_700_000_000, 0)
	once := outages{Start: start, At: 4 * time.Second, Length: 20 * time.Second}
	again := once
	again.Every = time.Minute
	for _, tt := range []struct {
		name string
		o    outages
		at   time.Duration
		down bool
		left time.Duration
	}{
		{"before", once, 3 * time.Second, false, 0},
		{"begin", once, 4 * time.Second, true, 20 * time.Second},
		{"within", once, 14 * time.Second, true, 10 * time.Second},
		{"end", once, 24 * time.Second, false, 0},
		{"never again", once, 70 * time.Second, false, 0},
		{"again", again, 70 * time.Second, true, 14 * time.Second},
		{"between", again, 90 * time.Second, false, 0},
		{"none", outages{Start: start}, time.Second, false, 0},
	} {
		until, down := tt.o.down(start.Add(tt.at))
		require.Equal(t, tt.down, down, tt.name)
		if down {
			require.Equal(t, start.Add(tt.at+tt.left), until, tt.name)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	o := Options{Once: true, DataDir: "d", OutageAt: 4 * time.Second, Outage: 20 * time.Second, Mutant: "ack-first"}.WithDefaults()
	require.NoError(t, o.Validate())
	require.Equal(t, 10_000/14, o.Rate, "the last order comes in the middle of the outage")
	require.Equal(t, 10, o.Kills)
	require.Equal(t, 0, Options{Mutant: "ack-first", Kills: -1}.WithDefaults().Kills)

	err := Options{Messages: -1, Rate: -1, Mutant: "good", Concurrency: 2, MaxInFlight: 1, Kills: 5000, Outage: -1, OutageEvery: -2, Lease: 1, RecoveryMax: 1, RetryMax: 1, Timeout: -1}.Validate()
	require.Error(t, err)
	for _, field := range []string{"DataDir", "Messages", "Rate", "Mutant", "MaxInFlight", "Kills", "Outage:", "OutageEvery", "Lease", "RecoveryMax", "RetryMax", "Timeout"} {
		require.ErrorContains(t, err, field)
	}
}

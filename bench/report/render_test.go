package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/pprof/profile"

	"github.com/redrive-dev/redrive/bench/report"
	"github.com/redrive-dev/redrive/bench/rounds"
)

var update = flag.Bool("update", false, "write the golden file")

const golden = "testdata/page.md"

// page has one of everything: targets that are met, missed with and without
// a profile, missed twice by one subject, and not measured.
func page() report.Page {
	return report.Page{
		Taken: time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC), Took: 14*time.Minute + 3*time.Second, Command: "go run . -o ../docs",
		Commit:   "319a409",
		Machine:  report.Machine{CPU: "AMD EPYC", Cores: 2, MemoryGiB: 23.5, Kernel: "6.18", System: "linux/amd64", Go: "go1.26.8", Disk: "ext4", Load: "0.03"},
		Versions: []report.Version{{"github.com/sony/gobreaker/v2", "v2.4.0"}, {"github.com/nats-io/nats.go", "v1.55.0"}},
		Experiments: []report.Result{
			{
				ID: "breaker", Group: "In one process", Title: "Circuit breaker, success", Method: "A call that does nothing.", Rounds: 3,
				Against: "gobreaker", Metric: rounds.Nanoseconds,
				Targets: []rounds.Target{
					{Name: "breaker: allocations", Of: "redrive", Metric: rounds.Allocations, Limit: 0},
					{Name: "breaker: time", Of: "redrive", Metric: rounds.Nanoseconds, Limit: 50},
					{Name: "breaker: against gobreaker", Of: "redrive", Metric: rounds.Nanoseconds, Per: "gobreaker", Limit: 0.4},
					{Name: "breaker: against nobody", Of: "redrive", Metric: rounds.Nanoseconds, Per: "nobody", Limit: 0.4},
				},
				Outcome: rounds.Outcome{
					Series: []rounds.Series{
						{Subject: "redrive", Metric: rounds.Allocations, Values: []float64{0, 0, 0}},
						{Subject: "redrive", Metric: rounds.Nanoseconds, Values: []float64{55, 57.25, 90}},
						{Subject: "gobreaker", Metric: rounds.Allocations, Values: []float64{0, 0, 0}},
						{Subject: "gobreaker", Metric: rounds.Nanoseconds, Values: []float64{110, 115, 180}},
					},
					Repeated: []string{"round 2, redrive: broken"},
				},
				Profiles: []report.Profile{{
					Subject: "redrive", Seconds: 0.31,
					Own:  []report.Spent{{Function: "time.now", Flat: 0.61, Cumulative: 0.61}},
					Ours: []report.Spent{{Function: "github.com/redrive-dev/redrive.Execute", Flat: 0.2, Cumulative: 0.98}},
				}},
			},
			{
				ID: "healthy", Group: "On NATS JetStream", Title: "Nothing fails, sync `default`", Method: "100,000 messages.", Rounds: 2,
				Against: "raw client loop", Metric: rounds.Rate,
				Targets: []rounds.Target{{Name: "consume and settle", Of: "redrive", Metric: rounds.Rate, Per: "raw client loop", AtLeast: true, Limit: 0.9}},
				Outcome: rounds.Outcome{Series: []rounds.Series{
					{Subject: "redrive", Metric: rounds.Rate, Values: []float64{38_123.4, 41_000}},
					{Subject: "raw client loop", Metric: rounds.Rate, Values: []float64{40_321, 42_000}},
				}},
			},
			{
				ID: "start", Group: "The binary", Title: "From the start", Method: "`redrive up`.", Rounds: 1,
				Targets: []rounds.Target{{Name: "start", Of: "redrive up", Metric: rounds.Milliseconds, Limit: 150}},
				Outcome: rounds.Outcome{Series: []rounds.Series{{Subject: "redrive up", Metric: rounds.Milliseconds, Values: []float64{151.2}}}},
			},
		},
	}
}

func TestPage(t *testing.T) {
	got := report.Render(page())
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the page differs; if that is meant, run this test with -update:\n%s", diff)
	}
}

// TestKeptFiguresGiveTheSamePage is what -render rests on.
func TestKeptFiguresGiveTheSamePage(t *testing.T) {
	raw, err := json.Marshal(page())
	if err != nil {
		t.Fatal(err)
	}
	var kept report.Page
	if err := json.Unmarshal(raw, &kept); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(report.Render(page()), report.Render(kept)); diff != "" {
		t.Error(diff)
	}
}

func TestAQuickRunSaysSo(t *testing.T) {
	p := page()
	p.Quick = true
	if !strings.Contains(report.Render(p), "its figures mean nothing") {
		t.Error("figures of a quick run look like real ones")
	}
}

func TestABusyMachineIsNamed(t *testing.T) {
	for load, named := range map[string]bool{"0.99": false, "1.00": true, "16.60": true, "unknown": false} {
		p := page()
		p.Machine.Load = load
		if got := strings.Contains(report.Render(p), "Other programs were at work"); got != named {
			t.Errorf("load average %s: named %v, want %v", load, got, named)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.00012: "0.00012", 0.0123: "0.0123", 0.9: "0.900", 0.951: "0.951", 1: "1", 1.2: "1.20", 57.25: "57.2", 60: "60", 99.96: "100",
		115.4: "115", 1234: "1,230", 38_123.4: "38,100", 1_234_567: "1,230,000", -1234: "-1,230",
	} {
		if got := report.Number(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}

// TestProfile adds up two samples: 30 ms in a leaf that redrive calls, and 10 ms in
// redrive itself, which calls itself once.
func TestProfile(t *testing.T) {
	function := func(id uint64, name string) *profile.Function { return &profile.Function{ID: id, Name: name} }
	leaf, worker, ours := function(1, "github.com/nats-io/nats%2ego.leaf"), function(2, "github.com/redrive-dev/redrive.(*Worker).run"), function(3, "github.com/redrive-dev/redrive/bench/throughput.drain")
	at := func(id uint64, f *profile.Function) *profile.Location {
		return &profile.Location{ID: id, Line: []profile.Line{{Function: f}}}
	}
	l1, l2, l3, l4 := at(1, leaf), at(2, worker), at(3, ours), at(4, worker)
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		Sample: []*profile.Sample{
			{Location: []*profile.Location{l1, l2, l3}, Value: []int64{3, 30e6}},
			{Location: []*profile.Location{l2, l4, l3}, Value: []int64{1, 10e6}},
		},
		Location: []*profile.Location{l1, l2, l3, l4}, Function: []*profile.Function{leaf, worker, ours},
	}
	var raw bytes.Buffer
	if err := p.Write(&raw); err != nil {
		t.Fatal(err)
	}
	got, err := report.ReadProfile("redrive", &raw)
	if err != nil {
		t.Fatal(err)
	}
	want := report.Profile{
		Subject: "redrive", Seconds: 0.04,
		Own: []report.Spent{
			{Function: "github.com/nats-io/nats.go.leaf", Flat: 0.75, Cumulative: 0.75},
			{Function: "github.com/redrive-dev/redrive.(*Worker).run", Flat: 0.25, Cumulative: 1},
		},
		Ours: []report.Spent{{Function: "github.com/redrive-dev/redrive.(*Worker).run", Flat: 0.25, Cumulative: 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/redrivetest/mutant"
	"github.com/redrive-dev/redrive/retry"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/controller"
	"github.com/redrive-dev/redrive/torture/disk"
	"github.com/redrive-dev/redrive/torture/scenario"
	"github.com/redrive-dev/redrive/torture/worker"
)

// asCommand makes the test binary the command itself.
const asCommand = "REDRIVE_TORTURE_COMMAND"

// serverBinary is built once for all tests.
var serverBinary string

func TestMain(m *testing.M) {
	if os.Getenv(worker.Variable) != "" || os.Getenv(asCommand) != "" {
		os.Exit(run())
	}
	os.Exit(withServer(m.Run))
}

func withServer(tests func() int) (code int) {
	dir, err := os.MkdirTemp("", "redrive-torture-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	if serverBinary, err = controller.BuildServer(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return tests()
}

// torture makes a run in a folder of the test's own.
func torture(t *testing.T, c controller.Config) controller.Report {
	t.Helper()
	var err error
	if c.Worker, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	c.Server, c.Dir = serverBinary, t.TempDir()
	report, err := controller.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := show(&text, "text", &report); err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d\n%s", c.Seed, &text)
	left, err := os.ReadDir(c.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("the run left %v behind, %v", left, err)
	}
	return report
}

// The numbers of NO-LOSS-WORKER-KILL.
func size() (messages, kills int) {
	switch {
	case os.Getenv("REDRIVE_FULL") == "1":
		return 100_000, 1000
	case testing.Short():
		return 5000, 50
	}
	return 20_000, 200
}

func TestNoLossWorkerKill(t *testing.T) {
	messages, kills := size()
	r := torture(t, controller.Config{
		Messages: messages, Kills: kills, Seed: 1, DrainTimeout: 3 * time.Minute, Timeout: 20 * time.Minute,
	})
	if !r.OK || r.Lost.Total() > 0 || len(r.Broken()) > 0 {
		t.Errorf("verdict %q, broken laws: %v", r.Verdict, r.Broken())
	}
	if r.Trouble != "" || r.Stopping != "" || r.LastWords != "" || r.Deaths > 0 {
		t.Errorf("%d workers ended by themselves; publications: %s; stopping: %s; workers: %s", r.Deaths, r.Trouble, r.Stopping, r.LastWords)
	}
	// A run in which little happened proves little.
	if r.Kills != kills || r.Confirmed < messages || r.Interrupted < kills/2 || r.OutageRuns == 0 || r.Redelivered < kills ||
		r.DeadLettered == 0 || r.Quarantined == 0 {
		t.Errorf("the run was too easy")
	}
}

// killsOfTheServer are the numbers of NO-LOSS-BROKER-KILL.
func killsOfTheServer() (messages, kills, serverKills int) {
	if os.Getenv("REDRIVE_FULL") == "1" {
		return 100_000, 1000, 100
	}
	return 3000, 30, 10
}

// Killing the broker too loses nothing that it confirmed, and under an inbox that
// commits with the effect nothing takes effect twice.
func TestNoLossServerKill(t *testing.T) {
	messages, kills, serverKills := killsOfTheServer()
	r := torture(t, controller.Config{
		Messages: messages, Kills: kills, ServerKills: serverKills, Inbox: true, Seed: 1,
		DrainTimeout: 3 * time.Minute, Timeout: 30 * time.Minute,
	})
	if !r.OK || r.Dup > 0 || r.Lost.Total() > 0 {
		t.Errorf("verdict %q, broken laws: %v", r.Verdict, r.Broken())
	}
	if r.LastWords != "" || r.Deaths > 0 || r.Stopping != "" {
		t.Errorf("%d workers ended by themselves; stopping: %s; workers: %s", r.Deaths, r.Stopping, r.LastWords)
	}
	if r.ServerKills != serverKills || r.Kills != kills || r.Confirmed < messages || r.Redelivered < kills {
		t.Errorf("the run was too easy")
	}
}

// needDisk skips a test on a machine that has no disk whose power can be cut. Where
// there could be one it has to be.
func needDisk(t *testing.T) {
	t.Helper()
	if !disk.Available() {
		t.Skip(disk.ErrUnsupported)
	}
	m, err := disk.Mount(disk.New(), t.TempDir())
	if err == nil {
		err = m.Unmount()
	}
	if err != nil {
		if os.Getenv("REDRIVE_REQUIRE_SERVERS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// The numbers of NO-LOSS-POWERCUT.
func powerCuts() (messages, kills, cuts int) {
	if os.Getenv("REDRIVE_FULL") == "1" {
		return 20_000, 100, 100
	}
	return 1500, 10, 10
}

// A broker that synchronises before it confirms loses nothing with its power.
func TestNoLossPowerCut(t *testing.T) {
	needDisk(t)
	messages, kills, cuts := powerCuts()
	r := torture(t, controller.Config{
		Messages: messages, Kills: kills, PowerCuts: cuts, Inbox: true, Seed: 1,
		DrainTimeout: 3 * time.Minute, Timeout: 20 * time.Minute,
	})
	if !r.OK || r.Dup > 0 || r.Lost.Total() > 0 {
		t.Errorf("verdict %q, broken laws: %v", r.Verdict, r.Broken())
	}
	if r.LastWords != "" || r.Deaths > 0 || r.Stopping != "" {
		t.Errorf("%d workers ended by themselves; stopping: %s; workers: %s", r.Deaths, r.Stopping, r.LastWords)
	}
	if r.PowerCuts != cuts || r.CutFiles == 0 || r.Confirmed < messages {
		t.Errorf("the run was too easy: %d cuts, %d files", r.PowerCuts, r.CutFiles)
	}
}

// One that does so every two minutes loses what it confirmed: otherwise the test
// before would prove nothing, and the documentation would be wrong.
func TestPowerCutWithDefaultSyncLoses(t *testing.T) {
	needDisk(t)
	r := torture(t, controller.Config{
		Messages: 500, Kills: 12, PowerCuts: 3, Inbox: true, Sync: "default", Seed: 1,
		DrainTimeout: 10 * time.Second, Timeout: 2 * time.Minute,
	})
	if r.Lost.Total() == 0 {
		t.Errorf("nothing was lost; verdict %q", r.Verdict)
	}
}

// trial is a run under which some mutants break a law and the library breaks none.
type trial struct {
	name   string
	config controller.Config
	// mutants are those that it is made for, each with the law that it breaks.
	mutants map[string]checker.Law
	// happened says that what the trial is about took place.
	happened func(*controller.Report) bool
}

// trials together find every mutant.
func trials() []trial {
	return []trial{
		{
			name:   "most messages on their way between queues",
			config: controller.Config{Messages: 2000, Kills: 30, Mix: scenario.Harsh},
			mutants: map[string]checker.Law{
				mutant.AckFirst: checker.LawLost, mutant.UnconfirmedPublish: checker.LawLost,
				mutant.TimestampedKey: checker.LawKey, mutant.HistoryDropped: checker.LawHistory,
			},
			happened: func(r *controller.Report) bool { return r.DeadLettered > 500 && r.Interrupted > 10 },
		},
		{
			// So few messages that each of them fails again and again.
			name:     "an outage over nearly all of the run",
			config:   controller.Config{Messages: 100, Kills: 40, Mix: scenario.Usual, OutageTo: 90},
			mutants:  map[string]checker.Law{mutant.CountWhileOpen: checker.LawOutage},
			happened: func(r *controller.Report) bool { return r.OutageRuns >= r.Messages },
		},
		{
			// Workers live long enough for their breakers to open, and the few messages are
			// the probes of all of them.
			name:     "an outage that is probed",
			config:   controller.Config{Messages: 4, Kills: 6, Pause: 1500 * time.Millisecond, Mix: scenario.Mix{Slow: 100}, OutageTo: 95},
			mutants:  map[string]checker.Law{mutant.ProbeCounted: checker.LawOutage},
			happened: func(r *controller.Report) bool { return r.OutageRuns >= 5*r.Messages },
		},
		{
			name:     "two consumer groups",
			config:   controller.Config{Messages: 400, Kills: 8, Groups: 2},
			mutants:  map[string]checker.Law{mutant.GroupInKey: checker.LawKey},
			happened: func(r *controller.Report) bool { return r.Effects > 600 },
		},
		{
			// On a busy machine a short lease ends before it is extended, which is no one's
			// fault and looks like one.
			name:     "deployments",
			config:   controller.Config{Messages: 400, Kills: 2, Deploys: 30, Lease: 10 * time.Second, Mix: scenario.Mix{Slow: 100}},
			mutants:  map[string]checker.Law{mutant.ReleaseAsCrash: checker.LawInnocent},
			happened: func(r *controller.Report) bool { return r.Deploys == 30 && r.Runs >= r.Messages },
		},
		{
			name: "a small retry budget",
			config: controller.Config{
				Messages: 300, Kills: 6, Mix: scenario.Mix{Transient: 40}, Budget: retry.BudgetConfig{Ratio: 0.1, Floor: 20, Burst: 5},
			},
			mutants:  map[string]checker.Law{mutant.BudgetDeadLetters: checker.LawOutage},
			happened: func(r *controller.Report) bool { return r.Runs > r.Messages*5/4 },
		},
		{
			name:     "an inbox",
			config:   controller.Config{Messages: 300, Kills: 6, Inbox: true, Mix: scenario.Mix{Transient: 40}},
			mutants:  map[string]checker.Law{mutant.InboxKeepsFailed: checker.LawLost},
			happened: func(r *controller.Report) bool { return r.Inbox && r.Runs > r.Messages*5/4 },
		},
	}
}

// The library keeps every law under what finds the mutants.
func TestTrialsPass(t *testing.T) {
	for _, trial := range trials() {
		t.Run(trial.name, func(t *testing.T) {
			c := trial.config
			c.Seed, c.Timeout = 1, 2*time.Minute
			r := torture(t, c)
			if !r.OK {
				t.Errorf("verdict %q, broken laws: %v", r.Verdict, r.Broken())
			}
			if !trial.happened(&r) {
				t.Error("the run was too easy")
			}
		})
	}
}

// Each mutant breaks its law. Where that takes a kill at the right moment there
// are three runs, because one can miss it.
func TestMutantsAreCaught(t *testing.T) {
	var names []string
	for _, trial := range trials() {
		for _, name := range slices.Sorted(maps.Keys(trial.mutants)) {
			names = append(names, name)
			t.Run(name, func(t *testing.T) {
				c := trial.config
				c.Mutant, c.Timeout = name, 2*time.Minute
				// Some never drain: each attempt is the first.
				c.DrainTimeout = 4 * time.Second
				caught(t, c, trial.mutants[name])
			})
		}
	}
	slices.Sort(names)
	if all := mutant.Names(); !slices.Equal(names, all) {
		t.Errorf("tested are %v, and the mutants are %v", names, all)
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-help"}, 0, "-kills"},
		{[]string{"-no-such-flag"}, exitUsage, "no-such-flag"},
		{[]string{"20000"}, exitUsage, "no arguments"},
		{[]string{"-o", "xml"}, exitUsage, "text or json"},
		{[]string{"-mutant", "none-such"}, exitUsage, "none-such"},
		{[]string{"-broker", "pigeon"}, exitUsage, "pigeon"},
		{[]string{"-messages", "0"}, exitUsage, "Messages"},
		{[]string{"-server", "/no/such/program"}, exitFailed, "/no/such/program"},
	} {
		var stdout, stderr bytes.Buffer
		if code := command(t.Context(), test.args, &stdout, &stderr); code != test.code || !strings.Contains(stderr.String(), test.says) {
			t.Errorf("%v: exit code %d, want %d, and %q", test.args, code, test.code, &stderr)
		}
	}
}

func TestReportInJSON(t *testing.T) {
	var out bytes.Buffer
	r := controller.Report{Result: checker.Result{Verdict: checker.Pass, OK: true}, Kills: 3}
	if err := show(&out, "json", &r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"ok": true`, `"lost": {`, `"prefix": 0`, `"kills": 3`, `"violations": null`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing in %s", want, &out)
		}
	}
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/redrivetest/mutant"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/controller"
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

// longOutage is a run with so few messages, and so long an outage over all of
// them, that each of them fails in it again and again.
func longOutage() controller.Config {
	return controller.Config{Messages: 100, Kills: 40, Mix: scenario.Usual, OutageFrom: 0, OutageTo: 90}
}

// An outage dead-letters nothing, however often the workers forget it.
func TestOutageIsNotPoison(t *testing.T) {
	c := longOutage()
	c.Seed = 1
	r := torture(t, c)
	if !r.OK || r.OutageRuns < c.Messages {
		t.Errorf("verdict %q, broken laws: %v, %d runs in the outage", r.Verdict, r.Broken(), r.OutageRuns)
	}
}

// Each mutant breaks at least one of its laws. Where that takes a kill at the
// right moment there are three runs, because one can miss it.
func TestMutantsAreCaught(t *testing.T) {
	tests := []struct {
		mutant string
		config controller.Config
		laws   []checker.Law
	}{
		{"ack-first", controller.Config{}, []checker.Law{checker.LawLost}},
		{"unconfirmed-publish", controller.Config{}, []checker.Law{checker.LawLost}},
		{"timestamped-key", controller.Config{}, []checker.Law{checker.LawKey}},
		// It never drains: each attempt is the first.
		{"history-dropped", controller.Config{DrainTimeout: 5 * time.Second}, []checker.Law{checker.LawHistory}},
		{"count-while-open", longOutage(), []checker.Law{checker.LawOutage}},
	}
	var names []string
	for _, test := range tests {
		names = append(names, test.mutant)
		t.Run(test.mutant, func(t *testing.T) {
			c := test.config
			c.Mutant, c.Timeout = test.mutant, 2*time.Minute
			if c.Messages == 0 {
				c.Messages, c.Kills, c.Mix = 2000, 30, scenario.Harsh
			}
			for c.Seed = 1; c.Seed <= 3; c.Seed++ {
				r := torture(t, c)
				if r.OK {
					continue
				}
				if slices.ContainsFunc(test.laws, func(l checker.Law) bool { return slices.Contains(r.Broken(), l) }) {
					return
				}
			}
			t.Errorf("not caught: none of %v was broken", test.laws)
		})
	}
	slices.Sort(names)
	if all := mutant.Names(); slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(all, n) }) {
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

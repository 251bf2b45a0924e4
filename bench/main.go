// Command bench measures redrive beside other libraries and beside plain client
// loops, in interleaved rounds, and writes what it found, good or bad.
//
//	cd bench
//	go run . -o ../docs              all of it, half an hour
//	go run . -only breaker,failing1  some experiments, to standard output
//	go run . -quick                  two minutes that show that everything still works
//	go run . -render -o ../docs      the page anew from the figures of the last run
//
// Progress goes to standard error. The exit code is 0 if everything could be
// measured, whatever the figures are. What could not is on the page, too.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/redrive-dev/redrive/bench/brokers"
	"github.com/redrive-dev/redrive/bench/child"
	"github.com/redrive-dev/redrive/bench/inprocess"
	"github.com/redrive-dev/redrive/bench/process"
	"github.com/redrive-dev/redrive/bench/report"
	"github.com/redrive-dev/redrive/bench/rounds"
	"github.com/redrive-dev/redrive/bench/throughput"
)

func main() { os.Exit(run()) } //nolint:forbidigo // this is main

func run() int {
	//nolint:forbidigo // this is where contexts begin
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch role := os.Getenv(child.Variable); role {
	case "":
		return command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	case child.RoleNATS:
		return child.ServeNATS(ctx, os.Stdin, os.Stdout, os.Stderr)
	default:
		return inprocess.ServeInFlight(ctx, role, os.Stdin, os.Stdout, os.Stderr)
	}
}

// Exit codes, those of the redrive command.
const (
	exitFailed = 1
	exitUsage  = 2
)

// options are the command line.
type options struct {
	out, only     string
	rounds        int
	quick, render bool
	list          bool
	limit         time.Duration
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.out, "o", "", "folder for benchmarks.md and benchmarks.json (default: the page goes to standard output)")
	flags.StringVar(&o.only, "only", "", "experiments whose name begins with one of these, separated by commas")
	flags.IntVar(&o.rounds, "rounds", 0, "rounds of each experiment (default: 9 in one process, 5 elsewhere, 1 with -quick)")
	flags.DurationVar(&o.limit, "limit", 20*time.Minute, "time after which each experiment that is left has one round only, 0 for none")
	flags.BoolVar(&o.quick, "quick", false, "few messages and one round: shows that it works, and measures nothing")
	flags.BoolVar(&o.render, "render", false, "measure nothing, and make the page anew from benchmarks.json in the folder of -o")
	flags.BoolVar(&o.list, "list", false, "list the experiments")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	if flags.NArg() > 0 || o.rounds < 0 || o.render && o.out == "" {
		_, _ = fmt.Fprintln(stderr, "bench: there are no arguments but flags, -rounds is not negative, and -render needs -o: see -help")
		return exitUsage
	}
	if err := execute(ctx, o, args, stdout, stderr); err != nil {
		_, _ = fmt.Fprintln(stderr, "bench:", err)
		return exitFailed
	}
	return 0
}

func execute(ctx context.Context, o options, args []string, stdout, stderr io.Writer) error {
	servers := brokers.New(o.quick)
	defer func() {
		if stopped := servers.Stop(context.WithoutCancel(ctx)); stopped != nil {
			_, _ = fmt.Fprintln(stderr, "bench: stop a server:", stopped)
		}
	}()
	chosen := choose(experiments(o, servers), o.only)
	switch {
	case o.list:
		for _, e := range chosen {
			if _, err := fmt.Fprintf(stdout, "%-18s %s\n", e.ID, e.Title); err != nil {
				return err
			}
		}
		return nil
	case o.render:
		page, err := load(o.out)
		if err != nil {
			return err
		}
		return write(page, o.out, stdout)
	case len(chosen) == 0:
		return fmt.Errorf("no experiment is called %q: see -list", o.only)
	}
	page := report.Page{
		Taken: time.Now().UTC(), Quick: o.quick, Command: strings.TrimSpace("go run . " + strings.Join(args, " ")),
		Machine: report.ThisMachine(os.TempDir()), Versions: report.Versions(), Commit: report.Commit(ctx),
	}
	r := runner{progress: stderr, start: time.Now(), limit: o.limit}
	if !o.quick {
		r.sampled = 2 * time.Second
	}
	var failed []error
	for i, e := range chosen {
		result, err := r.run(ctx, e, i+1, len(chosen))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, rounds.ErrUnavailable) && os.Getenv("REDRIVE_REQUIRE_SERVERS") != "1" {
			r.say("    skipped: %v", err)
			continue
		}
		if err != nil {
			r.say("    FAILED: %v", err)
			failed = append(failed, err)
		}
		page.Experiments = append(page.Experiments, result)
	}
	page.Took = time.Since(r.start).Round(time.Second)
	if o.only != "" && o.out != "" {
		page = joined(page, o.out)
	}
	return errors.Join(append(failed, write(page, o.out, stdout))...)
}

// joined puts the experiments of a run of some into the page of an earlier run of
// more, which then names both commands. Without an earlier run the page stays.
func joined(some report.Page, dir string) report.Page {
	page, err := load(dir)
	if err != nil {
		return some
	}
	for _, e := range some.Experiments {
		i := slices.IndexFunc(page.Experiments, func(r report.Result) bool { return r.ID == e.ID })
		if i < 0 {
			page.Experiments = append(page.Experiments, e)
		} else {
			page.Experiments[i] = e
		}
	}
	page.Command += "`, then `" + some.Command
	page.Took += some.Took
	return page
}

// experiments lists all of them, with the rounds that were asked for.
func experiments(o options, servers brokers.Systems) []rounds.Experiment {
	inside, outside := 9, 5
	if o.quick {
		inside, outside = 1, 1
	}
	if o.rounds > 0 {
		inside, outside = o.rounds, o.rounds
	}
	return slices.Concat(
		inprocess.Experiments(inside, o.quick), throughput.Experiments(outside, o.quick), servers.Experiments(outside), process.Experiments(outside, o.quick),
	)
}

func choose(all []rounds.Experiment, only string) []rounds.Experiment {
	if only == "" {
		return all
	}
	return slices.DeleteFunc(all, func(e rounds.Experiment) bool {
		return !slices.ContainsFunc(strings.Split(only, ","), func(prefix string) bool {
			return prefix != "" && strings.HasPrefix(e.ID, prefix)
		})
	})
}

const (
	figuresFile = "benchmarks.json"
	pageFile    = "benchmarks.md"
)

func load(dir string) (report.Page, error) {
	var page report.Page
	raw, err := os.ReadFile(filepath.Join(dir, figuresFile)) //nolint:gosec // the user names it
	if err != nil {
		return page, fmt.Errorf("figures of the last run: %w", err)
	}
	if err := json.Unmarshal(raw, &page); err != nil {
		return page, fmt.Errorf("figures of the last run: %w", err)
	}
	return page, nil
}

// write renders the page, and keeps the figures that it was made of beside it.
func write(page report.Page, dir string, stdout io.Writer) error {
	text := report.Render(page)
	if dir == "" {
		_, err := io.WriteString(stdout, text)
		return err
	}
	raw, err := json.MarshalIndent(page, "", " ")
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, figuresFile), append(raw, '\n'), 0o644), //nolint:gosec // a page to be published
		os.WriteFile(filepath.Join(dir, pageFile), []byte(text), 0o644),         //nolint:gosec // a page to be published
	)
}

// Command torture kills workers of redrive while they work, and checks afterwards
// that no message was lost, made up, altered or put where it does not belong.
//
//	cd torture
//	go run . -messages 20000 -kills 200 -seed 1
//
// It starts the redrive binary with its embedded broker and two workers, each in a
// process of its own, publishes, kills a worker every 50 to 200 ms and replaces it
// at once, lets a whole downstream fail for a while, and then compares what was
// published with what took effect and what lies in the queues. With -mutant it
// runs a variant that is known to be wrong, which it has to find.
//
// The exit code is 0 if every law held, 1 if one did not or the run could not be
// made, 2 if the command line is wrong, and 6 if the run did not come to an end
// and so proves nothing.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redrive-dev/redrive/redrivetest/mutant"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/controller"
	"github.com/redrive-dev/redrive/torture/worker"
)

func main() { os.Exit(run()) } //nolint:forbidigo // this is main

func run() int {
	//nolint:forbidigo // this is where contexts begin
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if raw := os.Getenv(worker.Variable); raw != "" {
		return worker.Main(ctx, raw)
	}
	return command(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// Exit codes, those of the redrive command.
const (
	exitFailed = 1
	exitUsage  = 2
	exitTime   = 6
)

func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := controller.Config{Progress: stderr}
	flags := flag.NewFlagSet("torture", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.Broker, "broker", "", "what to run on: "+strings.Join(controller.Brokers(), ", ")+" (default "+controller.Brokers()[0]+")")
	flags.IntVar(&c.Messages, "messages", 20_000, "messages to publish")
	flags.IntVar(&c.Kills, "kills", 200, "workers to kill")
	flags.IntVar(&c.ServerKills, "server-kills", 0, "how often to kill the broker and start it again")
	flags.IntVar(&c.PowerCuts, "power-cuts", 0, "how often the broker's disk forgets what was not synchronised (Linux, as root)")
	flags.StringVar(&c.Sync, "sync", "always", "when the broker synchronises: always or default")
	flags.IntVar(&c.Deploys, "deploys", 0, "workers to stop and replace")
	flags.IntVar(&c.Groups, "groups", 1, "consumer groups, 1 or 2")
	flags.BoolVar(&c.Inbox, "inbox", false, "commit every effect in the transaction of a SQL inbox")
	flags.Uint64Var(&c.Seed, "seed", 1, "seed of the script")
	flags.StringVar(&c.Mutant, "mutant", "", "run a known-bad variant: "+strings.Join(mutant.Names(), ", "))
	flags.StringVar(&c.Server, "server", "", "redrive binary (default: built from this repository)")
	flags.BoolVar(&c.Keep, "keep", false, "keep the folder of the run")
	flags.DurationVar(&c.DrainTimeout, "drain", time.Minute, "longest wait for the rest")
	flags.DurationVar(&c.Timeout, "timeout", 10*time.Minute, "longest duration of the run")
	result := flags.String("result", "", "file to write the report to, as JSON")
	output := flags.String("o", "text", "output: text or json")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	if flags.NArg() > 0 || *output != "text" && *output != "json" {
		complain(stderr, "torture: there are no arguments but flags, and -o is text or json: see -help")
		return exitUsage
	}
	if err := c.ValidateScript(); err != nil {
		complain(stderr, err)
		return exitUsage
	}
	report, err := execute(ctx, c)
	if err != nil {
		complain(stderr, err)
		return exitFailed
	}
	if err := errors.Join(show(stdout, *output, &report), save(*result, &report)); err != nil {
		complain(stderr, err)
		return exitFailed
	}
	switch report.Verdict {
	case checker.Pass:
		return 0
	case checker.Undecided:
		return exitTime
	}
	return exitFailed
}

// complain tells a person, who may not be there any more.
func complain(to io.Writer, what any) { _, _ = fmt.Fprintln(to, what) }

// execute makes the run with this program as its worker.
func execute(ctx context.Context, c controller.Config) (r controller.Report, err error) {
	if c.Worker, err = os.Executable(); err != nil {
		return r, fmt.Errorf("torture: %w", err)
	}
	if c.Server == "" && c.NeedsServer() {
		dir, err := os.MkdirTemp("", "redrive-torture-build-")
		if err != nil {
			return r, fmt.Errorf("torture: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if c.Server, err = controller.BuildServer(ctx, dir); err != nil {
			return r, fmt.Errorf("torture: %w", err)
		}
	}
	return controller.Run(ctx, c)
}

// save writes the report to a file, if there is one to write to.
func save(path string, r *controller.Report) error {
	if path == "" {
		return nil
	}
	var text bytes.Buffer
	if err := show(&text, "json", r); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644) //nolint:gosec // a report, for everybody
}

func show(to io.Writer, format string, r *controller.Report) error {
	if format == "json" {
		e := json.NewEncoder(to)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := fmt.Fprintf(to, "%s\n%d kills, %d of the broker, %d power cuts, %d deployments; %d workers with runs under way; %d runs, %d redelivered, %d alone, %d blamed, %d during the outage, %d leases lost; %.1f s killing, %.1f s draining, %.1f s in all\n",
		&r.Result, r.Kills, r.ServerKills, r.PowerCuts, r.Deploys, r.Interrupted, r.Runs, r.Redelivered, r.Alone, r.Blamed, r.OutageRuns, r.LeasesLost, r.Killing, r.Draining, r.Total)
	return err
}

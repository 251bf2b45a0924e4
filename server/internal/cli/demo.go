package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/server/internal/demo"
)

// demoFlags are the flags of demo.
type demoFlags struct {
	demo.Options
	picture     string
	broker, url string
	management  string
}

func demoCommand(c *call) *cobra.Command {
	f := demoFlags{}
	cmd := &cobra.Command{
		Use: "demo", Short: "Watch failing orders being kept safe", Args: cobra.NoArgs,
		Long: `Starts an embedded broker in a temporary folder and an order service whose
downstream fails on schedule: brief errors, an outage, malformed orders, orders
that a rule refuses, one that fails for ever, one that panics and one that kills
the process that handles it. Without --once it goes on until it is interrupted.

With --broker it runs on a real server, in queues of its own, whose names begin with
demo-, and removes them at the end if all is well. A user and a password can stand in
--url, where other users of the machine can read them; a broker of the configuration
takes them as secrets.

At the end everything is counted by a reader of its own, from the queues and from
a log of the effects, and compared with the list of what was published. The exit
code is 1 if an order is lost, altered or in the wrong place.

The workers have redrive's defaults, except that a dead worker's orders come back
after 3 s and that the breaker tries the downstream every 5 s at least.`,
		Example: `  redrive demo
  redrive demo --once --messages 10000 --seed 42 -o json
  redrive demo --once --broker kafka --url 127.0.0.1:9092
  redrive demo --once --mutant ack-first`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !f.Once && cmd.Flags().Changed("messages") {
				return usageError("add --once, or leave --messages out", "--messages needs --once: without it orders come until you interrupt")
			}
			if !cmd.Flags().Changed("seed") {
				f.Seed = uint64(rand.Uint32()) //nolint:gosec // it chooses which orders fail
			}
			f.DataDir = ""
			if cmd.Flags().Changed("data-dir") {
				f.DataDir = c.flags.dataDir
			}
			return c.demo(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.Once, "once", false, "end when every order has found its place")
	flags.IntVar(&f.Messages, "messages", demo.DefaultMessages, "`number` of orders, with --once")
	flags.Uint64Var(&f.Seed, "seed", 0, "`number` that chooses which orders fail (default random)")
	flags.IntVar(&f.Rate, "rate", 0, "orders a second (default 200; with --once so many that the last comes in the outage)")
	flags.IntVar(&f.Kills, "kills", 0, "`times` that the worker is killed in the middle of a move (default 0; 10 with --mutant)")
	flags.StringVar(&f.broker, "broker", "", "use a `broker` that runs elsewhere: "+strings.Join(demoBrokers(), ", ")+", or the name of one in the configuration (default an embedded one)")
	complete(cmd, "broker", demoBrokers())
	flags.StringVar(&f.url, "url", "", "`address` of that broker (default where it listens by itself on this machine)")
	flags.StringVar(&f.management, "management-url", "", "`address` of RabbitMQ's management plugin")
	flags.StringVar(&f.Mutant, "mutant", "", "use a broker that is wrong on purpose: "+strings.Join(demo.Mutants(), ", "))
	complete(cmd, "mutant", demo.Mutants())
	flags.DurationVar(&f.OutageAt, "outage-at", demo.DefaultOutageAt, "when the downstream goes down")
	flags.DurationVar(&f.Outage, "outage", demo.DefaultOutage, "for how long it is down")
	flags.DurationVar(&f.Lease, "lease", 0, "when the orders of a dead worker come back (default 3s)")
	flags.DurationVar(&f.RetryMax, "retry-max", 0, "longest wait between two attempts (default 30s)")
	flags.DurationVar(&f.Timeout, "timeout", 0, "longest time that --once takes")
	flags.StringVar(&f.picture, "picture", "", "write the view as an SVG `file`")
	flags.DurationVar(&f.PictureAt, "picture-at", 15*time.Second, "when the picture is taken")
	for _, name := range []string{"outage-at", "outage", "lease", "retry-max", "timeout", "picture", "picture-at"} {
		// It fails only for a flag that does not exist.
		_ = flags.MarkHidden(name)
	}
	return cmd
}

func demoWorkerCommand(c *call) *cobra.Command {
	return &cobra.Command{
		Use: "demo-worker", Short: "Handle the orders of a demo, for redrive demo", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.Work(cmd.Context(), c.Stdin, c.Stdout, c.Services.Demo)
		},
	}
}

// demo runs the demo and prints its account.
func (c *call) demo(ctx context.Context, f demoFlags) (err error) {
	keep := f.DataDir != ""
	if !keep {
		if f.DataDir, err = os.MkdirTemp("", "redrive-demo-"); err != nil {
			return fmt.Errorf("demo: make a temporary folder: %w", err)
		}
	}
	platform, err := c.demoPlatform(f)
	if err != nil {
		return errors.Join(err, c.discard(f.DataDir, keep))
	}
	if f.picture != "" {
		f.Picture = func(frame demo.Frame) error { return writePicture(f.picture, frame) }
	}
	if err := f.WithDefaults().Validate(); err != nil {
		return errors.Join(usageError("see redrive demo --help", "%w", err), c.discard(f.DataDir, keep))
	}
	c.note("seed %d: the same seed fails the same orders again", f.Seed)
	account, err := demo.Run(ctx, f.Options, platform, c.demoStreams())
	if errors.Is(err, demo.ErrNotEmpty) {
		return &Error{Err: err, Hint: "leave --data-dir out for a temporary folder"}
	}
	if err != nil && account.Published == 0 {
		return errors.Join(hinted(ctx, err), c.discard(f.DataDir, keep))
	}
	if perr := printOne(c, account, verdict(account), account.WriteText); perr != nil {
		return errors.Join(err, perr)
	}
	if f.Once && !keep && (account.Balanced || f.Mutant != "") {
		err = errors.Join(err, c.discard(f.DataDir, keep))
		if f.broker == "" {
			c.note("\nThe queues were in a temporary folder, which is removed; --data-dir demo-data keeps them.")
		}
	} else if f.broker != "" {
		c.note("\nThe records of the run are in %s.", f.DataDir)
	} else {
		c.whereToLook(f.DataDir, keep)
	}
	if account.Left != "" {
		c.note("Left on the broker: %s.", account.Left)
	}
	if err != nil {
		return hinted(ctx, err)
	}
	if !account.Balanced {
		return unbalanced(f.Options)
	}
	return nil
}

func unbalanced(o demo.Options) error {
	err := errors.New("the account does not balance")
	if o.Mutant != "" {
		return &Error{Err: err, Hint: "this is what " + o.Mutant + " is for: the check has found it"}
	}
	return &Error{Err: err, Hint: "the problems are listed in the account, and the queues are kept in " + o.DataDir + "; please report this"}
}

func verdict(a demo.Account) string {
	if a.Balanced {
		return "balanced"
	}
	return "not balanced"
}

// discard removes a temporary folder.
func (c *call) discard(dir string, keep bool) error {
	if keep {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("demo: remove the temporary folder: %w", err)
	}
	return nil
}

// whereToLook tells how to look at the dead letters.
func (c *call) whereToLook(dir string, keep bool) {
	n := broker.NamesFor(demo.Source, "")
	lines := []string{"", "The dead letters are in " + dir + ". Look at them:"}
	for _, what := range []string{"ls", "peek " + n.DeadLetter, "peek " + n.Quarantine(failure.Crash)} {
		lines = append(lines, "  redrive queue "+what+" --data-dir "+shellQuote(dir))
	}
	if !keep {
		lines = append(lines, "Nothing else needs the folder: remove it when you are done.")
	}
	c.note("%s", strings.Join(lines, "\n"))
}

// shellQuote makes a path one word of a command line.
func shellQuote(path string) string {
	if !strings.ContainsAny(path, " \t\n'\"\\$&|;<>()*?[]#~`!{}") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// demoStreams shows a run on standard error: the account alone is data.
func (c *call) demoStreams() demo.Streams {
	file, ok := c.Stderr.(*os.File)
	return demo.Streams{
		Progress: c.Stderr, Quiet: c.flags.quiet,
		Live:  ok && c.IsTerminal(c.Stderr) && c.getenv("TERM") != "dumb",
		Color: c.color(c.Stderr),
		Size: func() (width, height int) {
			width, height, err := term.GetSize(int(file.Fd()))
			if err != nil {
				return 0, 0
			}
			return width, height
		},
	}
}

// writePicture writes a picture of a view of 80 by 24.
func writePicture(path string, frame demo.Frame) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	const width, height = 80, 24
	if err := errors.Join(frame.WriteSVG(io.Writer(f), width, height), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

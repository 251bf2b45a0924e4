package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redrive-dev/redrive/server/internal/config"
)

// globals are the flags that every command has.
type globals struct {
	config, dataDir, logLevel, logFormat string
	output, jq                           string
	noColor, quiet, noInput, yes         bool
}

// settings are the flags that are settings too.
func (g globals) settings(cmd *cobra.Command) []config.Flag {
	var out []config.Flag
	for _, f := range []config.Flag{
		{Name: "--data-dir", Path: "data_dir", Value: g.dataDir},
		{Name: "--log-level", Path: "log.level", Value: g.logLevel},
		{Name: "--log-format", Path: "log.format", Value: g.logFormat},
	} {
		if cmd.Flags().Changed(strings.TrimPrefix(f.Name, "--")) {
			out = append(out, f)
		}
	}
	return out
}

const rootLong = `redrive keeps failed messages safe: every message ends handled, waiting for a
retry, dead-lettered or in quarantine, and never lost.

Settings come from flags, REDRIVE_* variables, redrive.yaml in the working
directory and the user's configuration, in this order.

Exit codes:
  0  done
  1  it did not work
  2  the command line is wrong, or a confirmation is needed
  3  finished, but some messages failed or were refused
  4  not authenticated or not allowed
  5  a check refused: approval, health, expiry
  6  it took too long
  7  a check ran and found drift or problems
  130  interrupted`

// commands are the commands below the root, one function and one file each.
func (c *call) commands() []*cobra.Command {
	return []*cobra.Command{
		initCommand(c),
		configCommand(c),
		upCommand(c),
		runCommand(c),
		publishCommand(c),
		queueCommand(c),
		doctorCommand(c),
		backupCommand(c),
		restoreCommand(c),
		demoCommand(c),
		demoWorkerCommand(c),
		versionCommand(c),
	}
}

func (c *call) root() *cobra.Command {
	root := c.group("redrive", "Keep failed messages safe", rootLong)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(c.Stdin)
	root.SetOut(c.Stdout)
	root.SetErr(c.Stderr)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		c.started = true
		return c.checkOutput(cmd)
	}
	f := root.PersistentFlags()
	f.StringVarP(&c.flags.config, "config", "c", "", "configuration `file` to read in place of the usual ones")
	f.StringVar(&c.flags.dataDir, "data-dir", "", "`folder` for the data of redrive")
	f.StringVar(&c.flags.logLevel, "log-level", "", "least important `level` to log: debug, info, warn, error")
	f.StringVar(&c.flags.logFormat, "log-format", "", "log as `format`: text, json")
	f.StringVarP(&c.flags.output, "output", "o", "", "print as `format`: "+strings.Join(formats(), ", "))
	f.StringVar(&c.flags.jq, "jq", "", "filter the JSON with a jq `expression`")
	f.BoolVar(&c.flags.noColor, "no-color", false, "print without colour")
	f.BoolVarP(&c.flags.quiet, "quiet", "q", false, "print data and errors only")
	f.BoolVar(&c.flags.noInput, "no-input", false, "never ask a question")
	f.BoolVarP(&c.flags.yes, "yes", "y", false, "answer every question with yes")
	complete(root, "output", formats())
	complete(root, "log-level", []string{"debug", "info", "warn", "error"})
	complete(root, "log-format", []string{"text", "json"})
	root.AddCommand(c.commands()...)
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			strictGroup(cmd)
		}
	}
	return root
}

// complete offers fixed values for a flag.
func complete(cmd *cobra.Command, flag string, values []string) {
	// It fails only for a flag that does not exist, which a test would see.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// group returns a command that only holds others.
func (c *call) group(name, short, long string) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Long: long}
	strictGroup(cmd)
	return cmd
}

// strictGroup makes a misspelt command below cmd an error: cobra answers it with
// the help text and exit code 0.
func strictGroup(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		hint := "see " + cmd.CommandPath() + " --help"
		cmd.SuggestionsMinimumDistance = 2
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			slices.Sort(near)
			hint = "did you mean " + cmd.CommandPath() + " " + strings.Join(near, ", or ") + "?"
		}
		return usageError(hint, "unknown command %q for %q", args[0], cmd.CommandPath())
	}
}

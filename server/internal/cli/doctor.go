package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redrive-dev/redrive/server/internal/config"
	"github.com/redrive-dev/redrive/server/internal/doctor"
)

func doctorCommand(c *call) *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Look for what is wrong, and say what to do", Args: cobra.NoArgs,
		Long: `Looks at the configuration, the data directory, the disk, the brokers with their
clocks and queues, the inbox and the endpoints, and prints a line for each:
how it is, what was looked at, what was found → what to do.

It changes nothing, also while redrive up runs. An endpoint gets a connection and no
request. FAIL is what stops the start or loses messages, warn what makes things
worse. Commands that the configuration names for secrets are run.

The exit code is 7 if something failed, with --strict also if there are warnings.`,
		Example: "  redrive doctor\n  redrive doctor --strict --quiet\n  redrive doctor -o json --jq '.[] | select(.status != \"ok\")'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.doctor(cmd, strict)
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "count warnings as problems")
	return cmd
}

func (c *call) doctor(cmd *cobra.Command, strict bool) error {
	var checks []doctor.Check
	people := c.format("table") == "table" || c.format("table") == "wide"
	report := func(check doctor.Check) {
		checks = append(checks, check)
		if people && (check.Status != doctor.OK || !c.flags.quiet) {
			_, _ = fmt.Fprintln(c.Stdout, c.checkLine(check))
		}
	}
	if l := c.diagnosed(cmd, report); l != nil {
		doctor.Examine(cmd.Context(), c.Services.Doctor, l.Config, report)
	}
	if err := cmd.Context().Err(); err != nil {
		return context.Cause(cmd.Context())
	}
	if !people {
		if err := printList(c, checks, func(check doctor.Check) string { return check.Name }, nil); err != nil {
			return err
		}
	}
	failed, warned := 0, 0
	for _, check := range checks {
		switch check.Status {
		case doctor.Fail:
			failed++
		case doctor.Warn:
			warned++
		case doctor.OK:
		}
	}
	switch {
	case failed > 0:
		return &Error{Code: ExitFindings, Err: fmt.Errorf("%s failed, and %s", count(failed, "check"), count(warned, "warning")), Hint: "each line says what to do"}
	case strict && warned > 0:
		return &Error{Code: ExitFindings, Err: fmt.Errorf("%s, and --strict counts them", count(warned, "warning")), Hint: "each line says what to do"}
	}
	c.note("%s, nothing failed, %s", count(len(checks), "check"), count(warned, "warning"))
	return nil
}

// diagnosed reports on the configuration, and returns it if it can be used.
func (c *call) diagnosed(cmd *cobra.Command, report func(doctor.Check)) *config.Loaded {
	const name = "configuration"
	l, err := config.Load(config.Options{File: c.flags.config, Environ: c.Environ, Flags: c.flags.settings(cmd)})
	if err == nil {
		err = l.CheckReferences(cmd.Context())
	}
	invalid, ok := errors.AsType[*config.InvalidError](err)
	switch {
	case ok:
		for _, p := range invalid.Problems {
			report(problemCheck(doctor.Fail, name, p))
		}
		for _, p := range invalid.Warnings {
			report(problemCheck(doctor.Warn, name, p))
		}
	case errors.Is(err, fs.ErrNotExist):
		report(doctor.Check{Status: doctor.Fail, Name: name, What: err.Error(), Remedy: "correct --config or REDRIVE_CONFIG, or write a file with redrive init"})
	case err != nil:
		report(doctor.Check{Status: doctor.Fail, Name: name, What: err.Error(), Remedy: "let this user read it"})
	default:
		for _, p := range l.Warnings {
			report(problemCheck(doctor.Warn, name, p))
		}
		from := strings.Join(l.Files, ", ")
		if from == "" {
			from = "no file, so the defaults"
		}
		report(doctor.Check{
			Status: doctor.OK, Name: name,
			What: fmt.Sprintf("%s: valid, with %s and %s", from, count(len(l.Config.Brokers), "broker"), count(len(l.Config.Subscriptions), "subscription")),
		})
	}
	// With a reference that leads nowhere the rest can still be looked at.
	return l
}

func problemCheck(status doctor.Status, name string, p config.Problem) doctor.Check {
	hint := p.Hint
	p.Hint, p.Warning = "", false
	return doctor.Check{Status: status, Name: name, What: p.Error(), Remedy: hint}
}

// checkLine is a check for people.
func (c *call) checkLine(check doctor.Check) string {
	word, code := "ok  ", "32" // green
	switch check.Status {
	case doctor.Warn:
		word, code = "warn", "33" // yellow
	case doctor.Fail:
		word, code = "FAIL", "31" // red
	case doctor.OK:
	}
	if c.color(c.Stdout) {
		word = "\x1b[1;" + code + "m" + word + "\x1b[0m"
	}
	line := word + "  " + printable(fmt.Sprintf("%-20s  %s", check.Name, check.What))
	if check.Remedy != "" {
		line += " → " + printable(check.Remedy)
	}
	return line
}

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redrive-dev/redrive/server/internal/config"
)

func configCommand(c *call) *cobra.Command {
	group := c.group("config", "Check and show the configuration", "")
	group.AddCommand(configCheckCommand(c), configViewCommand(c))
	return group
}

// finding is a problem as config check prints it.
type finding struct {
	Severity string `json:"severity"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Origin   string `json:"origin"`
	Path     string `json:"path,omitempty"`
	Problem  string `json:"problem"`
	Hint     string `json:"hint,omitempty"`

	line string
}

func findings(problems []config.Problem) []finding {
	out := make([]finding, len(problems))
	for i, p := range problems {
		out[i] = finding{Severity: "error", Origin: p.Origin.String(), Path: p.Path, Problem: p.Text, Hint: p.Hint, line: p.Error()}
		if p.Warning {
			out[i].Severity = "warning"
		}
		if p.Origin.Source == config.FromFile {
			out[i].File, out[i].Line, out[i].Column = p.Origin.Name, p.Origin.Line, p.Origin.Column
		}
	}
	return out
}

func configCheckCommand(c *call) *cobra.Command {
	var strict, references bool
	cmd := &cobra.Command{
		Use: "check", Short: "List everything that is wrong with the configuration", Args: cobra.NoArgs,
		Long: `Checks the configuration without starting anything and prints every problem:
file:line:column: setting: what is wrong; what to do.

The exit code is 7 if there are problems, and 1 if the check could not be made.`,
		Example: "  redrive config check\n  redrive config check --config prod.yaml --references\n  redrive config check -o json --jq '.[].path'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := config.Load(config.Options{File: c.flags.config, Environ: c.Environ, Flags: c.flags.settings(cmd)})
			if err == nil && len(l.Files) == 0 {
				err = &Error{
					Err:  fmt.Errorf("there is no %s here and no configuration of the user: %w", config.FileName, fs.ErrNotExist),
					Hint: "write a file to start from with redrive init, or name one with --config",
				}
			}
			if err == nil && references {
				err = l.CheckReferences(cmd.Context())
			}
			return c.checked(l, err, strict)
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "count warnings as problems")
	cmd.Flags().BoolVar(&references, "references", false, "also read the secrets and files that the configuration refers to; commands of secrets are run")
	return cmd
}

// checked prints the result of a check.
func (c *call) checked(l *config.Loaded, err error, strict bool) error {
	var (
		invalid            *config.InvalidError
		typed              *Error
		problems, warnings []config.Problem
	)
	switch {
	case errors.As(err, &invalid):
		problems, warnings = invalid.Problems, invalid.Warnings
	case errors.As(err, &typed):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Err: err, Hint: "correct --config or REDRIVE_CONFIG, or write a file to start from with redrive init"}
	case err != nil:
		return err
	default:
		warnings = l.Warnings
	}
	found := findings(append(problems, warnings...))
	if format := c.format("table"); format == "table" || format == "wide" {
		for _, f := range found {
			if _, err := fmt.Fprintln(c.Stdout, printable(f.line)); err != nil {
				return err
			}
		}
	} else if err := printList(c, found, func(f finding) string { return f.Path }, nil); err != nil {
		return err
	}
	switch {
	case invalid != nil:
		return &Error{Code: ExitFindings, Err: errors.New(invalid.Summary()), Hint: "each line says what to do; all settings are in docs/reference/configuration.md"}
	case strict && len(warnings) > 0:
		return &Error{Code: ExitFindings, Err: fmt.Errorf("%s, and --strict counts them", count(len(warnings), "warning")), Hint: "each line says what to do"}
	}
	c.note("%s: valid (%s, %s)", strings.Join(l.Files, ", "), count(len(l.Config.Brokers), "broker"), count(len(l.Config.Subscriptions), "subscription"))
	return nil
}

// count returns "1 thing" or "2 things".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// setting is a setting as config view prints it.
type setting struct {
	Path   string `json:"path"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

func configViewCommand(c *call) *cobra.Command {
	var resolved, origins bool
	cmd := &cobra.Command{
		Use: "view", Short: "Show the settings that are in force", Args: cobra.NoArgs,
		Long: `Prints the configuration as it is put together from files, the environment and
flags. Secrets are masked; where they are read from is shown.`,
		Example: "  redrive config view --resolved\n  redrive config view --show-origin -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := c.load(cmd)
			if err != nil {
				return err
			}
			return c.printView(l.View(resolved), origins)
		},
	}
	cmd.Flags().BoolVar(&resolved, "resolved", false, "with all defaults, and the defaults section worked into each subscription")
	cmd.Flags().BoolVar(&origins, "show-origin", false, "say where each value comes from")
	return cmd
}

func (c *call) printView(v config.View, origins bool) error {
	format := c.format("yaml")
	switch {
	case format == "yaml":
		text, err := v.YAML(origins)
		if err != nil {
			return err
		}
		_, err = c.Stdout.Write(text)
		return err
	case format == "json" && !origins:
		return c.printData(v, format)
	}
	values := v.Values()
	settings := make([]setting, len(values))
	for i, s := range values {
		settings[i] = setting{s.Path, s.Value, s.Origin.String()}
	}
	return printList(c, settings, func(s setting) string { return s.Path }, []column[setting]{
		{Head: "SETTING", Value: func(s setting) string { return s.Path }},
		{Head: "VALUE", Value: func(s setting) string { return s.Value }},
		{Head: "ORIGIN", Wide: !origins, Value: func(s setting) string { return s.Origin }},
	})
}

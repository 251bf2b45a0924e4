package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/redrive-dev/redrive/server/internal/config"
)

// App is what the commands need from outside. A command that needs more, such as
// a way to start workers, gets a field here that the main package fills: this
// package wires nothing.
type App struct {
	// Stdin, Stdout and Stderr are the streams.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Environ are the variables of the environment as os.Environ returns them.
	Environ []string
	// IsTerminal reports whether one of the streams is a terminal.
	IsTerminal func(stream any) bool
	// Now is the clock.
	Now func() time.Time
	// Build describes the running binary.
	Build Build
	// Services put brokers and workers together.
	Services Services
}

// System returns the App of this process.
func System() App {
	return App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Environ: os.Environ(), IsTerminal: isTerminal, Now: time.Now, Build: readBuild(),
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Main runs one command line, without the name of the program, and returns the
// exit code. A context whose cause is ErrInterrupted was ended by a signal.
func Main(ctx context.Context, app App, args []string) int {
	c := &call{App: app}
	root := c.root() //nolint:contextcheck // Cobra hands the context to the commands itself.
	root.SetArgs(args)
	at, err := root.ExecuteContextC(ctx)
	var typed *Error
	if err != nil && !c.started && !errors.As(err, &typed) {
		// Nothing ran, so cobra itself refused the command line.
		err = usageError("see "+at.CommandPath()+" --help", "%w", err)
	}
	code := exitCode(ctx, err)
	c.report(err, code)
	return code
}

// call is one run of the command line.
type call struct {
	App
	flags   globals
	started bool
}

// report tells a person about an error.
func (c *call) report(err error, code int) {
	if err == nil {
		return
	}
	hint := ""
	typed, explained := errors.AsType[*Error](err)
	if explained {
		if typed.Silent {
			return
		}
		hint = typed.Hint
	}
	var invalid *config.InvalidError
	switch {
	case errors.As(err, &invalid):
		for _, p := range invalid.Problems {
			_, _ = fmt.Fprintln(c.Stderr, p.Error())
		}
		_, _ = fmt.Fprintln(c.Stderr, c.label("error:"), invalid.Summary())
	case code == ExitInterrupted && !explained:
		_, _ = fmt.Fprintln(c.Stderr, c.label("error:"), ErrInterrupted)
	default:
		_, _ = fmt.Fprintln(c.Stderr, c.label("error:"), printable(err.Error()))
	}
	if hint != "" {
		_, _ = fmt.Fprintln(c.Stderr, c.label("hint:"), hint)
	}
}

// note tells a person what goes on, unless --quiet.
func (c *call) note(format string, args ...any) {
	if !c.flags.quiet {
		_, _ = fmt.Fprintf(c.Stderr, format+"\n", args...)
	}
}

// getenv returns a variable of the environment.
func (c *call) getenv(name string) string {
	for _, line := range slices.Backward(c.Environ) {
		if key, value, ok := strings.Cut(line, "="); ok && key == name {
			return value
		}
	}
	return ""
}

// color reports whether a stream may be coloured.
func (c *call) color(stream any) bool {
	return !c.flags.noColor && c.getenv("NO_COLOR") == "" && c.getenv("TERM") != "dumb" && c.IsTerminal(stream)
}

// label makes the word in front of a message stand out.
func (c *call) label(word string) string {
	if !c.color(c.Stderr) {
		return word
	}
	code := "31" // red
	if word == "hint:" {
		code = "36" // cyan
	}
	return "\x1b[1;" + code + "m" + word + "\x1b[0m"
}

// load reads the configuration and tells a person about its warnings.
func (c *call) load(cmd *cobra.Command) (*config.Loaded, error) {
	l, err := config.Load(config.Options{File: c.flags.config, Environ: c.Environ, Flags: c.flags.settings(cmd)})
	var invalid *config.InvalidError
	switch {
	case errors.As(err, &invalid):
		c.warn(invalid.Warnings)
		return nil, &Error{Err: err, Hint: "correct the configuration; redrive config check lists the same problems"}
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Error{Err: err, Hint: "correct --config or REDRIVE_CONFIG, or write a file to start from with redrive init"}
	case err != nil:
		return nil, err
	}
	c.warn(l.Warnings)
	return l, nil
}

func (c *call) warn(problems []config.Problem) {
	for _, p := range problems {
		c.note("%s", p.Error())
	}
}

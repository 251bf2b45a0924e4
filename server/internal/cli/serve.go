package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/redrive-dev/redrive/server/internal/config"
)

func upCommand(c *call) *cobra.Command {
	return &cobra.Command{
		Use: "up", Short: "Run everything that is configured in one process", Args: cobra.NoArgs,
		Long: `Starts the embedded broker, if the configuration has one, and a worker for every
subscription, and runs until it is stopped.

` + servingHelp,
		Example: "  redrive up\n  redrive up --config prod.yaml --log-format json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.serve(cmd, true)
		},
	}
}

func runCommand(c *call) *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Run the workers alone", Args: cobra.NoArgs,
		Long: `Runs a worker for every subscription. The embedded broker is not started: the
one that redrive up runs over the same data directory is used.

` + servingHelp,
		Example: "  redrive run --config prod.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.serve(cmd, false)
		},
	}
}

const servingHelp = `Health, readiness and metrics are at /healthz, /readyz and /metrics of the
address admin.listen.

SIGTERM stops cleanly: no more messages are taken, running handlers may finish,
what they decided is settled, and the exit code is 0. So does an interrupt, with
exit code 130. A second signal ends the process at once; its messages come again.
SIGHUP checks the configuration and logs what a restart would change.`

func (c *call) serve(cmd *cobra.Command, embedded bool) error {
	l, err := c.load(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	hangup, ignore := c.Services.Hangup()
	defer ignore()
	err = c.Services.Serve(ctx, Serving{
		Config: l.Config, Embedded: embedded, Hangup: hangup, Log: c.logger(l.Config.Log), Build: c.Build,
		Reload: func(context.Context) (config.Config, error) {
			next, err := config.Load(config.Options{File: c.flags.config, Environ: c.Environ, Flags: c.flags.settings(cmd)})
			if err != nil {
				return config.Config{}, err
			}
			c.warn(next.Warnings)
			return next.Config, nil
		},
	})
	cause := context.Cause(ctx)
	switch {
	case err != nil && cause != nil && (errors.Is(err, cause) || errors.Is(err, context.Canceled)):
		// It was stopped while it started, which is clean too.
	case err != nil:
		// A signal does not hide a stop that was not clean.
		return withHint(err)
	}
	if cause != nil && !errors.Is(cause, ErrTerminated) {
		return cause
	}
	return nil
}

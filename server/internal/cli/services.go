package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/server/internal/backup"
	"github.com/redrive-dev/redrive/server/internal/config"
	"github.com/redrive-dev/redrive/server/internal/demo"
	"github.com/redrive-dev/redrive/server/internal/doctor"
)

// Services are what commands need from the packages that put brokers and workers
// together. The main package fills them.
type Services struct {
	// Serve runs workers, and more, until the context ends, and returns nil after a
	// clean stop.
	Serve func(ctx context.Context, s Serving) error
	// Connect opens a broker of the configuration by its name. An embedded broker
	// that runs nowhere is started until Close; one that has never run, only with
	// create, else it is an error that wraps NoData.
	Connect func(ctx context.Context, c Connecting) (Connection, error)
	// NoData is the error of Connect for an embedded broker without any data.
	NoData error
	// Hangup begins to listen for the signal that asks to look at the configuration
	// again. The function ends that.
	Hangup func() (<-chan os.Signal, func())
	// Demo is what redrive demo runs on, and DemoOn gives the same for a broker that
	// runs elsewhere.
	Demo   demo.Platform
	DemoOn func(b config.Broker) demo.Platform
	// Backup is what redrive backup and restore know of a data directory.
	Backup backup.Platform
	// Doctor is how redrive doctor looks at things.
	Doctor doctor.Platform
}

// Serving says what to run.
type Serving struct {
	// Config is the configuration.
	Config config.Config
	// Embedded starts the embedded broker here.
	Embedded bool
	// Hangup tells when to call Reload, which reads the configuration again.
	Hangup <-chan os.Signal
	Reload func(context.Context) (config.Config, error)
	// Log is told what happens.
	Log *slog.Logger
	// Build describes the binary.
	Build Build
}

// Connecting says what to connect to.
type Connecting struct {
	// Config is the configuration, and Broker a name in it.
	Config config.Config
	Broker string
	// Create lets an embedded broker that has never run be started.
	Create bool
	// Log is told what happens.
	Log *slog.Logger
}

// Connection is an open broker.
type Connection interface {
	broker.Broker
	// Close closes it. It is idempotent.
	Close(ctx context.Context) error
}

// logger makes the log that a configuration asks for, on standard error.
func (c *call) logger(l config.Log) *slog.Logger {
	var level slog.Level
	// Validation has seen the name.
	_ = level.UnmarshalText([]byte(l.Level))
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(c.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(c.Stderr, options))
}

// hinted gives an error of another package its hint, unless it is what a signal
// left behind.
func hinted(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), ErrInterrupted) {
		return context.Cause(ctx)
	}
	return withHint(err)
}

// withHint makes an error of one that carries a hint of its own.
func withHint(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	var hinter interface{ Hint() string }
	if errors.As(err, &hinter) && hinter.Hint() != "" {
		return &Error{Err: err, Hint: hinter.Hint()}
	}
	return err
}

// connect opens a broker for a command that looks or publishes. Its log shows
// warnings only, unless more was asked for.
func (c *call) connect(cmd *cobra.Command, l *config.Loaded, name string, create bool) (Connection, error) {
	logging := l.Config.Log
	if logging.Level == "info" {
		logging.Level = "warn"
	}
	conn, err := c.Services.Connect(cmd.Context(), Connecting{Config: l.Config, Broker: name, Create: create, Log: c.logger(logging)})
	if c.Services.NoData != nil && errors.Is(err, c.Services.NoData) {
		return nil, err
	}
	return conn, hinted(cmd.Context(), err)
}

// disconnect closes a connection, and adds what went wrong to err.
func disconnect(ctx context.Context, conn Connection, err *error) {
	*err = errors.Join(*err, conn.Close(context.WithoutCancel(ctx)))
}

// brokerFor returns the name of the broker that has a queue: the one that was
// asked for, else that of the subscriptions with this source or with queues of
// this name, else the only one there is.
func brokerFor(l *config.Loaded, queue, asked string) (string, error) {
	names := slices.Sorted(maps.Keys(l.Config.Brokers))
	if asked != "" {
		if slices.Contains(names, asked) {
			return asked, nil
		}
		return "", usageError("use one of "+strings.Join(names, ", "), "there is no broker %q in the configuration", asked)
	}
	found := map[string]bool{}
	for _, s := range l.Config.Subscriptions {
		n := broker.NamesFor(s.Source, s.Group)
		if queue == s.Source || queue == n.Retry || queue == n.DeadLetter || queue == n.Replay || strings.HasPrefix(queue, n.DeadLetter+".quarantine.") {
			found[s.Broker] = true
		}
	}
	if len(found) == 1 {
		return slices.Collect(maps.Keys(found))[0], nil
	}
	if len(names) == 1 {
		return names[0], nil
	}
	return "", usageError("name it with --broker: "+strings.Join(names, ", "), "it is not clear which broker has the queue %q", queue)
}

// brokerFlag adds the flag that names a broker.
func brokerFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "broker", "", "`name` of the broker in the configuration")
}

func queueNotFound(queue string) error {
	return &Error{
		Err:  fmt.Errorf("there is no queue %q", queue),
		Hint: "redrive queue ls lists the queues; add a subscription with this source to the configuration to have it created",
	}
}

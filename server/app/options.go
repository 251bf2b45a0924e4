package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redrive-dev/redrive/server/internal/config"
)

// Config is what redrive.yaml says.
type Config = config.Config

// LoadOptions say where to look for the configuration.
type LoadOptions = config.Options

// Loaded is a configuration and where it came from.
type Loaded = config.Loaded

// Load reads the configuration: flags, environment, files, defaults. Its error
// names every problem.
func Load(o LoadOptions) (*Loaded, error) { return config.Load(o) }

// Options say what to run.
type Options struct {
	// Config is the configuration. Default: an embedded broker and nothing else.
	Config Config
	// Embedded starts the embedded broker in this process, if the configuration
	// has one. Without, the one that another process of the same data directory
	// runs is used. Default: false.
	Embedded bool
	// Reload reads the configuration again, for [App.Reload]. Default: there is
	// nothing to reload.
	Reload func(ctx context.Context) (Config, error)
	// Logger is told what happens; never a payload. Default: silent.
	Logger *slog.Logger
	// Version and Commit are shown by the metrics. Default: unknown.
	Version, Commit string
	// StopTimeout bounds each step of the clean-up after the workers, which have
	// their own stop_timeout. Default: 30 s.
	StopTimeout time.Duration
}

// WithDefaults returns a copy with the defaults filled in.
func (o Options) WithDefaults() Options {
	o.Config = o.Config.WithDefaults()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 30 * time.Second
	}
	return o
}

// Validate returns every problem, joined, or nil.
func (o Options) Validate() error {
	errs := []error{o.Config.Validate()}
	if o.StopTimeout < 0 {
		errs = append(errs, errors.New("StopTimeout: must not be negative"))
	}
	c := o.Config.WithDefaults()
	if _, embedded := embeddedBroker(c); len(c.Subscriptions) == 0 && !(o.Embedded && embedded) {
		errs = append(errs, errors.New("subscriptions: there are none, so there is nothing to run; add one with a source and a handler"))
	}
	return errors.Join(errs...)
}

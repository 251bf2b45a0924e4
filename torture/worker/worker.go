package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivenats"
	"github.com/redrive-dev/redrive/redrivetest/mutant"
)

// Main runs a worker with what Variable holds, until its standard input ends,
// which it does when the parent closes it or dies, or until the context ends. It
// returns the exit code.
func Main(ctx context.Context, raw string) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// Nothing is ever written: the end is the message.
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := run(ctx, raw); err != nil {
		complain(err)
		return 1
	}
	return 0
}

// complain goes into the log that the parent keeps.
func complain(err error) { _, _ = fmt.Fprintln(os.Stderr, "torture worker:", err) }

func run(ctx context.Context, raw string) error {
	var c Config
	if err := json.Unmarshal([]byte(raw), &c); err != nil {
		return fmt.Errorf("%s: %w", Variable, err)
	}
	to, err := Connect(c.DataDir)
	if err != nil {
		return err
	}
	nats, err := redrivenats.Connect(ctx, to)
	if err != nil {
		return ended(ctx, err)
	}
	err = c.Work(ctx, nats)
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(ended(ctx, err), nats.Close(closeCtx))
}

// ended drops the error of what the end of the context interrupted.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Work plays the script on a broker until the context ends. DataDir is not used.
func (c Config) Work(ctx context.Context, b broker.Broker) error {
	j, err := openJournal(c.Journal)
	if err != nil {
		return err
	}
	return errors.Join(c.work(ctx, b, j), j.close())
}

func (c Config) work(ctx context.Context, b broker.Broker, j *journal) error {
	config := redrive.Config{
		Source: Source, Policy: Policy(), Name: c.Name,
		Concurrency: 8, MaxInFlight: InFlight, Lease: 2 * time.Second,
		StopTimeout: 5 * time.Second, SettleTimeout: 5 * time.Second,
		Observers: []redrive.Observer{observer{j}},
	}
	if c.Mutant != "" {
		bad, err := mutant.Apply(c.Mutant, mutant.Parts{Broker: b, Inbox: config.Inbox})
		if err != nil {
			return err
		}
		b, config.Inbox = bad.Broker, bad.Inbox
		config.Test.Decide, config.Test.Key = bad.Decide, bad.Key
	}
	h := &handler{scenario: c.Scenario, outage: c.Outage, journal: j}
	w, err := redrive.NewWorker(witness{b, j}, h.handle, config)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

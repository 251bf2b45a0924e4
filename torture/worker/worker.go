package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest/mutant"
	"github.com/redrive-dev/redrive/torture/scenario"
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
	t, err := c.openTools(ctx)
	if err != nil {
		return err
	}
	return errors.Join(c.keepWorking(ctx, t), t.close())
}

// keepWorking works until the context ends. A broker that is away is waited for,
// as whatever starts workers in real life would.
func (c Config) keepWorking(ctx context.Context, t *tools) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for seen := time.Now(); ; {
		b, err := c.Broker.Connect(ctx)
		if err == nil {
			seen = time.Now()
			err = c.workOn(ctx, b, t)
		}
		if err = ended(ctx, err); err == nil || time.Since(seen) >= c.Patience {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}

func (c Config) workOn(ctx context.Context, b Broker, t *tools) error {
	err := c.work(ctx, b, t)
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(ended(ctx, err), b.Close(closeCtx))
}

// ended drops the error of what the end of the context interrupted.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Work plays the script on a broker until the context ends. c.Broker is not used.
func (c Config) Work(ctx context.Context, b broker.Broker) error {
	t, err := c.openTools(ctx)
	if err != nil {
		return err
	}
	return errors.Join(c.work(ctx, b, t), t.close())
}

// tools are what a worker needs beside a broker.
type tools struct {
	journal *journal
	effects *effects
}

func (c Config) openTools(ctx context.Context) (*tools, error) {
	j, err := openJournal(c.Journal)
	if err != nil || c.Inbox == "" {
		return &tools{journal: j}, err
	}
	e, err := openEffects(ctx, c.Inbox)
	if err != nil {
		return nil, errors.Join(ended(ctx, err), j.close())
	}
	return &tools{j, e}, nil
}

func (t *tools) close() error {
	err := t.journal.close()
	if t.effects != nil {
		err = errors.Join(err, t.effects.close())
	}
	return err
}

// inboxTimeout bounds a handler that has an inbox, so that the claim of a dead
// worker does not keep others away for long.
const inboxTimeout = 2 * time.Second

func (c Config) config(t *tools) redrive.Config {
	config := redrive.Config{
		Source: cmp.Or(c.Source, Source), Group: c.Group, Policy: Policy(c.Budget), Name: c.Name,
		Concurrency: 8, MaxInFlight: InFlight, Lease: cmp.Or(c.Lease, defaultLease),
		StopTimeout: 5 * time.Second, SettleTimeout: 5 * time.Second,
		Observers: []redrive.Observer{observer{t.journal}},
	}
	if c.KeyHeader {
		config.IdempotencyHeader = scenario.HeaderID
	}
	if t.effects != nil {
		config.Inbox, config.InboxLease = t.effects, 2*inboxTimeout
		config.Policy.HandlerTimeout, config.Policy.HandlerGrace = inboxTimeout, inboxTimeout
	}
	return config
}

func (c Config) work(ctx context.Context, b broker.Broker, t *tools) error {
	config := c.config(t)
	if c.Mutant != "" {
		bad, err := mutant.Apply(c.Mutant, mutant.Parts{Broker: b, Inbox: config.Inbox})
		if err != nil {
			return err
		}
		b, config.Inbox = bad.Broker, bad.Inbox
		config.Test.Decide, config.Test.Key = bad.Decide, bad.Key
	}
	h := &handler{scenario: c.Scenario, outage: c.Outage, journal: t.journal, effects: t.effects}
	w, err := redrive.NewWorker(witness{b, t.journal}, h.handle, config)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

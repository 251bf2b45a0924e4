package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// Streams are where a run is shown.
type Streams struct {
	// Progress gets the view or the lines.
	Progress io.Writer
	// Live says that Progress is a terminal that can be drawn on, and Color that
	// colours are wanted there.
	Live, Color bool
	// Size returns the size of the terminal. Needed for Live.
	Size func() (width, height int)
	// Quiet shows nothing.
	Quiet bool
}

// ErrNotEmpty says that the folder for the data of a run is in use.
var ErrNotEmpty = errors.New("folder is not empty")

// recordsDir is the folder of a run's own files within its data folder.
const recordsDir = "demo"

// Run runs the demo until everything is settled (Once) or the context ends, and
// returns the account. An account that does not balance is no error. With Once an
// end of the context before everything is settled is one; the account is then of
// what was done until there.
func Run(ctx context.Context, o Options, p Platform, s Streams) (Account, error) {
	o = o.WithDefaults()
	if err := o.Validate(); err != nil {
		return Account{}, err
	}
	dir, err := prepare(o.DataDir)
	if err != nil {
		return Account{}, err
	}
	server, err := p.StartBroker(ctx, RunID{Dir: o.DataDir, Name: "r" + strconv.FormatInt(time.Now().UnixNano(), 36)})
	if err != nil {
		return Account{}, fmt.Errorf("demo: start the broker: %w", err)
	}
	account, err := runOn(ctx, o, p, s, server, dir)
	const patience = 30 * time.Second
	endCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err == nil && !account.Balanced && o.Mutant == "" {
		account.Left = "the queues of the run, whose source is " + server.Source() + ", for you to look at"
	} else {
		left, rerr := server.Remove(endCtx)
		account.Left = left
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("demo: remove the queues of the run: %w", rerr))
		}
	}
	return account, errors.Join(err, server.Shutdown(endCtx))
}

// prepare makes the folders. Only an empty folder is taken: the account counts
// everything that lies in the queues, and somebody's own orders must not be
// among it.
func prepare(dataDir string) (string, error) {
	entries, err := os.ReadDir(dataDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("demo: %w", err)
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("demo: %s: %w: choose one that is empty or does not exist yet", dataDir, ErrNotEmpty)
	}
	dir := filepath.Join(dataDir, recordsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("demo: %w", err)
	}
	return dir, nil
}

// run is what a run is made of.
type run struct {
	options    Options
	plan       Plan
	server     Server
	dir        string
	ledger     *ledger
	events     *eventFile
	publisher  *publisher
	supervisor *supervisor
	gauge      *gauge
	watcher    *watcher
	start      time.Time
	published  atomic.Bool
	idle       atomic.Bool
	settled    chan struct{}
}

func runOn(ctx context.Context, o Options, p Platform, s Streams, server Server, dir string) (account Account, err error) {
	if err := server.Broker().Topology().Ensure(ctx, broker.Spec{Source: server.Source(), Lease: o.Lease}); err != nil {
		return Account{}, fmt.Errorf("demo: %w", err)
	}
	caps, err := server.Broker().Caps(ctx, server.Source())
	if err != nil {
		return Account{}, fmt.Errorf("demo: %w", err)
	}
	r := &run{options: o, server: server, dir: dir, plan: o.plan(), settled: make(chan struct{})}
	// Without marks nobody finds out which order kills the process, and it would for
	// ever.
	r.plan.NoKiller = !caps.Marks
	if r.ledger, err = openLedger(dir); err != nil {
		return Account{}, fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, r.ledger.close()) }()
	if r.events, err = openEventFile(dir); err != nil {
		return Account{}, fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, r.events.close()) }()
	r.assemble(p)
	end := r.work(ctx, s)

	tally := r.supervisor.tally()
	timedOut := errors.Is(end, errUnsettled)
	base := Books{Source: server.Source(), Plan: r.plan, Kills: tally.slain, Unfinished: !o.Once || end != nil && !timedOut}
	auditCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	account, err = audit(auditCtx, server.Broker(), dir, base)
	if err != nil {
		return Account{}, fmt.Errorf("demo: the account could not be made: %w", err)
	}
	account.WorkerDeaths = tally.deaths
	account.DurationSeconds = float64(time.Since(r.start).Milliseconds()) / 1000
	if timedOut {
		end = nil // The account says so.
	}
	if !o.Once && ctx.Err() != nil && end != nil && errors.Is(end, context.Cause(ctx)) {
		end = nil // It is how a run without an end ends.
	}
	return account, end
}

// assemble makes the parts.
func (r *run) assemble(p Platform) {
	o := r.options
	r.start = time.Now()
	out := o.outages(r.start)
	b := r.server.Broker()
	r.publisher = &publisher{
		broker: b, ledger: r.ledger, source: r.server.Source(), plan: r.plan, run: strconv.FormatInt(r.start.UnixNano(), 36), total: o.total(), rate: o.Rate, reserve: o.reserve(), idle: r.idle.Load,
	}
	r.supervisor = &supervisor{
		command: p.WorkerCommand, environ: p.WorkerEnviron, events: r.events, kills: o.Kills,
		config: workerConfig{
			Address: r.server.Address(), Source: r.server.Source(), Dir: r.dir, Plan: r.plan, Outages: out, Mutant: o.Mutant,
			Concurrency: o.Concurrency, MaxInFlight: o.MaxInFlight, Lease: o.Lease, RecoveryMax: o.RecoveryMax, RetryMax: o.RetryMax,
		},
	}
	r.gauge = &gauge{
		broker: b, names: broker.NamesFor(r.server.Source(), ""), every: 300 * time.Millisecond,
		effects: tail{path: filepath.Join(r.dir, effectsFile)}, handled: map[uint64]struct{}{}, seen: r.whenCalm(),
	}
	r.watcher = newWatcher(r.dir, o, out, r.publisher, r.supervisor, r.gauge)
}

// whenCalm returns what settles the run: with Once, when all is published and
// nothing is on its way.
func (r *run) whenCalm() func(reading) {
	var c calm
	closed := false
	return func(now reading) {
		idle, settled := c.see(now, int(r.publisher.done.Load()))
		r.idle.Store(idle)
		if !r.published.Load() {
			c = calm{}
			return
		}
		if settled && r.options.Once && !closed {
			closed = true
			close(r.settled)
		}
	}
}

// errUnsettled ends a run that takes too long.
var errUnsettled = errors.New("orders were still on their way when the time was up")

// work runs everything until the end, and returns why it ended: nil for a run
// that is settled.
func (r *run) work(ctx context.Context, s Streams) error {
	workCtx, cancel := context.WithCancelCause(ctx)
	var workers sync.WaitGroup
	workers.Go(func() {
		if err := r.publisher.publish(workCtx); err != nil {
			cancel(err)
			return
		}
		r.published.Store(true)
		r.events.add(event{At: time.Now(), Kind: eventPublished, Text: "all orders are published"})
	})
	workers.Go(func() {
		if err := r.supervisor.run(workCtx); err != nil {
			cancel(err)
		}
	})
	workers.Go(func() { r.gauge.run(workCtx) })
	end := r.show(workCtx, s)
	cancel(end)
	workers.Wait()
	return end
}

const (
	frameEvery = 100 * time.Millisecond
	lineEvery  = time.Second
)

// show shows the run until its end, and returns why it ended.
func (r *run) show(ctx context.Context, s Streams) error {
	view := r.newDisplay(s)
	defer view.close()
	ticker := time.NewTicker(frameEvery)
	defer ticker.Stop()
	timeout := time.NewTimer(r.options.Timeout)
	defer timeout.Stop()
	if !r.options.Once {
		timeout.Stop()
	}
	pictured := r.options.Picture == nil
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.settled:
			return nil
		case <-timeout.C:
			return errUnsettled
		case now := <-ticker.C:
			f, err := r.watcher.look(now)
			if err != nil {
				return err
			}
			view.show(f)
			if !pictured && f.Elapsed >= r.options.PictureAt {
				pictured = true
				if err := r.options.Picture(f); err != nil {
					return fmt.Errorf("picture: %w", err)
				}
			}
		}
	}
}

// display is one of the ways to show a run.
type display struct {
	show  func(Frame)
	close func()
}

func (r *run) newDisplay(s Streams) display {
	switch {
	case s.Quiet || s.Progress == nil:
		return display{show: func(Frame) {}, close: func() {}}
	case s.Live:
		on := &screen{w: s.Progress, color: s.Color, size: s.Size}
		on.enter()
		return display{show: on.draw, close: on.leave}
	}
	lines := plainLines{s.Progress}
	r.watcher.told = lines.event
	next := lineEvery
	return display{close: func() {}, show: func(f Frame) {
		if f.Elapsed >= next {
			next = f.Elapsed.Truncate(lineEvery) + lineEvery
			lines.status(f)
		}
	}}
}

package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/server/internal/admin"
	"github.com/redrive-dev/redrive/server/internal/config"
)

// App is redrive, put together. Make it with New, call Run once, and Stop
// whenever. All methods are safe for concurrent use.
type App struct {
	opts    Options
	cfg     Config
	log     *slog.Logger
	admin   *admin.Server
	metrics *admin.Metrics
	prober  *admin.Prober
	brokers map[string]*Connection
	inboxes *inboxes
	workers []*worker
	cleanup cleanup

	mu      sync.Mutex
	running bool
	stopped bool
	stop    chan struct{} // closed by the first Stop
	done    chan struct{} // closed when everything is cleaned up
	err     error         // of the clean-up; set before done is closed
}

var (
	// errStopped ends what Run started.
	errStopped = errors.New("stopped")
	// errStopping is what /readyz says from then on.
	errStopping = errors.New("stopping: running handlers may finish, no more messages are taken")
)

// New puts everything together and connects it, and starts to answer on the
// health endpoint. Nothing is consumed until Run. The error names every problem;
// then nothing is left running.
func New(ctx context.Context, o Options) (*App, error) {
	o = o.WithDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	a := &App{
		opts: o, cfg: o.Config, log: o.Logger,
		metrics: admin.NewMetrics(admin.Build{Version: o.Version, Commit: o.Commit, Go: runtime.Version()}),
		brokers: map[string]*Connection{},
		stop:    make(chan struct{}), done: make(chan struct{}),
	}
	if err := a.assemble(ctx); err != nil {
		return nil, errors.Join(err, a.cleanup.run(context.WithoutCancel(ctx), o.StopTimeout))
	}
	return a, nil
}

// assemble starts what the workers need, cheap things first: a wrong setting is
// told before a broker is started.
func (a *App) assemble(ctx context.Context) error {
	var err error
	if a.admin, err = admin.Start(ctx, a.cfg.Admin.Listen, a.metrics, a.log); err != nil {
		return &ListenError{Address: a.cfg.Admin.Listen, Err: err}
	}
	a.cleanup.push("stop the health endpoint", a.admin.Stop)
	a.log.LogAttrs(ctx, slog.LevelInfo, "health and metrics", slog.String("address", a.Addr().String()))
	parts, err := a.parts(ctx)
	if err != nil {
		return err
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	if a.inboxes, err = openInboxes(ctx, a.cfg, a.brokers, &a.cleanup); err != nil {
		return err
	}
	if err := a.buildWorkers(parts); err != nil {
		return err
	}
	if err := a.ensure(ctx); err != nil {
		return err
	}
	a.prober = admin.NewProber(a.checks(), time.Now)
	a.admin.SetProber(a.prober)
	return nil
}

// ListenError says that the health endpoint could not be opened.
type ListenError struct {
	// Address is admin.listen.
	Address string
	// Err is what is wrong.
	Err error
}

// Error implements error.
func (e *ListenError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *ListenError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *ListenError) Hint() string {
	return "another process may use the address; set admin.listen, and port 0 takes a free one"
}

// connect opens every broker that a subscription uses, and the embedded one if it
// is to run here.
func (a *App) connect(ctx context.Context) error {
	used := map[string]bool{}
	for _, s := range a.cfg.Subscriptions {
		used[s.Broker] = true
	}
	if name, ok := embeddedBroker(a.cfg); ok && a.opts.Embedded {
		used[name] = true
	}
	names := slices.Sorted(maps.Keys(used))
	opened, errs := make([]*Connection, len(names)), make([]error, len(names))
	// All at once: one that does not answer makes none of the others wait.
	var opening sync.WaitGroup
	for i, name := range names {
		opening.Go(func() { opened[i], errs[i] = open(ctx, a.cfg, name, a.opts.Embedded, a.log) })
	}
	opening.Wait()
	for i, name := range names {
		if errs[i] != nil {
			continue
		}
		a.cleanup.push("close broker "+name, opened[i].Close)
		if m := opened[i].marks; m != nil {
			// A worker that could not write its notes must not start.
			if err := m.open(ctx); err != nil {
				errs[i] = &BrokerError{Broker: name, Err: err, Remedy: fmt.Sprintf("see that the data directory %s can be written to, or set brokers.%s.marks.store to none", a.cfg.DataDir, name)}
			}
		}
		a.brokers[name] = opened[i]
		a.log.LogAttrs(ctx, slog.LevelInfo, "broker connected", slog.String("broker", name), slog.String("type", a.cfg.Brokers[name].Type))
	}
	return brokersError(errs)
}

// checks are what /readyz asks.
func (a *App) checks() []admin.Check {
	var out []admin.Check
	for _, name := range slices.Sorted(maps.Keys(a.brokers)) {
		conn := a.brokers[name]
		queue := a.someSource(name)
		out = append(out, admin.Check{Name: "broker " + name, Run: func(ctx context.Context) error {
			// What it can do for a queue is a question that needs a live server.
			_, err := conn.Caps(ctx, queue)
			a.metrics.BrokerUp(name, err == nil)
			return err
		}})
	}
	for _, w := range a.workers {
		out = append(out, admin.Check{Name: label(w.subscription), Run: func(context.Context) error { return w.ready() }})
	}
	return out
}

func (a *App) someSource(broker string) string {
	for _, s := range a.cfg.Subscriptions {
		if s.Broker == broker {
			return s.Source
		}
	}
	return "redrive"
}

// Addr is the address of the health endpoint.
func (a *App) Addr() net.Addr { return a.admin.Addr() }

// Ready reports what does not work, joined; nil if everything does.
func (a *App) Ready(ctx context.Context) error { return errors.Join(a.prober.Ready(ctx)...) }

// Run consumes until the context ends, Stop is called, or something fails for
// good, then stops cleanly: running handlers may finish within their
// stop_timeout, and what they decided is settled. It returns nil after a clean
// stop, and at once if Stop was called before. Run may be called once.
func (a *App) Run(ctx context.Context) error {
	a.mu.Lock()
	again, stopped := a.running, a.stopped
	a.running = true
	a.mu.Unlock()
	switch {
	case again:
		return errors.New("app: Run was called before")
	case stopped:
		return nil
	}
	err := a.consume(ctx)
	a.finish(ctx)
	return errors.Join(err, a.err)
}

// consume runs the workers until the end and returns why it came, nil if it was
// asked for.
func (a *App) consume(ctx context.Context) error {
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, len(a.workers))
	var wait sync.WaitGroup
	for _, w := range a.workers {
		wait.Go(func() { ended <- w.run(running) })
	}
	if db := a.inboxes.sqlite; db != nil {
		wait.Go(func() { purge(running, "inbox", db, a.log) })
	}
	for _, conn := range a.brokers {
		if conn.marks != nil {
			wait.Go(func() { purge(running, "notes of broker "+conn.Name, conn.marks, a.log) })
		}
	}
	wait.Go(func() { a.announce(running) })
	var err error
	select {
	case <-ctx.Done():
		a.log.LogAttrs(ctx, slog.LevelInfo, "stopping", slog.String("cause", context.Cause(ctx).Error()))
	case <-a.stop:
		a.log.LogAttrs(ctx, slog.LevelInfo, "stopping")
	case err = <-ended:
	case <-a.admin.Done():
		err = fmt.Errorf("the health endpoint ended: %w", a.admin.Err())
	}
	a.admin.SetProber(admin.NewProber([]admin.Check{{Name: "redrive", Run: func(context.Context) error { return errStopping }}}, time.Now))
	cancel(errStopped)
	wait.Wait()
	close(ended)
	for other := range ended {
		err = errors.Join(err, other)
	}
	return err
}

// announce logs once that every worker takes messages.
func (a *App) announce(ctx context.Context) {
	const interval = 20 * time.Millisecond
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if !slices.ContainsFunc(a.workers, func(w *worker) bool { return w.ready() != nil }) {
			a.log.LogAttrs(ctx, slog.LevelInfo, "ready", slog.Int("subscriptions", len(a.workers)), slog.String("address", a.Addr().String()))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// finish cleans up and lets everybody know.
func (a *App) finish(ctx context.Context) {
	a.err = a.cleanup.run(context.WithoutCancel(ctx), a.opts.StopTimeout)
	if a.err != nil {
		a.err = fmt.Errorf("clean up: %w", a.err)
	}
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
	close(a.done)
	a.log.LogAttrs(ctx, slog.LevelInfo, "stopped")
}

// Stop asks Run to end and waits until everything is cleaned up, or the context
// ends; then the stop goes on. Without a Run it cleans up itself. It is
// idempotent.
func (a *App) Stop(ctx context.Context) error {
	a.mu.Lock()
	first := !a.stopped
	a.stopped = true
	if first {
		close(a.stop)
	}
	if first && !a.running {
		go a.finish(ctx)
	}
	a.mu.Unlock()
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return fmt.Errorf("the stop goes on: %w", context.Cause(ctx))
	}
}

// Reload reads the configuration again, checks it, and logs what a restart would
// change. Nothing changes before that: a half-applied configuration would be one
// that nobody wrote. An invalid one is an error that names every problem.
func (a *App) Reload(ctx context.Context) ([]Change, error) {
	if a.opts.Reload == nil {
		return nil, errors.New("app: there is nothing to reload the configuration from")
	}
	next, err := a.opts.Reload(ctx)
	if err != nil {
		a.logInvalid(ctx, err)
		return nil, err
	}
	changes := Changes(a.cfg, next)
	for _, c := range changes {
		a.log.LogAttrs(ctx, slog.LevelInfo, "setting differs", slog.String("setting", c.Path), slog.String("old", c.Old), slog.String("new", c.New))
	}
	if len(changes) == 0 {
		a.log.LogAttrs(ctx, slog.LevelInfo, "the configuration is valid and unchanged", slog.Int("changes", 0))
		return nil, nil
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "the configuration is valid; restart to apply it, until then the old one is in force", slog.Int("changes", len(changes)))
	return changes, nil
}

func (a *App) logInvalid(ctx context.Context, err error) {
	if invalid, ok := errors.AsType[*config.InvalidError](err); ok {
		for _, p := range invalid.Problems {
			a.log.LogAttrs(ctx, slog.LevelError, "problem in the configuration", slog.String("problem", p.Error()))
		}
		err = errors.New(invalid.Summary())
	}
	a.log.LogAttrs(ctx, slog.LevelError, "the configuration cannot be used; the old one stays in force", slog.String("error", err.Error()))
}

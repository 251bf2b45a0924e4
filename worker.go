package redrive

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/internal/engine"
	"github.com/redrive-dev/redrive/internal/host"
)

// Policy is everything that may be chosen about the failures of a subscription.
type Policy = decision.Policy

// Config configures a Worker.
type Config struct {
	// Source is the queue, topic or stream to consume. Required.
	Source string
	// Group is the consumer group. Default: broker.DefaultGroup.
	Group string
	// Policy decides about failures. Default: see Policy.
	Policy Policy
	// Concurrency is how many handlers may run at once. Default: 16.
	Concurrency int
	// MaxInFlight bounds the messages that this worker holds, running or waiting.
	// A message that kills the process takes the others with it into suspicion, so
	// it should be no more than throughput needs. Default: 4 times Concurrency.
	MaxInFlight int
	// Accept are rules of the broker, by broker.Problem.Rule, that the subscription may
	// break, such as a work queue that gives up messages after some deliveries. The
	// guide of each broker lists its rules and what they prevent. Default: none.
	Accept []string
	// Lease is how long the broker leaves a message with this worker between two
	// extensions, which the worker makes by itself. Default: 30 s.
	Lease time.Duration
	// StopTimeout is how long running handlers may go on after a stop begins before
	// they are cancelled. Default: 30 s.
	StopTimeout time.Duration
	// SettleTimeout bounds each write to the broker or the inbox. Default: 10 s.
	SettleTimeout time.Duration
	// Name names this worker in histories and in the broker's tools. Default: host
	// name and process id.
	Name string
	// Version names the release of the program in heartbeats. Default: the version of
	// its main module, if it was built with one.
	Version string
	// Heartbeat is the time between two records that tell the server how this worker
	// is doing; see package report. The server replays only to subscriptions with a
	// worker. At most 30 s; negative turns heartbeats off. Default: 10 s.
	Heartbeat time.Duration
	// IdempotencyHeader names the producer's header that identifies an operation.
	// Default: none, the key is made of the message's position.
	IdempotencyHeader string
	// Inbox remembers what was handled, so that a message that comes twice takes
	// effect once. Default: none.
	Inbox idempotency.Store
	// InboxLease is how long a claim in the inbox stands: when the process dies, its
	// messages wait for so long. An inbox that is an idempotency.Extender extends
	// the claim while the handler runs, and InboxLease must not be shorter than
	// Lease; with any other it must be longer than the handler may run. Default:
	// Lease + SettleTimeout with an inbox that extends, HandlerTimeout + HandlerGrace
	// + SettleTimeout + 30 s with any other.
	InboxLease time.Duration
	// Validator checks messages before the handler. Default: none.
	Validator Validator
	// Rules classify errors before the default rules do.
	Rules []failure.Rule
	// Dependency configures the breakers of named dependencies. Default: the
	// policy's breaker.
	Dependency *breaker.Config
	// Observers are told what happens.
	Observers []Observer
	// Logger gets what nobody else is told: errors that the worker overcomes by
	// itself. Default: silent.
	Logger *slog.Logger
	// Test holds seams that tests of checkers need.
	Test TestConfig
}

// TestConfig is not for production.
type TestConfig struct {
	// Decide replaces decision.Decide, to prove that a checker finds a wrong one.
	Decide func(*decision.Input) decision.Verdict
	// Key replaces idempotency.Key, to the same end. The group is the worker's own.
	Key func(header, group string, m *broker.Message, id broker.Incarnation) (key string, ok bool)
	// Seed fixes the randomness of jitter. Default: random.
	Seed uint64
}

// WithDefaults returns a copy with the defaults filled in.
func (c Config) WithDefaults() Config {
	c.Policy = c.Policy.WithDefaults()
	if c.Group == "" {
		c.Group = broker.DefaultGroup
	}
	if c.Concurrency == 0 {
		c.Concurrency = 16
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 4 * c.Concurrency
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Lease, 30*time.Second)
	def(&c.StopTimeout, 30*time.Second)
	def(&c.SettleTimeout, 10*time.Second)
	def(&c.Heartbeat, 10*time.Second)
	inboxLease := c.Policy.HandlerTimeout + c.Policy.HandlerGrace + c.SettleTimeout + 30*time.Second
	if c.extendsClaims() {
		inboxLease = c.Lease + c.SettleTimeout
	}
	def(&c.InboxLease, inboxLease)
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		c.Name = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	if c.Version == "" {
		c.Version = buildVersion()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dependency == nil {
		c.Dependency = &c.Policy.Breaker
	}
	return c
}

// Validate reports every setting that is out of range, joined.
func (c Config) Validate() error {
	c = c.WithDefaults()
	errs := []error{c.Policy.Validate(), c.Dependency.Validate()}
	if c.Source == "" {
		errs = append(errs, errors.New("worker: Source is required"))
	}
	positive := func(field string, n int64) {
		if n <= 0 {
			errs = append(errs, fmt.Errorf("worker: %s must be more than 0", field))
		}
	}
	positive("Concurrency", int64(c.Concurrency))
	positive("Lease", int64(c.Lease))
	positive("StopTimeout", int64(c.StopTimeout))
	positive("SettleTimeout", int64(c.SettleTimeout))
	if c.Heartbeat > maxHeartbeat {
		errs = append(errs, fmt.Errorf("worker: Heartbeat %s must not be longer than %s", c.Heartbeat, maxHeartbeat))
	}
	if c.MaxInFlight < c.Concurrency {
		errs = append(errs, fmt.Errorf("worker: MaxInFlight %d must not be less than Concurrency %d", c.MaxInFlight, c.Concurrency))
	}
	if least := c.Policy.HandlerTimeout + c.Policy.HandlerGrace; c.extendsClaims() && c.InboxLease < c.Lease {
		errs = append(errs, fmt.Errorf("worker: InboxLease %s must not be shorter than Lease, %s", c.InboxLease, c.Lease))
	} else if c.Inbox != nil && !c.extendsClaims() && c.InboxLease < least {
		errs = append(errs, fmt.Errorf("worker: InboxLease %s must not be shorter than HandlerTimeout + HandlerGrace, %s", c.InboxLease, least))
	}
	return errors.Join(errs...)
}

// extendsClaims reports whether the inbox extends claims while handlers run.
func (c Config) extendsClaims() bool {
	_, ok := c.Inbox.(idempotency.Extender)
	return ok
}

// Worker consumes one subscription. Make it with NewWorker, then call Run once.
// All methods are safe for concurrent use.
type Worker struct {
	cfg     Config
	broker  broker.Broker
	handler Handler
	names   broker.Names
	scope   string // of this subscription in the inbox

	sub  broker.Subscription
	caps broker.Caps

	mu      sync.Mutex
	machine *engine.Machine
	armed   time.Time // when the timer will call Tick
	host    host.Host
	kick    host.Gate    // opened when Tick is wanted earlier
	asked   host.Gate    // opened when messages are wanted
	limit   atomic.Int64 // how many
	paused  host.Gate    // opened when the machine's Paused may have changed
	quiet   host.Gate    // opened when busy falls to zero
	beats   host.Gate    // opened when the heartbeats end
	beating host.Gate    // opened when they have ended
	heart   heart
	crew    crew
	started atomic.Bool
	running atomic.Bool
	ended   atomic.Bool  // nothing is left to be ticked
	busy    atomic.Int64 // goroutines that hold a message or a settlement

	// Three lifetimes at a stop: fetching ends first, then work, then settling.
	// Work is many lifetimes, since each run of a handler has its own.
	values context.Context //nolint:containedctx // what handlers find in their contexts
	fetch  lifetime
	settle lifetime

	deps dependencies

	buffers sync.Pool // of *[]engine.Action
	writes  atomic.Pointer[writes]
}

// lifetime is a context that the worker ends by itself.
type lifetime struct {
	ctx    context.Context //nolint:containedctx // it is the lifetime of a group of goroutines, not of a call
	cancel context.CancelCauseFunc
}

func newLifetime(parent context.Context) lifetime {
	ctx, cancel := context.WithCancelCause(parent)
	return lifetime{ctx, cancel}
}

// NewWorker makes a worker that gives the messages of a subscription to the
// handler. It reports every problem of the configuration at once and does not
// talk to the broker yet.
func NewWorker(b broker.Broker, h Handler, c Config) (*Worker, error) {
	w, err := newWorker(host.Real(), b, h, c)
	if err != nil {
		return nil, err
	}
	w.crew.open()
	return w, nil
}

func newWorker(on host.Host, b broker.Broker, h Handler, c Config) (*Worker, error) {
	var errs []error
	if b == nil {
		errs = append(errs, errors.New("worker: a broker is required"))
	}
	if h == nil {
		errs = append(errs, errors.New("worker: a handler is required"))
	}
	if err := errors.Join(append(errs, c.Validate())...); err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	if c.Test.Seed == 0 {
		var seed [8]byte
		if _, err := rand.Read(seed[:]); err != nil {
			return nil, fmt.Errorf("worker: no randomness: %w", err)
		}
		c.Test.Seed = binary.LittleEndian.Uint64(seed[:])
	}
	w := &Worker{
		cfg: c, broker: b, handler: h,
		names: broker.NamesFor(c.Source, c.Group),
		scope: idempotency.Scope(c.Source, c.Group),
		host:  on, kick: on.Gate(), asked: on.Gate(), paused: on.Gate(), quiet: on.Gate(),
		beats: on.Gate(), beating: on.Gate(), heart: heart{policy: c.Policy.Digest()},
	}
	w.deps.init(*c.Dependency, c.Test.Seed)
	return w, nil
}

// Run consumes until the context ends, then stops cleanly: what waits is given
// back, running handlers may finish within StopTimeout, and what they decided is
// settled. It returns nil after a clean stop, and an error if the subscription
// could not be opened or handlers had to be left behind. Run may be called once.
func (w *Worker) Run(ctx context.Context) error {
	if w.started.Swap(true) {
		return errors.New("worker: Run was called before")
	}
	if err := w.open(ctx); err != nil {
		return err
	}
	w.running.Store(true)
	defer w.running.Store(false)
	base := context.WithoutCancel(ctx)
	w.values, w.fetch, w.settle = base, newLifetime(base), newLifetime(base)
	defer w.crew.close()
	defer w.settle.cancel(engine.ErrShutdown)

	receiving, pausing, ticking := w.host.Gate(), w.host.Gate(), w.host.Gate()
	w.host.Start(func() { defer receiving.Open(); w.receiveLoop() }) //nolint:contextcheck // the worker has lifetimes of its own
	w.host.Start(func() { defer pausing.Open(); w.pauseLoop() })     //nolint:contextcheck // as above
	w.host.Start(func() { defer ticking.Open(); w.tickLoop() })      //nolint:contextcheck // as above

	if w.cfg.Heartbeat > 0 {
		w.heart.alive, w.heart.startedAt = newLifetime(base), w.host.Now()
		defer w.heart.alive.cancel(context.Canceled)
		w.host.Start(func() { defer w.beating.Open(); w.beatLoop() })
	}

	w.step(nil, false, w.machine.Start) //nolint:contextcheck // the worker has lifetimes of its own
	w.host.Await(ctx)
	err := w.stop(receiving, pausing) //nolint:contextcheck // likewise
	w.ended.Store(true)
	w.kick.Open()
	ticking.Wait(time.Time{})
	w.lastBeat(base, err == nil)
	closeCtx, cancel := w.host.Timeout(base, w.cfg.SettleTimeout)
	defer cancel()
	if cerr := w.sub.Close(closeCtx); cerr != nil {
		err = errors.Join(err, fmt.Errorf("worker %s: close the subscription: %w", w.cfg.Source, cerr))
	}
	return err
}

func (w *Worker) open(ctx context.Context) error {
	caps, err := w.broker.Caps(ctx, w.cfg.Source)
	if err != nil {
		return fmt.Errorf("worker %s: ask the broker what it can do: %w", w.cfg.Source, err)
	}
	if w.cfg.Inbox != nil && !caps.StableIdentity && w.cfg.IdempotencyHeader == "" {
		return fmt.Errorf("worker %s: an inbox needs a stable key, and this broker gives messages no identity: set IdempotencyHeader", w.cfg.Source)
	}
	w.caps = caps
	closing := time.Duration(0)
	if w.cfg.Inbox != nil {
		closing = w.cfg.SettleTimeout
	}
	m, err := engine.New(engine.Config{
		Source: w.cfg.Source, Group: w.cfg.Group, Worker: w.cfg.Name, Policy: w.cfg.Policy, Caps: caps,
		Concurrency: w.cfg.Concurrency, MaxInFlight: w.cfg.MaxInFlight, Lease: w.cfg.Lease, Closing: closing,
		Seed: w.cfg.Test.Seed, Decide: w.cfg.Test.Decide,
	})
	if err != nil {
		return fmt.Errorf("worker %s: %w", w.cfg.Source, err)
	}
	sub, err := w.broker.Open(ctx, broker.Spec{
		Source: w.cfg.Source, Group: w.cfg.Group, Lease: w.cfg.Lease, Worker: w.cfg.Name,
		MaxInFlight: w.cfg.MaxInFlight + engine.MaxStaying, Accept: w.cfg.Accept,
	})
	if err != nil {
		return fmt.Errorf("worker %s: open the subscription: %w", w.cfg.Source, err)
	}
	w.sub = sub
	w.mu.Lock()
	w.machine = m
	w.mu.Unlock()
	return nil
}

// stop ends the three lifetimes in turn.
func (w *Worker) stop(receiving, pausing host.Gate) error {
	w.fetch.cancel(engine.ErrShutdown)
	w.asked.Open()
	w.paused.Open()
	w.step(nil, false, w.machine.Stop)
	receiving.Wait(time.Time{})
	pausing.Wait(time.Time{})
	drainCtx, cancel := w.host.Timeout(w.settle.ctx, w.cfg.SettleTimeout)
	defer cancel()
	if err := w.sub.Drain(drainCtx); err != nil {
		w.cfg.Logger.Warn("drain the subscription", slog.String("source", w.cfg.Source), slog.Any("error", err))
	}
	if w.waitQuiet(w.cfg.StopTimeout) {
		return nil
	}
	w.step(nil, false, w.machine.Abort)
	if w.waitQuiet(w.cfg.SettleTimeout) {
		return nil
	}
	w.settle.cancel(engine.ErrShutdown)
	return fmt.Errorf("worker %s: handlers did not return within %s and %s after a cancel; their messages come again after the lease",
		w.cfg.Source, w.cfg.StopTimeout, w.cfg.SettleTimeout)
}

// waitQuiet waits until no goroutine holds a message, or gives up.
func (w *Worker) waitQuiet(patience time.Duration) bool {
	giveUp := w.host.Now().Add(patience)
	for w.busy.Load() > 0 {
		if !w.quiet.Wait(giveUp) {
			return w.busy.Load() == 0
		}
	}
	return true
}

// Ready reports why the worker does not take messages, nil if it does. A breaker
// that is open is no reason: it is part of the work.
func (w *Worker) Ready() error {
	s := w.Snapshot()
	switch {
	case !s.Running:
		return fmt.Errorf("worker %s: not running", w.cfg.Source)
	case s.Stalled:
		return fmt.Errorf("worker %s: %d handlers did not return after their timeout", w.cfg.Source, s.Stuck)
	}
	return nil
}

// Snapshot is the state of a worker, for people.
type Snapshot struct {
	Source, Group string
	// Running says that Run is under way.
	Running bool
	// Waiting counts received messages that do not run yet, Handlers those that
	// do, Staying those whose move failed, Stuck the handlers that did not return,
	// and Suspects the messages that must run alone.
	Waiting, Handlers, Staying, Stuck, Suspects int
	// Stalled says that the worker takes no messages because handlers did not
	// return: a quarter of the concurrency, or one that must run alone.
	Stalled bool
	Breaker breaker.Snapshot
}

// Snapshot returns the state.
func (w *Worker) Snapshot() Snapshot {
	s := Snapshot{Source: w.cfg.Source, Group: w.cfg.Group}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.machine == nil {
		return s
	}
	m := w.machine.Snapshot(w.host.Now())
	s.Running = w.running.Load()
	s.Waiting, s.Handlers, s.Staying, s.Stuck, s.Suspects = m.Waiting, m.Running, m.Staying, m.Stuck, m.Suspects
	s.Stalled, s.Breaker = m.Stalled, m.Breaker
	return s
}

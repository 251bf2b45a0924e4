package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/redrivetest"
	"github.com/redrive-dev/redrive/redrivetest/mutant"
)

const source = "orders"

// Errors of the world.
var (
	errInjected = errors.New("injected fault")
	errDenied   = errors.New("access denied")
)

// world is everything around the workers: broker, inbox, what handlers call, the
// clock, and the books.
type world struct {
	ctx context.Context //nolint:containedctx // it is as long as the world, and never ends before
	// lifetime makes the context of a process, whoever starts it.
	lifetime func() (context.Context, context.CancelFunc)

	plan   *plan
	opts   *Options
	sched  *scheduler
	trace  trace
	epoch  time.Time
	hub    *redrivetest.Broker
	inbox  *idempotency.Memory
	self   *process // tasks of the world belong to it
	seats  []*seat
	groups []string
	names  []broker.Names

	receivers []*task // that wait for a message
	healed    bool
	stopped   bool
	drainedAt int64

	books books
}

// seat is a place for one worker process after the other.
type seat struct {
	index  int
	group  int
	proc   *process
	serial int
	skew   int64 // of the machine's clock
}

func newWorld(ctx context.Context, seed uint64, p *plan, o *Options, arena *arena) (*world, error) {
	ctx = context.WithoutCancel(ctx)
	lifetime := func() (context.Context, context.CancelFunc) { return context.WithCancel(ctx) }
	w := &world{ctx: ctx, lifetime: lifetime, plan: p, opts: o, epoch: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.sched = &scheduler{
		random: rand.New(rand.NewPCG(seed, 0x776f726c64)), //nolint:gosec // it must follow from the seed
		idle:   arena.idle, runnable: arena.runnable[:0], timers: arena.timers[:0],
	}
	w.trace = trace{buf: arena.trace[:0], now: &w.sched.now}
	w.self = &process{world: w, name: "world"}
	options := []redrivetest.Option{
		redrivetest.WithClock(w.now), redrivetest.WithCluster("sim"),
		redrivetest.WithCaps(func(c *broker.Caps) { *c = p.caps }),
	}
	if p.split {
		options = append(options, redrivetest.WithSplitMoves(w.between))
	}
	w.hub = redrivetest.NewBroker(options...)
	w.inbox = idempotency.NewMemory(idempotency.WithClock(w.now), idempotency.WithTTL(10_000*time.Hour))
	for g := range p.groups {
		name := broker.DefaultGroup
		if g > 0 {
			name = "audit"
		}
		w.groups = append(w.groups, name)
		w.names = append(w.names, broker.NamesFor(source, name))
	}
	for i := range p.groups * p.seats {
		w.seats = append(w.seats, &seat{index: i, group: i % p.groups})
	}
	for _, g := range w.groups {
		// A subscription exists before its first worker, or it would have no claim to
		// what is published before.
		if err := w.hub.Topology().Ensure(ctx, broker.Spec{Source: source, Group: g}); err != nil {
			return nil, fmt.Errorf("declare the subscription of %s: %w", g, err)
		}
	}
	w.books = newBooks(w)
	return w, nil
}

// now is the broker's clock, which is always right.
func (w *world) now() time.Time { return w.epoch.Add(time.Duration(w.sched.now)) }

// changed wakes whoever waits for a message.
func (w *world) changed() {
	for _, t := range w.receivers {
		w.sched.wake(t)
	}
	w.receivers = w.receivers[:0]
}

// boot starts a process on a seat, which must be free.
func (w *world) boot(s *seat) {
	if s.proc != nil || w.stopped {
		return
	}
	s.serial++
	p := &process{
		world: w, seat: s, name: fmt.Sprintf("w%d.%d", s.index, s.serial), group: w.groups[s.group],
		born: w.sched.now, skew: s.skew, client: w.hub.Client(),
	}
	if !w.healed && w.plan.kills > 0 {
		w.plan.kills--
		p.killAt = 1 + w.sched.random.IntN(w.plan.killWithin)
	}
	s.proc = p
	pl := w.plan
	c := redrive.Config{
		Source: source, Group: p.group, Policy: pl.policy, Concurrency: pl.concurrency, MaxInFlight: pl.inFlight,
		Lease: pl.lease, StopTimeout: pl.stop, SettleTimeout: pl.settle, Name: p.name,
		Heartbeat: pl.heartbeat,
		Observers: []redrive.Observer{redrive.ObserverFunc(func(e *redrive.Event) { w.observe(p, e) })},
		Test:      redrive.TestConfig{Seed: 1 + w.sched.random.Uint64()>>1},
	}
	if pl.keyHeader {
		c.IdempotencyHeader = keyHeader
	}
	parts := mutant.Parts{Broker: &line{p.client, p}}
	if pl.inbox != noInbox {
		parts.Inbox = &inbox{p}
	}
	if name := w.opts.Mutant; name != "" && (parts.Inbox != nil || name != mutant.InboxKeepsFailed) {
		var err error
		if parts, err = mutant.Apply(name, parts); err != nil {
			w.books.violate("world", "%v", err)
			return
		}
	}
	c.Inbox, c.Test.Decide, c.Test.Key = parts.Inbox, parts.Decide, parts.Key
	worker, err := w.opts.Launch(p, parts.Broker, w.handler(p), c)
	if err != nil {
		w.books.violate("start", "the worker does not start: %v", err)
		return
	}
	p.worker = worker
	p.ctx, p.cancel = w.lifetime()
	w.trace.line("boot").p(p).n("kill-at=", p.killAt).end()
	w.sched.start(p, func() { w.runWorker(p) })
}

// runWorker is the main function of a process.
func (w *world) runWorker(p *process) {
	err := p.worker.Run(p.ctx)
	p.alive()
	p.ended = true
	w.trace.line("exit").p(p).err(err).end()
	w.books.exited(p, p.ctx.Err() != nil, err)
	p.dead = true
	w.died(p)
	p.client.Kill()
	w.changed()
}

// died ends what the process held, and frees its seat.
func (w *world) died(p *process) {
	for _, r := range p.running {
		r.ended = true
	}
	p.running = nil
	for len(p.held) > 0 {
		w.books.lose(p.held[0])
	}
	s := p.seat
	if s == nil || s.proc != p {
		return
	}
	s.proc = nil
	w.sched.call(w.sched.random.Int64N(int64(2*w.plan.lease)), func() { w.boot(s) })
}

// stop asks the process on a seat to stop cleanly.
func (w *world) stop(s *seat) {
	if p := s.proc; p != nil {
		w.trace.line("stop").p(p).end()
		if p.ctx.Err() == nil {
			// What was under way before the faults ended may still fail by them.
			p.late = !w.healed || len(p.running) > 0 || p.worker.Snapshot().Handlers > 0
		}
		p.cancel()
	}
}

// schedule sets up what is to happen.
func (w *world) schedule() {
	for _, s := range w.seats {
		w.boot(s)
	}
	w.sched.start(w.self, w.produce)
	for _, e := range w.plan.events {
		w.sched.call(int64(e.at), func() { w.happen(e) })
	}
	for _, o := range w.plan.outages {
		w.announce("outage", o.window)
	}
	for _, o := range w.plan.bank {
		w.announce("bank-outage", o.window)
	}
	for _, d := range w.plan.down {
		w.announce("broker-down", d)
	}
	for _, r := range w.plan.refused {
		w.announce("refused-"+string(r.kind), r.window)
	}
	w.sched.call(int64(w.plan.horizon), w.heal)
}

// announce writes a window into the trace.
func (w *world) announce(what string, span window) {
	w.sched.call(int64(span.from), func() { w.trace.line(what).s("begins").end() })
	w.sched.call(int64(span.to), func() { w.trace.line(what).s("ends").end() })
}

func (w *world) happen(e event) {
	s := w.seats[e.seat]
	switch e.what {
	case eventKill:
		if p := s.proc; p != nil {
			p.kill("from outside")
			w.sched.unwind(p)
		}
	case eventStop:
		w.stop(s)
	case eventFreeze:
		if s.proc != nil {
			s.proc.freeze(int64(e.by))
		}
	case eventJump:
		s.skew += int64(e.by)
		w.books.jumped = true
		if s.proc != nil {
			s.proc.skew = s.skew
		}
		w.trace.line("clock").n("seat=", s.index).d("jumps", e.by).end()
	case eventRestart:
		w.trace.line("broker-restart").end()
		w.hub.Restart()
		w.changed()
	case eventReplay:
		w.sched.start(w.self, func() { w.replay(s.group) })
	}
}

// heal ends all faults. From then on the workers must bring everything to its
// end.
func (w *world) heal() {
	w.healed = true
	w.trace.line("heal").end()
	for _, s := range w.seats {
		s.skew = 0
		if s.proc != nil {
			s.proc.skew = 0
			s.proc.killAt = 0
		}
	}
	w.sched.call(int64(time.Second), func() { w.look(time.Second) })
}

// look sees whether everything has come to its end, and looks again later if not.
func (w *world) look(after time.Duration) {
	if w.drained() {
		w.trace.line("drained").end()
		w.drainedAt = w.sched.now
		w.stopped = true
		for _, s := range w.seats {
			w.stop(s)
		}
		return
	}
	next := min(after+after/4, time.Minute)
	w.sched.call(int64(next), func() { w.look(next) })
}

// drained reports whether nothing is left but what only a newer release can
// handle.
func (w *world) drained() bool {
	for _, n := range w.names {
		for _, q := range []string{n.Source, n.Retry, n.Replay} {
			st, err := w.hub.Stats(w.ctx, q)
			if err != nil {
				return false
			}
			if st.Depth() > 0 && (q != n.Source || w.plan.futures == 0 || w.ordinary(q) > 0) {
				return false
			}
		}
	}
	return true
}

// ordinary counts the copies in a queue that this release can handle.
func (w *world) ordinary(queue string) int {
	n := 0
	w.scan(queue, func(l *broker.Letter) {
		if id := idOf(l.Message.Body); id < 0 || w.plan.messages[id].hostile != future {
			n++
		}
	})
	return n
}

func (w *world) scan(queue string, see func(*broker.Letter)) {
	letters, err := w.hub.Letters(w.ctx, queue)
	if err != nil {
		w.books.violate("world", "letters of %s: %v", queue, err)
		return
	}
	got, _, err := letters.Scan(w.ctx, "", 100_000)
	if err != nil {
		w.books.violate("world", "scan %s: %v", queue, err)
	}
	for i := range got {
		see(&got[i])
	}
}

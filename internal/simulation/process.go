package simulation

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/internal/host"
	"github.com/redrive-dev/redrive/redrivetest"
)

// process is a simulated process with one worker in it. It is the worker's host.
type process struct {
	world  *world
	name   string
	seat   *seat
	group  string
	client *redrivetest.Broker
	worker Worker
	ctx    context.Context //nolint:containedctx // of its life, until it is asked to stop
	cancel context.CancelFunc

	tasks  []*task
	born   int64
	skew   int64 // of the wall clock
	steps  int
	killAt int
	dead   bool // killed, or ended
	ended  bool // Run has returned
	late   bool // handlers ran, or there were faults, when it was asked to stop

	frozenUntil int64
	frozen      []*task

	held    []*delivery // handed over and not ended
	running []*run
	calls   callMeter
}

var _ host.Host = (*process)(nil)

// Now implements host.Host.
func (p *process) Now() time.Time {
	now := p.world.sched.now
	return instant(p.world.epoch.Add(time.Duration(now+p.skew)), 1+now-p.born)
}

// Start implements host.Host.
func (p *process) Start(f func()) {
	if !p.dead {
		p.world.sched.start(p, f)
	}
}

// Gate implements host.Host.
func (p *process) Gate() host.Gate { return &gate{process: p} }

// Await implements host.Host.
func (p *process) Await(ctx context.Context) {
	for ctx.Err() == nil {
		p.alive()
		p.world.sched.wait(ctx, -1)
	}
}

// Timeout implements host.Host.
func (p *process) Timeout(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancelCause(parent)
	c := &deadline{Context: inner, at: p.Now().Add(d)}
	if p.dead {
		return c, func() { cancel(context.Canceled) }
	}
	call := p.world.sched.call(int64(d), func() { cancel(context.DeadlineExceeded) })
	return c, func() {
		call.f = nil
		cancel(context.Canceled)
	}
}

// ID implements host.Host.
func (p *process) ID() string {
	var b [16]byte
	for i := range b {
		b[i] = byte(p.world.sched.random.Uint32())
	}
	return hex.EncodeToString(b[:])
}

// Stack implements host.Host. The text of a real one holds addresses.
func (p *process) Stack() []byte {
	return []byte("goroutine 1 [running]:\npanic({0x0, 0x0})\n\t/go/panic.go:1\nexample.com/shop.Charge(...)\n\t/shop/charge.go:7\n")
}

// alive unwinds the task of a process that has died.
func (p *process) alive() {
	if p.dead {
		panic(killed{}) //nolint:forbidigo // it unwinds the task of a dead process
	}
}

// kill is the end of the process at this very step. Its tasks are unwound by the
// scheduler.
func (p *process) kill(why string) {
	if p.dead {
		return
	}
	p.dead = true
	w := p.world
	w.books.deaths++
	w.trace.line("kill").p(p).s(why).n("running=", len(p.running)).n("held=", len(p.held)).end()
	w.died(p)
	p.client.Kill()
	w.changed()
}

// reap forgets tasks that have ended.
func (p *process) reap() {
	if len(p.tasks) < 64 {
		return
	}
	kept := p.tasks[:0]
	for _, t := range p.tasks {
		if !t.done {
			kept = append(kept, t)
		}
	}
	clear(p.tasks[len(kept):])
	p.tasks = kept
}

// freeze stops the process for a time, as a garbage collector or a virtual
// machine that moves would: its clocks go on.
func (p *process) freeze(d int64) {
	s := p.world.sched
	p.frozenUntil = s.now + d
	p.world.trace.line("freeze").p(p).d("for", time.Duration(d)).end()
	s.call(d, func() {
		if p.dead || s.now < p.frozenUntil {
			return
		}
		s.runnable = append(s.runnable, p.frozen...)
		p.frozen = nil
		p.world.trace.line("thaw").p(p).end()
	})
}

// deadline is a context with a virtual deadline.
type deadline struct {
	context.Context //nolint:containedctx // it is a context
	at              time.Time
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) { return d.at, true }

// Err implements context.Context.
func (d *deadline) Err() error {
	err := d.Context.Err()
	if err != nil && context.Cause(d.Context) == context.DeadlineExceeded { //nolint:errorlint // it is this very value
		return context.DeadlineExceeded
	}
	return err
}

// gate is a host.Gate.
type gate struct {
	process *process
	open    bool
	waiter  *task
}

// Open implements host.Gate.
func (g *gate) Open() {
	g.open = true
	if g.waiter != nil && !g.process.dead {
		g.process.world.sched.wake(g.waiter)
	}
}

// Wait implements host.Gate.
func (g *gate) Wait(until time.Time) bool {
	p := g.process
	p.alive()
	s := p.world.sched
	at := int64(-1)
	if !until.IsZero() {
		at = s.now + max(0, int64(until.Sub(p.Now())))
	}
	for !g.open && (at < 0 || s.now < at) {
		g.waiter = s.current
		s.wait(p.world.ctx, at)
		g.waiter = nil
	}
	if g.open {
		g.open = false
		return true
	}
	return false
}

// Worker is what the simulation runs: a *redrive.Worker.
type Worker interface {
	Run(ctx context.Context) error
	Snapshot() redrive.Snapshot
}

package simulation

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest"
)

// call is one request of a process to something outside of it, and the place
// where everything goes wrong: each call waits, fails before or after its effect,
// loses its confirmation or hangs, as the plan has it.
type call struct {
	p    *process
	ctx  context.Context //nolint:containedctx // of the call
	lost error           // to return after the effect
}

// enter makes a call up to its effect. An error means that there is none.
func (p *process) enter(ctx context.Context, down []window) (call, error) {
	p.alive()
	w := p.world
	p.calls.count(w, p)
	c := call{p: p, ctx: ctx}
	if err := ctx.Err(); err != nil {
		return c, err
	}
	c.travel()
	if err := ctx.Err(); err != nil {
		return c, err
	}
	if w.healed {
		return c, nil
	}
	if within(down, w.sched.now) {
		return c, fmt.Errorf("connection refused: %w", errInjected)
	}
	roll := w.sched.random.Float64()
	pl := w.plan
	switch {
	case roll < pl.fail:
		return c, errInjected
	case roll < pl.fail+pl.lose:
		c.lost = fmt.Errorf("confirmation lost: %w", broker.ErrUnknown)
	case roll < pl.fail+pl.lose+pl.hang:
		if w.sched.random.IntN(2) == 0 {
			c.lost = fmt.Errorf("no answer: %w", broker.ErrUnknown)
			break
		}
		c.untilEnd()
		return c, fmt.Errorf("no answer: %w: %w", broker.ErrUnknown, context.Cause(ctx))
	}
	return c, nil
}

// leave brings the answer back.
func (c *call) leave() error {
	p := c.p
	p.alive()
	w := p.world
	if c.lost != nil && w.sched.random.IntN(2) == 0 {
		c.untilEnd()
		return c.lost
	}
	c.travel()
	if c.lost != nil {
		return c.lost
	}
	if err := c.ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", broker.ErrUnknown, err)
	}
	return nil
}

// travel takes the time that a request or an answer takes.
func (c *call) travel() {
	w := c.p.world
	d := int64(0)
	if w.plan.latency > 0 {
		d = w.sched.random.Int64N(int64(w.plan.latency))
	}
	if !w.healed && w.plan.slow > 0 && w.sched.random.Float64() < w.plan.slow {
		d = w.sched.random.Int64N(2 * int64(w.plan.settle))
	}
	w.sched.sleep(c.ctx, d)
	c.p.alive()
}

// untilEnd waits until the caller has given up, or the connection is found dead.
func (c *call) untilEnd() {
	c.p.world.sched.sleep(c.ctx, int64(time.Minute))
	c.p.alive()
}

// line is a process's connection to the broker. What looks at queues goes straight
// through: workers do not use it.
type line struct {
	broker.Broker
	p *process
}

func (b *line) Caps(context.Context, string) (broker.Caps, error) {
	b.p.alive()
	c := b.p.world.plan.caps
	c.StableIdentity = b.p.world.plan.identity
	return c, nil
}

func (b *line) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	b.p.alive()
	sub, err := b.p.client.Subscribe(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &subscription{p: b.p, inner: sub}, nil
}

func (b *line) Publish(ctx context.Context, messages []broker.Outbound) []error {
	w := b.p.world
	errs := make([]error, len(messages))
	for i := range messages {
		c, err := b.p.enter(ctx, w.plan.down)
		if err == nil {
			err = w.refuse(broker.KindOf(messages[i].Queue))
		}
		if err == nil {
			if err = b.p.client.Publish(context.WithoutCancel(ctx), messages[i:i+1])[0]; err == nil {
				w.trace.line("publish").p(b.p).s(messages[i].Queue).n("m", idOf(messages[i].Body)).end()
				w.books.published(idOf(messages[i].Body))
				w.changed()
				err = c.leave()
			}
		}
		errs[i] = err
	}
	return errs
}

// refuse is the error of a queue that takes no copies now.
func (w *world) refuse(k broker.QueueKind) error {
	if w.healed {
		return nil
	}
	for _, r := range w.plan.refused {
		if r.kind == k && r.contains(w.sched.now) {
			return r.err
		}
	}
	return nil
}

type subscription struct {
	p     *process
	inner *redrivetest.Subscription
}

func (s *subscription) Receive(ctx context.Context, most int) ([]broker.Delivery, error) {
	w := s.p.world
	c, err := s.p.enter(ctx, w.plan.down)
	if err != nil {
		return nil, err
	}
	for {
		got, err := s.inner.TryReceive(w.now(), most) //nolint:contextcheck // it does not wait
		if err != nil {
			w.trace.line("receive").p(s.p).err(err).end()
			return nil, err
		}
		if len(got) > 0 {
			return s.hand(got, &c)
		}
		until := int64(-1)
		if due, ok := w.hub.NextDue(); ok {
			if until = int64(due.Sub(w.epoch)); until <= w.sched.now {
				until = w.sched.now + int64(time.Second) // of another group, or paused
			}
		}
		w.receivers = append(w.receivers, w.sched.current)
		w.sched.wait(ctx, until)
		s.p.alive()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

func (s *subscription) hand(got []broker.Delivery, c *call) ([]broker.Delivery, error) {
	w := s.p.world
	out := make([]broker.Delivery, len(got))
	for i, inner := range got {
		out[i] = w.books.handed(s.p, inner)
	}
	if err := c.leave(); err != nil {
		if c.ctx.Err() == nil || c.lost != nil {
			return nil, err // they come again after the lease
		}
	}
	if w.plan.shuffle {
		w.sched.random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out, nil
}

func (s *subscription) simple(ctx context.Context, what string, f func(context.Context) error) error {
	w := s.p.world
	c, err := s.p.enter(ctx, w.plan.down)
	if err == nil {
		if err = f(ctx); err == nil {
			w.changed()
			err = c.leave()
		}
	}
	w.trace.line(what).p(s.p).err(err).end()
	return err
}

func (s *subscription) Pause(ctx context.Context) error {
	return s.simple(ctx, "pause", s.inner.Pause)
}

func (s *subscription) Resume(ctx context.Context) error {
	return s.simple(ctx, "resume", s.inner.Resume)
}

func (s *subscription) Drain(ctx context.Context) error {
	return s.simple(ctx, "drain", s.inner.Drain)
}

func (s *subscription) Close(ctx context.Context) error {
	return s.simple(ctx, "close", s.inner.Close)
}

// delivery is a message in the hands of a process.
type delivery struct {
	broker.Delivery
	p       *process
	copy    *copyBook
	id      int
	over    bool // settled, or lost for certain
	runs    int
	tries   int  // of a retry
	alone   bool // marked as started alone
	applied broker.Outcome
	receipt broker.Receipt
}

func (d *delivery) Identity() broker.Incarnation {
	if !d.p.world.plan.identity {
		return broker.Incarnation{}
	}
	return d.Delivery.Identity()
}

func (d *delivery) Extend(ctx context.Context, by time.Duration) error {
	c, err := d.p.enter(ctx, d.p.world.plan.down)
	if err != nil {
		return err
	}
	if err = d.Delivery.Extend(ctx, by); err != nil {
		d.p.world.trace.line("extend").p(d.p).n("m", d.id).err(err).end()
		d.p.world.books.maybeLost(d, err)
		return err
	}
	return c.leave()
}

func (d *delivery) Mark(ctx context.Context, m broker.Mark) error {
	w := d.p.world
	c, err := d.p.enter(ctx, w.plan.down)
	if err == nil {
		if err = d.Delivery.Mark(ctx, m); err == nil {
			w.books.marked(d, m)
			err = c.leave()
		}
	}
	w.trace.line("mark").p(d.p).n("m", d.id).n("alone=", m.StartedAlone).err(err).end()
	w.books.maybeLost(d, err)
	return err
}

func (d *delivery) Settle(ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
	w := d.p.world
	w.books.attempted(d, o)
	receipt, err := d.settle(ctx, o)
	w.trace.line("settle").p(d.p).n("m", d.id).s(describe(o)).err(err).end()
	if err != nil {
		w.books.maybeLost(d, err)
	}
	return receipt, err
}

// SettleAsync settles in a task of its own, which dies with the process, or, as it may,
// before it returns.
func (d *delivery) SettleAsync(ctx context.Context, o broker.Outcome, done func(broker.Receipt, error)) bool {
	w := d.p.world
	switch {
	case w.plan.async == 0 || w.sched.random.IntN(4) >= w.plan.async:
		return false
	case w.sched.random.IntN(8) == 0:
		done(d.Settle(ctx, o))
	default:
		d.p.Start(func() { done(d.Settle(ctx, o)) })
	}
	return true
}

func (d *delivery) settle(ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
	w := d.p.world
	c, err := d.p.enter(ctx, w.plan.down)
	if err != nil {
		return broker.Receipt{}, err
	}
	if d.applied != nil {
		if !reflect.DeepEqual(d.applied, o) {
			return broker.Receipt{}, fmt.Errorf("settled as %T: %w", d.applied, broker.ErrSettled)
		}
		return d.receipt, c.leave()
	}
	if err := d.accept(o); err != nil {
		return broker.Receipt{}, err
	}
	w.sched.current.moving = d
	receipt, err := d.Delivery.Settle(context.WithoutCancel(ctx), onTheWire(o))
	w.sched.current.moving = nil
	if err != nil {
		return broker.Receipt{}, err
	}
	d.applied, d.receipt = o, receipt
	w.books.settled(d, o)
	w.changed()
	if err := c.leave(); err != nil {
		return broker.Receipt{}, err
	}
	return receipt, nil
}

// accept refuses copies that the target does not take now.
func (d *delivery) accept(o broker.Outcome) error {
	w := d.p.world
	var env []byte
	var err error
	switch o := o.(type) {
	case broker.Retry:
		env, err = o.Envelope, w.refuse(broker.KindRetry)
	case broker.Dead:
		env, err = o.Envelope, w.refuse(broker.KindOf(o.Queue))
	default:
		return nil
	}
	if err == nil && !w.healed && within(w.plan.tight, w.sched.now) {
		if size := len(env) + len(d.Msg().Body); size > w.plan.tightLimit {
			err = &broker.TooLargeError{Size: size, Limit: w.plan.tightLimit}
		}
	}
	return err
}

// onTheWire takes away what does not leave a process: the monotonic clock.
func onTheWire(o broker.Outcome) broker.Outcome {
	switch o := o.(type) {
	case broker.Retry:
		o.At = o.At.Round(0)
		return o
	case broker.Release:
		if o.Mark.Pending != nil {
			p := *o.Mark.Pending
			p.At = p.At.Round(0)
			o.Mark.Pending = &p
		}
		return o
	}
	return o
}

func describe(o broker.Outcome) string {
	switch o := o.(type) {
	case broker.Done:
		return "done"
	case broker.Release:
		return "release after=" + o.After.String()
	case broker.Retry:
		return "retry"
	case broker.Dead:
		return o.Queue
	}
	return "?"
}

// between is the moment after a copy was made and before the original is settled,
// on a broker that needs two steps.
func (w *world) between(string) error {
	t := w.sched.current
	d := t.moving
	w.books.copied(d)
	w.changed()
	w.sched.yield()
	d.p.alive()
	if !w.healed && w.sched.random.Float64() < w.plan.fail+w.plan.lose {
		return fmt.Errorf("connection lost after the copy: %w", broker.ErrUnknown)
	}
	return nil
}

// drop takes an element out of a slice, in order.
func drop[T comparable](all []T, one T) []T {
	if i := slices.Index(all, one); i >= 0 {
		return slices.Delete(all, i, i+1)
	}
	return all
}

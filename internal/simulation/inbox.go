package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/idempotency"
)

// inbox is a process's connection to the store of handled keys, which outlives
// every process.
type inbox struct{ p *process }

func (i *inbox) Claim(ctx context.Context, key, group, fingerprint string, lease time.Duration) (idempotency.Result, error) {
	w := i.p.world
	w.sched.current.claimed = w.sched.now
	c, err := i.p.enter(ctx, w.plan.inboxDown)
	if err != nil {
		return idempotency.Result{}, err
	}
	res, err := w.inbox.Claim(ctx, key, group, fingerprint, lease)
	if err == nil {
		w.trace.line("claim").p(i.p).s(res.State.String()).end()
		err = c.leave()
	}
	if err != nil {
		return idempotency.Result{}, fmt.Errorf("claim: %w", err)
	}
	return res, nil
}

func (i *inbox) Complete(ctx context.Context, claim idempotency.Claim) error {
	return i.change(ctx, "complete", func() error { return i.p.world.inbox.Complete(ctx, claim) })
}

func (i *inbox) Release(ctx context.Context, claim idempotency.Claim) error {
	return i.change(ctx, "forget", func() error { return i.p.world.inbox.Release(ctx, claim) })
}

func (i *inbox) change(ctx context.Context, what string, f func() error) error {
	w := i.p.world
	c, err := i.p.enter(ctx, w.plan.inboxDown)
	if err == nil {
		if err = f(); err == nil {
			err = c.leave()
		}
	}
	w.trace.line(what).p(i.p).err(err).end()
	return err
}

// commit makes the effect of a message, in the inbox's transaction if there is
// one.
func (w *world) commit(ctx context.Context, r *run) error {
	p := r.p
	down := []window(nil)
	if w.plan.inbox == inboxInTransaction {
		down = w.plan.inboxDown
	}
	c, err := p.enter(ctx, down)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if w.plan.inbox == inboxInTransaction {
		claim, ok := idempotency.ClaimFrom(ctx)
		if !ok {
			return idempotency.ErrNoClaim
		}
		if err := w.inbox.Complete(ctx, claim); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	w.books.effect(r)
	w.trace.line("effect").p(p).n("m", r.id).end()
	if err := c.leave(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

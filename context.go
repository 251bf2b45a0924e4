package redrive

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/internal/engine"
)

// handlerContext is the context of one run of a handler. It knows its deadline
// without a timer, since the machine watches the time, and carries what the
// library finds in it.
//
// Most handlers never wait for their context, or hand it to a call that is over
// before it is looked at. So the real context, which costs several times as much,
// is made when somebody asks for what only that has: a channel, a value, or a
// child.
type handlerContext struct {
	worker   *Worker
	deadline time.Time

	mu     sync.Mutex
	ended  error           // the cause, nil while the run goes on
	inner  context.Context //nolint:containedctx // it is a context
	cancel context.CancelCauseFunc
}

type workerKey struct{}

// end cancels the context. The first cause stands.
func (c *handlerContext) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return
	}
	c.ended = cause
	if c.cancel != nil {
		c.cancel(cause)
	}
}

// cause is what context.Cause says, without making the real context.
func (c *handlerContext) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// real makes the real context. Everything that ends work ends each run by itself,
// so that nothing needs to be registered with the parent.
func (c *handlerContext) real() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.cancel = context.WithCancelCause(c.worker.values)
		if c.ended != nil {
			c.cancel(c.ended)
		}
	}
	return c.inner
}

// Deadline implements context.Context.
func (c *handlerContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements context.Context.
func (c *handlerContext) Done() <-chan struct{} { return c.real().Done() }

// Err implements context.Context: a handler that ran out of time sees
// context.DeadlineExceeded.
func (c *handlerContext) Err() error {
	switch cause := c.cause(); {
	case cause == nil:
		return nil
	case errors.Is(cause, engine.ErrTimeout):
		return context.DeadlineExceeded
	}
	return context.Canceled
}

// Value implements context.Context. The package context looks for its own kind of
// context by a key of its own: the real one must answer that.
func (c *handlerContext) Value(key any) any {
	if key == (workerKey{}) {
		return c.worker
	}
	return c.real().Value(key)
}

// writes is a context with a time limit that several writes share.
type writes struct {
	ctx   context.Context //nolint:containedctx // it is shared between calls
	until time.Time       // for writes that begin before
}

// writeContext bounds a write to the broker by SettleTimeout. Writes that begin
// within an eighth of it share one context, which then has seven eighths left at
// the least: a message pays for no timer of its own.
func (w *Worker) writeContext(now time.Time) context.Context {
	shared := w.writes.Load()
	if shared == nil || !now.Before(shared.until) {
		// It ends by itself, or with the worker.
		ctx, _ := w.host.Timeout(w.settle.ctx, w.cfg.SettleTimeout)
		shared = &writes{ctx: ctx, until: now.Add(w.cfg.SettleTimeout / 8)}
		w.writes.Store(shared)
	}
	return shared.ctx
}

package redrive

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/internal/engine"
)

// run is one pass of a message through validator, inbox and handler. The next one
// that it made possible is left to the caller.
func (w *Worker) run(it *engine.Item, began time.Time) (next job) {
	f := flightOf(it)
	ctx := &handlerContext{worker: w, deadline: began.Add(w.cfg.Policy.HandlerTimeout)}
	defer ctx.end(context.Canceled)
	f.begin(it.Run(), ctx)
	ended := false
	defer func() {
		if !ended {
			res := w.result(ctx, failure.NewPanic("the handler ended its goroutine", w.host.Stack()))
			if next := w.finished(it, f, &res); next.item != nil {
				w.startRun(next) // This goroutine ends.
			}
		}
	}()
	res := w.attempt(ctx, f)
	ended = true
	return w.finished(it, f, &res)
}

func (w *Worker) finished(it *engine.Item, f *flight, res *engine.Result) (next job) {
	if res.Fact == decision.Failed || res.Fact == decision.DependencyOpen {
		res.Key = w.key(f)
	}
	return w.step(it, true, func(now time.Time, out []engine.Action) []engine.Action {
		return w.machine.Finished(now, it, res, out)
	})
}

// attempt runs the handler, with what stands before and after it.
func (w *Worker) attempt(ctx *handlerContext, f *flight) engine.Result {
	m := w.message(f)
	if w.cfg.Validator != nil {
		if err := w.validate(ctx, m); err != nil {
			return w.result(ctx, err)
		}
	}
	if w.cfg.Inbox == nil {
		return w.result(ctx, w.handle(ctx, m))
	}
	res, err := w.claim(ctx, m.IdempotencyKey, w.digest(f))
	if err != nil {
		if interruption(ctx.cause()) {
			return engine.Result{Fact: decision.Interrupted}
		}
		return engine.Result{Fact: decision.InboxUnreachable, Err: err}
	}
	switch res.State {
	case idempotency.Done:
		return engine.Result{Fact: decision.InboxDone}
	case idempotency.Conflict:
		return engine.Result{Fact: decision.InboxConflict}
	case idempotency.Busy:
		return engine.Result{Fact: decision.InboxBusy, Until: w.leaseEnd(res.BusyUntil)}
	case idempotency.Claimed:
	}
	held := w.holdClaim(f, ctx, res.Claim)
	defer f.letGo(held) // also if the handler ends its goroutine
	herr := w.handle(idempotency.WithClaim(ctx, res.Claim), m)
	f.letGo(held)
	if herr == nil {
		return w.complete(res.Claim)
	}
	w.releaseClaim(res.Claim)
	return w.result(ctx, herr)
}

// leaseEnd is when another claim ends. The store has a clock of its own, and
// where the two differ by hours the message must not wait for hours: no lease is
// longer than ours.
func (w *Worker) leaseEnd(until time.Time) time.Time {
	if latest := w.host.Now().Add(w.cfg.InboxLease); until.After(latest) {
		return latest
	}
	return until
}

func (w *Worker) claim(ctx context.Context, key, digest string) (idempotency.Result, error) {
	ctx, cancel := w.host.Timeout(ctx, w.cfg.SettleTimeout)
	defer cancel()
	return w.cfg.Inbox.Claim(ctx, key, w.scope, digest, w.cfg.InboxLease)
}

// complete records the effect. When the inbox cannot be told, the message must
// not be settled: it comes again, and the claim's lease keeps others away until
// then.
func (w *Worker) complete(c idempotency.Claim) engine.Result {
	ctx, cancel := w.host.Timeout(w.settle.ctx, w.cfg.SettleTimeout)
	defer cancel()
	err := w.cfg.Inbox.Complete(ctx, c)
	if err == nil {
		return engine.Result{Fact: decision.Handled}
	}
	if errors.Is(err, idempotency.ErrFenced) {
		// Somebody else claimed the key after our lease, and answers for it now.
		return engine.Result{Fact: decision.Interrupted}
	}
	return engine.Result{Fact: decision.InboxUnreachable, Err: err}
}

// releaseClaim forgets a claim whose handler failed, so that the next attempt
// does not look like a duplicate. If that fails the lease ends it.
func (w *Worker) releaseClaim(c idempotency.Claim) {
	ctx, cancel := w.host.Timeout(w.settle.ctx, w.cfg.SettleTimeout)
	defer cancel()
	if err := w.cfg.Inbox.Release(ctx, c); err != nil {
		w.cfg.Logger.Warn("release a claim in the inbox; it ends with its lease", slog.String("source", w.cfg.Source), slog.Any("error", err))
	}
}

// handle calls the handler, unless its time is over already, and makes an error
// of a panic.
func (w *Worker) handle(ctx context.Context, m *Message) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = failure.NewPanic(v, w.host.Stack())
		}
	}()
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.handler(ctx, m)
}

func (w *Worker) validate(ctx context.Context, m *Message) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = failure.NewPanic(v, w.host.Stack())
		}
	}()
	if err := w.cfg.Validator.Validate(ctx, m); err != nil {
		if failure.Marked(err) {
			return err
		}
		return failure.AsSchema(err)
	}
	return nil
}

// interruption reports that the worker cancelled a handler for a reason that says
// nothing about the message.
func interruption(cause error) bool {
	return errors.Is(cause, engine.ErrShutdown) || errors.Is(cause, broker.ErrLeaseLost) || errors.Is(cause, idempotency.ErrFenced)
}

// result says what an error of the handler means.
func (w *Worker) result(ctx *handlerContext, err error) engine.Result {
	if err == nil {
		return engine.Result{Fact: decision.Handled}
	}
	if interruption(ctx.cause()) {
		return engine.Result{Fact: decision.Interrupted}
	}
	classified := failure.Classify(err, w.cfg.Rules...)
	fl := &classified
	res := engine.Result{Fact: decision.Failed, Failure: fl}
	if errors.Is(ctx.cause(), engine.ErrTimeout) && !failure.Marked(err) && fl.Category == failure.Transient {
		fl.Timeout, fl.Unclassified, fl.Downstream = true, false, true
		fl.Type = "handler timeout"
	}
	if dep := (*DependencyError)(nil); errors.As(err, &dep) && fl.Category == failure.Transient {
		if res.Dependency, res.Worked = true, dep.worked; !dep.Until.IsZero() {
			res.Fact, res.Until = decision.DependencyOpen, dep.Until
		}
	}
	res.Signature = failure.Signature(failure.SignatureInput{
		Source: w.cfg.Source, Group: w.cfg.Group,
		Category: fl.Category, Type: fl.Type, Message: fl.Message, Frame: fl.Frame,
	})
	return res
}

// message builds what handlers and observers see, once.
func (w *Worker) message(f *flight) *Message {
	w.msgOnce(f)
	return &f.msg
}

func (w *Worker) msgOnce(f *flight) {
	f.once.Do(func() {
		m, e := f.item.Delivery.Msg(), f.item.Env
		f.msg = Message{
			Source: w.cfg.Source, Group: w.cfg.Group,
			ID: m.ID, Key: m.Key, Body: m.Body, Headers: m.Headers, Time: m.Time, ExpiresAt: m.ExpiresAt,
			Attempt: f.item.Attempt(), MaxAttempts: w.cfg.Policy.Retry.Attempts,
			FirstFailure: e.FirstFailure, CorrelationID: e.CorrelationID, IdempotencyKey: w.key(f), Replay: e.Replays,
		}
		if f.msg.ID == "" {
			f.msg.ID = e.ID
		}
		if f.msg.CorrelationID == "" {
			f.msg.CorrelationID = correlation(&f.msg)
		}
	})
}

func correlation(m *Message) string {
	for _, name := range [...]string{"correlation-id", "x-correlation-id"} {
		if v, ok := m.Header(name); ok {
			return string(v)
		}
	}
	return ""
}

// key is the idempotency key: the one that travels, else the one of this
// message.
func (w *Worker) key(f *flight) string {
	if k := f.item.Env.Key; k != "" {
		return k
	}
	if f.msg.IdempotencyKey != "" {
		return f.msg.IdempotencyKey
	}
	m, id := f.item.Delivery.Msg(), f.item.Delivery.Identity()
	k, ok := idempotency.Key(w.cfg.IdempotencyHeader, m, id)
	if w.cfg.Test.Key != nil {
		k, ok = w.cfg.Test.Key(w.cfg.IdempotencyHeader, w.cfg.Group, m, id)
	}
	if !ok {
		k = "r:" + w.host.ID()
	}
	return k
}

func (w *Worker) digest(f *flight) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.digest == "" {
		f.digest = envelope.Digest(f.item.Delivery.Msg().Body)
	}
	return f.digest
}

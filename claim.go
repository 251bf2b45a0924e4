package redrive

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive/idempotency"
)

// heldClaim is the claim in the inbox under which a handler runs. It is extended
// with the leases of the broker, which come often enough, so that a handler that
// returns soon costs nothing.
type heldClaim struct {
	claim    idempotency.Claim
	ctx      *handlerContext
	extended time.Time   // when the newest extension was asked for; of the flight's lock
	over     atomic.Bool // the handler has returned
}

// holdClaim keeps the claim for extensions until the handler returns.
func (w *Worker) holdClaim(f *flight, ctx *handlerContext, c idempotency.Claim) *heldClaim {
	h := &heldClaim{claim: c, ctx: ctx, extended: w.host.Now()}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = h
	return h
}

// letGo ends the extensions.
func (f *flight) letGo(h *heldClaim) {
	h.over.Store(true)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == h {
		f.held = nil
	}
}

// claimToExtend is the claim of the running handler if a third of its lease is
// over. A handler that is stuck loses its claim in the end: it is not extended
// when time and grace are over.
func (w *Worker) claimToExtend(f *flight) *heldClaim {
	now := w.host.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.held
	if h == nil || now.Sub(h.extended) < w.cfg.InboxLease/3 || !now.Before(h.ctx.deadline.Add(w.cfg.Policy.HandlerGrace)) {
		return nil
	}
	h.extended = now
	return h
}

// extendClaim extends a claim, if the inbox can. One that somebody else has by
// now cancels the handler, whose effect must not be committed.
func (w *Worker) extendClaim(h *heldClaim) {
	inbox, ok := w.cfg.Inbox.(idempotency.Extender)
	if !ok {
		return
	}
	ctx, cancel := w.host.Timeout(w.settle.ctx, w.cfg.SettleTimeout)
	defer cancel()
	err := inbox.Extend(ctx, h.claim, w.cfg.InboxLease)
	switch {
	case err == nil, h.over.Load(), errors.Is(err, context.Canceled):
	case errors.Is(err, idempotency.ErrFenced):
		h.ctx.end(idempotency.ErrFenced)
	default:
		w.cfg.Logger.Warn("extend a claim in the inbox", slog.String("source", w.cfg.Source), slog.Any("error", err))
	}
}

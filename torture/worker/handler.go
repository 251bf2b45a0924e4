package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/scenario"
)

var (
	errAway   = errors.New("the downstream is away")
	errScript = errors.New("the script says so")
)

// handler plays the script.
type handler struct {
	scenario scenario.Scenario
	outage   string
	journal  *journal
	effects  *effects // nil if the journal is the effect
}

func (h *handler) handle(ctx context.Context, m *redrive.Message) error {
	id, err := scenario.ID(m.Body, m.Headers)
	r := checker.Record{ID: id, Attempt: attempt(m.Attempt), Key: checker.KeySum(m.IdempotencyKey)}
	if err != nil || scenario.Sum(m.Body, m.Headers) != h.scenario.Digest(id) {
		r.Flags |= checker.Altered
	}
	h.write(r, checker.Started)
	if _, err := os.Stat(h.outage); err == nil {
		r.Flags |= checker.Outage
		h.write(r, checker.Failed)
		return redrive.Transient(errAway)
	}
	return h.play(ctx, r, m.Attempt)
}

func (h *handler) play(ctx context.Context, r checker.Record, attempt int) error {
	script := h.scenario.Script(r.ID)
	timer := time.NewTimer(script.Work)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return h.fail(r, context.Cause(ctx))
	}
	switch script.Outcome {
	case scenario.Succeed, scenario.Slow:
	case scenario.FailFirst:
		if attempt <= script.Fails {
			return h.fail(r, redrive.Transient(fmt.Errorf("attempt %d: %w", attempt, errScript)))
		}
	case scenario.Hopeless:
		return h.fail(r, redrive.Transient(errScript))
	case scenario.Schema:
		return h.fail(r, redrive.Schema(errScript))
	case scenario.Business:
		return h.fail(r, redrive.Business(errScript))
	case scenario.Integration:
		return h.fail(r, redrive.Integration(errScript))
	case scenario.Requested:
		return h.fail(r, redrive.Quarantine(redrive.Business(errScript)))
	case scenario.Panic:
		h.write(r, checker.Failed)
		panic(errScript) //nolint:forbidigo // the script says so
	}
	if h.effects != nil {
		return h.effects.make(ctx, r.ID)
	}
	h.write(r, checker.Effect)
	return nil
}

func (h *handler) fail(r checker.Record, err error) error {
	h.write(r, checker.Failed)
	return err
}

func (h *handler) write(r checker.Record, k checker.Kind) {
	r.Kind = k
	h.journal.write(r)
}

func attempt(n int) uint8 { return uint8(min(max(n, 0), 255)) }

// observer writes down what only the worker knows.
type observer struct{ journal *journal }

// Observe implements redrive.Observer.
func (o observer) Observe(e *redrive.Event) {
	var kind checker.Kind
	switch e.Kind { //nolint:exhaustive // the others are seen at the broker or in the handler
	case redrive.EventSuspect:
		kind = checker.Alone
	case redrive.EventLeaseLost:
		kind = checker.LeaseLost
	default:
		return
	}
	if e.Message == nil {
		return
	}
	if id, err := scenario.ID(e.Message.Body, e.Message.Headers); err == nil {
		o.journal.write(checker.Record{ID: id, Kind: kind})
	}
}

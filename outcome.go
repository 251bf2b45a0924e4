package redrive

import (
	"fmt"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/internal/engine"
	"github.com/redrive-dev/redrive/report"
)

// reportOutcome tells whoever replayed the message what became of it, before the
// message is settled.
func (w *Worker) reportOutcome(a *engine.Action) {
	it := a.Item
	err := w.publishOutcome(a)
	w.step(it, false, func(now time.Time, out []engine.Action) []engine.Action {
		return w.machine.Reported(now, it, err, out)
	})
}

func (w *Worker) publishOutcome(a *engine.Action) error {
	o := w.outcomeOfReplay(a)
	raw, err := report.EncodeOutcome(o)
	if err != nil {
		return err
	}
	ctx, cancel := w.host.Timeout(w.settle.ctx, w.cfg.SettleTimeout)
	defer cancel()
	errs := w.broker.Publish(ctx, []broker.Outbound{{
		Queue: broker.QueueOutcomes, ID: o.ID(), Key: []byte(o.ReplayID), Body: raw,
	}})
	if len(errs) != 1 {
		return fmt.Errorf("report an outcome: the broker gave %d results for one message: %w", len(errs), broker.ErrUnknown)
	}
	if errs[0] != nil {
		return fmt.Errorf("report an outcome: %w", errs[0])
	}
	return nil
}

// outcomeOfReplay is what the verdict means for the replay that the message came
// from.
func (w *Worker) outcomeOfReplay(a *engine.Action) report.Outcome {
	e, v := a.Item.Env, a.Verdict
	o := report.Outcome{
		ReplayID: replayID(e), Replays: e.Replays, Source: w.cfg.Source, Group: w.cfg.Group,
		Key: w.message(flightOf(a.Item)).IdempotencyKey, Worker: w.cfg.Name, At: w.host.Now(),
	}
	switch v.Action { //nolint:exhaustive // only final verdicts are reported
	case decision.Settle:
		o.Verdict = report.Settled
		if v.Duplicate {
			o.Verdict = report.Duplicate
		}
	case decision.DeadLetter:
		o.Verdict, o.Queue = report.DeadLettered, w.names.DeadLetter
		o.Category, o.Reason, o.Signature = v.Category, string(v.Reason), e.Signature
	case decision.Quarantine:
		o.Verdict, o.Queue = report.Quarantined, w.names.Quarantine(v.Category)
		o.Category, o.Reason, o.Signature = v.Category, string(v.Reason), e.Signature
	case decision.Repeat:
		pending := a.Item.Deliveries.Mark.Pending
		o.Verdict, o.Queue = report.DeadLettered, pending.Queue
		if broker.KindOf(pending.Queue) == broker.KindQuarantine {
			o.Verdict = report.Quarantined
		}
		// The note was written by this or another worker; what it cannot tell, the
		// letter will.
		if noted, err := envelope.Decode(pending.Envelope); err == nil {
			o.Category, o.Reason, o.Signature = noted.Category, string(noted.Reason), noted.Signature
		}
	}
	return o
}

// replayID is the publish id of the newest replay. The copy that a replay made
// has it as its own publish id as well.
func replayID(e *envelope.Envelope) string {
	if e.ReplayID == "" && strings.HasPrefix(e.PublishID, "rp:") {
		return e.PublishID
	}
	return e.ReplayID
}

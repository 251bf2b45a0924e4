package app

import (
	"context"
	"log/slog"

	"github.com/redrive-dev/redrive"
)

// eventLog logs what a worker does. It names messages by their ids, and never
// logs a body, a header or the text of a handler's error, which can quote the
// message: they are in the letter.
type eventLog struct {
	log *slog.Logger
	ctx context.Context //nolint:containedctx // the observer's interface has none
}

// Observe implements redrive.Observer.
func (l eventLog) Observe(e *redrive.Event) {
	level, text := eventText(e.Kind)
	if !l.log.Enabled(l.ctx, level) {
		return
	}
	l.log.LogAttrs(l.ctx, level, text, eventAttrs(e)...) //nolint:sloglint // it is one of a fixed list
}

// eventText says how important an event is. What is normal for a message that
// fails is debug; a message that leaves the flow, and what an operator may want
// to act on, is a warning or an error.
func eventText(kind redrive.EventKind) (slog.Level, string) {
	switch kind {
	case redrive.EventHandled:
		return slog.LevelDebug, "handled"
	case redrive.EventFailed:
		return slog.LevelDebug, "handler failed"
	case redrive.EventDuplicate:
		return slog.LevelDebug, "handled before, settled as a duplicate"
	case redrive.EventRetry:
		return slog.LevelDebug, "waits for a retry"
	case redrive.EventReleased:
		return slog.LevelDebug, "given back, no attempt counted"
	case redrive.EventDeadLettered:
		return slog.LevelWarn, "dead-lettered"
	case redrive.EventQuarantined:
		return slog.LevelWarn, "quarantined"
	case redrive.EventBreaker:
		return slog.LevelWarn, "breaker changed its state"
	case redrive.EventSuspect:
		return slog.LevelWarn, "may have killed the process, runs alone"
	case redrive.EventTimeout:
		return slog.LevelWarn, "handler ran out of its time"
	case redrive.EventLeaseLost:
		return slog.LevelWarn, "lease lost, another worker may have the message"
	case redrive.EventReceiveFailed:
		return slog.LevelWarn, "no messages from the broker, trying again"
	case redrive.EventMarkFailed:
		return slog.LevelWarn, "the broker did not store a note, trying again"
	case redrive.EventInboxUnreachable:
		return slog.LevelError, "the inbox does not answer, messages are held"
	case redrive.EventOutcomeFailed:
		return slog.LevelWarn, "the outcome of a replay could not be reported, the message waits"
	case redrive.EventOutcomeLost:
		return slog.LevelError, "the outcome of a replay could not be reported, it is unknown"
	case redrive.EventMoveFailed:
		return slog.LevelError, "a copy could not be written, the message stays where it is"
	case redrive.EventStuck:
		return slog.LevelError, "too many handlers did not return, no more messages are taken"
	}
	return slog.LevelInfo, string(kind)
}

func eventAttrs(e *redrive.Event) []slog.Attr {
	out := make([]slog.Attr, 0, 10)
	out = append(out, slog.String("source", e.Source), slog.String("group", e.Group))
	if m := e.Message; m != nil {
		out = append(out, slog.String("message_id", m.ID), slog.Int("attempt", m.Attempt))
	}
	if e.Row != "" {
		out = append(out, slog.String("rule", string(e.Row)))
	}
	switch {
	case e.Kind == redrive.EventDeadLettered || e.Kind == redrive.EventQuarantined:
		out = append(out, slog.String("category", e.Category.String()), slog.String("reason", e.Reason))
	case e.Failure != nil:
		out = append(out, slog.String("category", e.Failure.Category.String()))
	}
	if e.Failure != nil {
		out = append(out, slog.String("error_type", e.Failure.Type))
	}
	if e.Took > 0 {
		out = append(out, slog.Duration("took", e.Took))
	}
	if e.Delay > 0 {
		out = append(out, slog.Duration("delay", e.Delay))
	}
	if e.Kind == redrive.EventBreaker {
		out = append(out, slog.String("state", e.State.String()))
	}
	if e.Err != nil {
		out = append(out, slog.String("error", e.Err.Error()))
	}
	return out
}

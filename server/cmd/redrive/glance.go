package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/server/app"
	"github.com/redrive-dev/redrive/server/internal/doctor"
)

// glance is a broker as doctor sees it through the port alone.
type glance struct {
	conn   *app.Connection
	server string
}

func newGlance(ctx context.Context, conn *app.Connection) (doctor.Broker, error) {
	// What it can do for a queue that nobody has is what the server tells of itself.
	caps, err := conn.Caps(ctx, "redrive")
	if err != nil {
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	return glance{conn, caps.Server}, nil
}

func (g glance) Server() string { return g.server }

// Inspect tells which queues are missing and what the broker says of the source.
func (g glance) Inspect(ctx context.Context, spec broker.Spec) (doctor.Inspection, error) {
	found := doctor.Inspection{Parts: "queues"}
	queues, err := g.conn.Topology().Queues(ctx)
	if err != nil {
		return found, err
	}
	names := broker.NamesFor(spec.Source, spec.Group)
	wanted := []string{names.Source, names.DeadLetter}
	for _, c := range failure.Categories() {
		wanted = append(wanted, names.Quarantine(c))
	}
	for _, name := range wanted {
		if !slices.ContainsFunc(queues, func(q broker.Queue) bool { return q.Name == name }) {
			found.Missing = append(found.Missing, name)
		}
	}
	caps, err := g.conn.Caps(ctx, spec.Source)
	found.Facts = caps.Notes
	return found, err
}

func (glance) Storage(context.Context) (doctor.Storage, error) {
	return doctor.Storage{}, doctor.ErrNotTold
}

func (glance) Clock(context.Context, func() time.Time) (doctor.Clock, error) {
	return doctor.Clock{}, doctor.ErrNotTold
}

func (g glance) Close(ctx context.Context) error { return g.conn.Close(ctx) }

package main

import (
	"context"
	"errors"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivenats"
	"github.com/redrive-dev/redrive/server/app"
	"github.com/redrive-dev/redrive/server/internal/config"
	"github.com/redrive-dev/redrive/server/internal/disk"
	"github.com/redrive-dev/redrive/server/internal/doctor"
	"github.com/redrive-dev/redrive/server/internal/embednats"
	"github.com/redrive-dev/redrive/server/internal/inbox"
)

// doctorPlatform is how redrive doctor looks at things.
func doctorPlatform() doctor.Platform {
	return doctor.Platform{
		Connect: lookAt, NotRunning: embednats.ErrNotRunning,
		Holder: embednats.Holder, TokenFile: embednats.TokenFile, Inbox: inbox.Check,
		Free: disk.Free, Network: disk.Network, Now: time.Now,
	}
}

func lookAt(ctx context.Context, c config.Config, name string) (doctor.Broker, error) {
	conn, err := app.Look(ctx, c, name)
	if err != nil {
		return nil, err
	}
	if b, ok := conn.Broker.(*redrivenats.Broker); ok {
		return looked{b, conn}, nil
	}
	return newGlance(ctx, conn)
}

// looked is a NATS broker as doctor sees it.
type looked struct {
	*redrivenats.Broker
	conn *app.Connection
}

func (l looked) Server() string { return "nats-server " + l.Broker.Server() + " with JetStream" }

func (l looked) Inspect(ctx context.Context, spec broker.Spec) (doctor.Inspection, error) {
	found, err := l.Broker.Inspect(ctx, spec)
	return doctor.Inspection{Parts: "streams and consumers", Missing: found.Missing, Problems: found.Problems, Notes: found.Notes}, err
}

func (l looked) Storage(ctx context.Context) (doctor.Storage, error) {
	s, err := l.Broker.Storage(ctx)
	return doctor.Storage(s), err
}

func (l looked) Clock(ctx context.Context, now func() time.Time) (doctor.Clock, error) {
	c, err := l.Broker.Clock(ctx, now)
	if errors.Is(err, redrivenats.ErrNoStream) {
		err = doctor.ErrUnknownClock
	}
	return doctor.Clock(c), err
}

func (l looked) Close(ctx context.Context) error { return l.conn.Close(ctx) }

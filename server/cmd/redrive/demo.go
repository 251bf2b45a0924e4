package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivenats"
	"github.com/redrive-dev/redrive/server/internal/demo"
	"github.com/redrive-dev/redrive/server/internal/embednats"
)

// demoPlatform runs the demo on the embedded broker. Its workers are this
// program, started again.
func demoPlatform() demo.Platform {
	p := demo.Platform{StartBroker: startDemoBroker, Connect: connectDemoWorker}
	if program, err := os.Executable(); err == nil {
		p.WorkerCommand = []string{program, "demo-worker"}
	}
	return p
}

func connectDemoWorker(ctx context.Context, a demo.Address) (demo.Connection, error) {
	return redrivenats.Connect(ctx, redrivenats.Config{URL: a.URL, Token: a.Token, Name: "redrive demo worker"})
}

// startDemoBroker starts the embedded broker as it is by default: every message
// is on disk before it is confirmed.
func startDemoBroker(ctx context.Context, dir string) (demo.Server, error) {
	server, err := embednats.Start(ctx, embednats.Config{DataDir: dir})
	if err != nil {
		return nil, err
	}
	d := &demoServer{server: server}
	if err := d.connect(ctx); err != nil {
		return nil, errors.Join(err, d.Shutdown(context.WithoutCancel(ctx)))
	}
	return d, nil
}

// demoServer is the embedded broker with a connection inside this process.
type demoServer struct {
	server *embednats.Server
	nc     *nats.Conn
	broker *redrivenats.Broker
}

func (d *demoServer) connect(ctx context.Context) (err error) {
	if d.nc, err = d.server.Connect(nats.Name("redrive demo")); err != nil {
		return err
	}
	d.broker, err = redrivenats.New(ctx, d.nc, redrivenats.Config{})
	return err
}

func (d *demoServer) Address() demo.Address {
	return demo.Address{URL: d.server.URL(), Token: d.server.Token()}
}

func (d *demoServer) Broker() broker.Broker { return d.broker }

func (d *demoServer) Shutdown(ctx context.Context) error {
	var err error
	if d.broker != nil {
		err = d.broker.Close(ctx)
	}
	if d.nc != nil {
		d.nc.Close()
	}
	if serr := d.server.Shutdown(ctx); serr != nil {
		err = errors.Join(err, fmt.Errorf("stop the embedded broker: %w", serr))
	}
	return err
}

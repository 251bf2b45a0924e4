package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivenats"
	"github.com/redrive-dev/redrive/server/app"
	"github.com/redrive-dev/redrive/server/internal/config"
	"github.com/redrive-dev/redrive/server/internal/demo"
	"github.com/redrive-dev/redrive/server/internal/embednats"
)

// demoBroker is the name of the broker in the configuration that a worker process
// of the demo gets.
const demoBroker = "demo"

// demoPlatform runs the demo on the embedded broker. Its workers are this
// program, started again.
func demoPlatform() demo.Platform {
	p := demo.Platform{StartBroker: startDemoBroker, Connect: connectDemoWorker}
	if program, err := os.Executable(); err == nil {
		p.WorkerCommand = []string{program, "demo-worker"}
	}
	return p
}

// demoPlatformOn runs the demo on a broker that runs elsewhere.
func demoPlatformOn(b config.Broker) demo.Platform {
	p := demoPlatform()
	p.StartBroker = func(ctx context.Context, run demo.RunID) (demo.Server, error) { return openDemoBroker(ctx, b, run) }
	return p
}

// demoConfig is what the processes of a run connect with.
func demoConfig(b config.Broker, dir string) config.Config {
	return config.Config{Version: config.Version, DataDir: config.Path(dir), Brokers: map[string]config.Broker{demoBroker: b}}
}

func connectDemoWorker(ctx context.Context, a demo.Address) (demo.Connection, error) {
	l, err := config.Decode("broker of the demo", a)
	if err != nil {
		return nil, err
	}
	return app.Connect(ctx, l.Config, demoBroker, app.ConnectOptions{})
}

// startDemoBroker starts the embedded broker as it is by default: every message
// is on disk before it is confirmed.
func startDemoBroker(ctx context.Context, run demo.RunID) (demo.Server, error) {
	server, err := embednats.Start(ctx, embednats.Config{DataDir: run.Dir})
	if err != nil {
		return nil, err
	}
	d := &demoServer{server: server}
	if err := d.connect(ctx, run.Dir); err != nil {
		return nil, errors.Join(err, d.Shutdown(context.WithoutCancel(ctx)))
	}
	return d, nil
}

// demoServer is the embedded broker with a connection inside this process.
type demoServer struct {
	server  *embednats.Server
	nc      *nats.Conn
	broker  *redrivenats.Broker
	address demo.Address
}

func (d *demoServer) connect(ctx context.Context, dir string) (err error) {
	d.address, err = demoConfig(config.Broker{
		Type: config.BrokerNATS, URL: d.server.URL(), Token: config.SecretFromValue(d.server.Token()),
	}, dir).Portable()
	if err != nil {
		return err
	}
	if d.nc, err = d.server.Connect(nats.Name("redrive demo")); err != nil {
		return err
	}
	d.broker, err = redrivenats.New(ctx, d.nc, redrivenats.Config{})
	return err
}

func (d *demoServer) Address() demo.Address { return d.address }

func (d *demoServer) Broker() broker.Broker { return d.broker }

func (*demoServer) Source() string { return demo.Source }

// Remove leaves everything: the data directory is the run's own.
func (*demoServer) Remove(context.Context) (string, error) { return "", nil }

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

// openDemoBroker connects to a broker that has other users: everything of the run
// has a name that no other run has.
func openDemoBroker(ctx context.Context, b config.Broker, run demo.RunID) (demo.Server, error) {
	name := "demo-" + run.Name
	switch b.Type {
	case config.BrokerNATS:
		// Streams are shared by the queues of a prefix.
		b.Prefix = "redrive-" + name
	case config.BrokerSQS:
		b.Prefix = name
	}
	d := &demoVisit{source: name + "-orders", prefix: name, config: demoConfig(b, run.Dir)}
	var err error
	if d.address, err = d.config.Portable(); err != nil {
		return nil, err
	}
	d.conn, err = app.Connect(ctx, d.config, demoBroker, app.ConnectOptions{})
	return d, err
}

// demoVisit is a run on a broker that others use too.
type demoVisit struct {
	source, prefix string
	config         config.Config
	address        demo.Address
	conn           *app.Connection
}

func (d *demoVisit) Address() demo.Address { return d.address }

func (d *demoVisit) Broker() broker.Broker { return d.conn }

func (d *demoVisit) Source() string { return d.source }

func (d *demoVisit) Remove(ctx context.Context) (string, error) {
	return app.RemoveQueues(ctx, d.config, demoBroker, d.prefix)
}

func (d *demoVisit) Shutdown(ctx context.Context) error { return d.conn.Close(ctx) }

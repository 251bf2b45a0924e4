package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivenats"
	"github.com/redrive-dev/redrive/server/internal/config"
	"github.com/redrive-dev/redrive/server/internal/embednats"
)

// closeTimeout bounds each step of closing a connection.
const closeTimeout = 30 * time.Second

// ErrNoData is what Connect says of an embedded broker that has never run.
var ErrNoData = errors.New("no embedded broker has run there yet")

// Connection is an open broker. Close it when it is no longer needed.
type Connection struct {
	broker.Broker
	// Name is the name of the broker in the configuration.
	Name string

	// marks are the notes of a broker that cannot keep them itself, nil otherwise.
	marks   *marks
	cleanup cleanup
}

// Close closes the connection and, if the embedded broker was started for it,
// the broker. It is idempotent.
func (c *Connection) Close(ctx context.Context) error { return c.cleanup.run(ctx, closeTimeout) }

// ConnectOptions say how to connect.
type ConnectOptions struct {
	// Create lets an embedded broker that has never run be started. Without,
	// that is ErrNoData, and nothing is written. Default: false.
	Create bool
	// Logger is told what happens. Default: silent.
	Logger *slog.Logger
}

// Connect opens a broker of the configuration. The embedded broker is used where
// it runs; if it runs nowhere, it is started in this process until Close, under
// the exclusive lock of its data directory. Errors are a *BrokerError.
func Connect(ctx context.Context, c Config, name string, o ConnectOptions) (*Connection, error) {
	c = c.WithDefaults()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b, ok := c.Brokers[name]
	if !ok {
		return nil, &BrokerError{
			Broker: name, Err: errors.New("there is no broker of this name in the configuration"),
			Remedy: "use one of: " + strings.Join(slices.Sorted(maps.Keys(c.Brokers)), ", "),
		}
	}
	if b.Type != config.BrokerEmbedded {
		return connectRemote(ctx, c, name, o.Logger)
	}
	conn, err := attach(ctx, name, string(c.DataDir))
	if err == nil {
		return conn, nil
	}
	if _, statErr := os.Stat(filepath.Join(string(c.DataDir), "nats")); errors.Is(statErr, os.ErrNotExist) && !o.Create {
		return nil, &BrokerError{
			Broker: name, Err: fmt.Errorf("data directory %s: %w", c.DataDir, ErrNoData),
			Remedy: "start it with redrive up, or name the right folder with --data-dir",
		}
	}
	conn, startErr := startEmbedded(ctx, name, c, o.Logger)
	if locked := (*embednats.LockedError)(nil); errors.As(startErr, &locked) {
		// Somebody runs it, so the trouble is in reaching it.
		return nil, errors.Join(err, startErr)
	}
	return conn, startErr
}

// open opens a broker for the app itself.
func open(ctx context.Context, c Config, name string, embedded bool, log *slog.Logger) (*Connection, error) {
	switch b := c.Brokers[name]; {
	case b.Type != config.BrokerEmbedded:
		return connectRemote(ctx, c, name, log)
	case embedded:
		return startEmbedded(ctx, name, c, log)
	}
	return attach(ctx, name, string(c.DataDir))
}

// startEmbedded runs the embedded broker in this process.
func startEmbedded(ctx context.Context, name string, c Config, log *slog.Logger) (*Connection, error) {
	b := c.Brokers[name]
	conn := &Connection{Name: name}
	fail := func(err error, remedy string) (*Connection, error) {
		err = errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
		return nil, &BrokerError{Broker: name, Err: err, Remedy: remedy}
	}
	server, err := embednats.Start(ctx, embednats.Config{
		DataDir: string(c.DataDir), Sync: b.Sync, MaxStore: int64(b.MaxStore),
		Logger: log.With(slog.String("broker", name)),
	})
	if locked := (*embednats.LockedError)(nil); errors.As(err, &locked) {
		return fail(err, "stop that process, use redrive run to work with its broker, or name another folder with --data-dir")
	}
	if err != nil {
		return fail(err, fmt.Sprintf("look at what is in the data directory %s and whether it can be written to", c.DataDir))
	}
	conn.cleanup.push("stop the embedded broker", server.Shutdown)
	nc, err := server.Connect(nats.Name("redrive"), nats.MaxReconnects(-1))
	if err != nil {
		return fail(err, "")
	}
	return finish(ctx, conn, nc, fail)
}

// attach connects to the embedded broker of a data directory that another process
// runs.
func attach(ctx context.Context, name, dataDir string) (*Connection, error) {
	conn := &Connection{Name: name}
	remedy := fmt.Sprintf("start it with redrive up --data-dir %s, and let that run", dataDir)
	fail := func(err error, _ string) (*Connection, error) {
		err = errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
		return nil, &BrokerError{Broker: name, Err: err, Remedy: remedy}
	}
	found, err := embednats.Discover(dataDir)
	if err != nil {
		return fail(err, remedy)
	}
	nc, err := nats.Connect(found.URL,
		nats.Name("redrive"), nats.Token(found.Token), nats.Timeout(5*time.Second),
		nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.SetCustomDialer(discoverDialer{dataDir}))
	if err != nil {
		return fail(fmt.Errorf("the embedded broker of data directory %s does not answer at %s: %w", dataDir, found.URL, err), remedy)
	}
	return finish(ctx, conn, nc, fail)
}

// finish makes a broker of a NATS connection that the Connection closes.
func finish(ctx context.Context, conn *Connection, nc *nats.Conn, fail func(error, string) (*Connection, error)) (*Connection, error) {
	conn.cleanup.push("close the connection", func(context.Context) error { nc.Close(); return nil })
	b, err := redrivenats.New(ctx, nc, redrivenats.Config{})
	if err != nil {
		return fail(err, "")
	}
	conn.cleanup.push("close the broker", b.Close)
	conn.Broker = b
	return conn, nil
}

// discoverDialer dials the embedded broker where it is now: it listens on another
// port each time it starts.
type discoverDialer struct{ dataDir string }

// Dial implements nats.CustomDialer. The address is where the broker was.
func (d discoverDialer) Dial(network, _ string) (net.Conn, error) {
	found, err := embednats.Discover(d.dataDir)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(found.URL)
	if err != nil {
		return nil, fmt.Errorf("the file with the broker's address: %w", err)
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return dialer.Dial(network, u.Host)
}

// embeddedBroker returns the name of the embedded broker of a configuration that
// has its defaults.
func embeddedBroker(c Config) (string, bool) {
	for name, b := range c.Brokers {
		if b.Type == config.BrokerEmbedded {
			return name, true
		}
	}
	return "", false
}

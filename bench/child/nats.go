package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Variable is the variable of the environment that makes this program a child. Its
// value says which one.
const Variable = "REDRIVE_BENCH_CHILD"

// RoleNATS is the value of Variable for a NATS server.
const RoleNATS = "nats"

const variableNATS = "REDRIVE_BENCH_NATS"

// NATSConfig says how a NATS server runs.
type NATSConfig struct {
	// Dir is where it stores.
	Dir string `json:"dir"`
	// Always makes it sync each write before it confirms, the setting
	// sync_interval: always. Else it syncs every two minutes, its default.
	Always bool `json:"always"`
}

// NATS is a running server.
type NATS struct {
	// URL is where it listens.
	URL    string
	config NATSConfig
	p      *Process
}

const patience = 30 * time.Second

// StartNATS starts this program again as a NATS server with JetStream on a free
// port of the loopback address.
func StartNATS(ctx context.Context, config NATSConfig) (*NATS, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start a nats server: %w", err)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("start a nats server: %w", err)
	}
	p, err := Start(ctx, Command{Program: program, Env: []string{Variable + "=" + RoleNATS, variableNATS + "=" + string(raw)}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	url, err := p.Line(ctx)
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("start a nats server: %w", err)
	}
	return &NATS{URL: url, config: config, p: p}, nil
}

// PID is the server's process id.
func (n *NATS) PID() int { return n.p.PID() }

// Connect connects as every subject does. The caller closes the connection.
func (n *NATS) Connect() (*nats.Conn, error) {
	nc, err := nats.Connect(n.URL, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1))
	if err != nil {
		return nil, fmt.Errorf("connect to the nats server: %w", err)
	}
	return nc, nil
}

// Stop ends the server in order.
func (n *NATS) Stop() error { return n.p.Stop(patience) }

// Restart stops the server, brings what it stored to disk and starts it with
// another sync setting on the same data.
func (n *NATS) Restart(ctx context.Context, always bool) (*NATS, error) {
	if err := n.Stop(); err != nil {
		return nil, err
	}
	if err := syncAll(n.config.Dir); err != nil {
		return nil, err
	}
	n.config.Always = always
	return StartNATS(ctx, n.config)
}

// syncAll writes every file below a folder to disk, so that the first sync of
// the next server pays for its own data alone.
func syncAll(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // in our own folder
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// ServeNATS is the child's side of StartNATS. It ends with standard input or the
// context, and returns the exit code.
func ServeNATS(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) int {
	if err := serveNATS(ctx, stdin, stdout); err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func serveNATS(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	var config NATSConfig
	if err := json.Unmarshal([]byte(os.Getenv(variableNATS)), &config); err != nil {
		return fmt.Errorf("nats server: %s: %w", variableNATS, err)
	}
	options := &server.Options{
		ServerName: "bench", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: config.Dir, SyncAlways: config.Always, SyncInterval: 2 * time.Minute,
	}
	s, err := server.NewServer(options)
	if err != nil {
		return fmt.Errorf("nats server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) || !s.JetStreamEnabled() {
		return errors.New("nats server: it did not start")
	}
	if _, err := fmt.Fprintln(stdout, s.ClientURL()); err != nil {
		return fmt.Errorf("nats server: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, stdin) // Its end is all that it says.
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

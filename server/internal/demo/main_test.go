package demo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivenats"
	"github.com/redrive-dev/redrive/server/internal/demo"
	"github.com/redrive-dev/redrive/server/internal/embednats"
)

// asWorker makes the test binary the worker process of a run.
const asWorker = "REDRIVE_DEMO_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		if err := demo.Work(context.Background(), os.Stdin, os.Stdout, platform()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func platform() demo.Platform {
	return demo.Platform{
		WorkerCommand: []string{os.Args[0]},
		WorkerEnviron: []string{asWorker + "=1"},
		StartBroker: func(ctx context.Context, run demo.RunID) (demo.Server, error) {
			// Nothing here fails with the machine, so the tests need not wait for a disk.
			s, err := embednats.Start(ctx, embednats.Config{DataDir: run.Dir, Sync: embednats.SyncDefault})
			if err != nil {
				return nil, err
			}
			b, err := redrivenats.Connect(ctx, redrivenats.Config{URL: s.URL(), Token: s.Token()})
			if err != nil {
				return nil, err
			}
			return testServer{s, b}, nil
		},
		Connect: func(ctx context.Context, a demo.Address) (demo.Connection, error) {
			var c redrivenats.Config
			if err := json.Unmarshal(a, &c); err != nil {
				return nil, err
			}
			return redrivenats.Connect(ctx, c)
		},
	}
}

type testServer struct {
	*embednats.Server
	broker *redrivenats.Broker
}

func (s testServer) Address() demo.Address {
	return fmt.Appendf(nil, `{"URL": %q, "Token": %q}`, s.URL(), s.Token())
}

func (testServer) Source() string { return demo.Source }

func (testServer) Remove(context.Context) (string, error) { return "", nil }

func (s testServer) Broker() broker.Broker { return s.broker }

func (s testServer) Shutdown(ctx context.Context) error {
	err := s.broker.Close(ctx)
	if serr := s.Server.Shutdown(ctx); err == nil {
		err = serr
	}
	return err
}

package realinput_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/redrivenats"
	"github.com/redrive-dev/redrive/retry"
	"github.com/redrive-dev/redrive/server/internal/embednats"
	"github.com/redrive-dev/redrive/server/internal/httphandler"
	"github.com/redrive-dev/redrive/server/internal/schema"
)

const (
	childVariable = "REDRIVE_REALINPUT_CHILD"

	source = "github-events"
	group  = "shop"
	// lease is short, because what a killed worker had comes back after it.
	lease = 2 * time.Second
)

// role is what a process that runs this test binary again is to be.
type role struct {
	Name     string // "broker" or "worker"
	Data     string // the broker's folder
	Endpoint string
	Schema   string // a file
	Life     int    // counts the workers
}

func TestMain(m *testing.M) {
	text := os.Getenv(childVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	if err := play(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// play is the main function of a child. It ends when standard input does, which
// is also what happens when the test process dies.
func play(text string) error {
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	switch r.Name {
	case "broker":
		return beBroker(ctx, r)
	case "worker":
		return beWorker(ctx, r)
	}
	return fmt.Errorf("no role is called %q", r.Name)
}

func beBroker(ctx context.Context, r role) error {
	s, err := embednats.Start(ctx, embednats.Config{DataDir: r.Data})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return s.Shutdown(stop)
}

// beWorker is what a worker of the product is made of.
func beWorker(ctx context.Context, r role) error {
	found, err := embednats.Discover(r.Data)
	if err != nil {
		return err
	}
	b, err := redrivenats.Connect(ctx, redrivenats.Config{URL: found.URL, Token: found.Token})
	if err != nil {
		return err
	}
	validator, err := schema.Load(r.Schema)
	if err != nil {
		return err
	}
	client, err := httphandler.New(httphandler.Config{
		URL:      r.Endpoint,
		Headers:  map[string]string{headerLife: strconv.Itoa(r.Life)},
		Statuses: map[string]string{"403": "business"},
	})
	if err != nil {
		return err
	}
	handle := func(ctx context.Context, m *redrive.Message) error {
		return client.Handle(ctx, httphandler.Request{
			Body: m.Body, Headers: m.Headers, Attempt: m.Attempt, MaxAttempts: m.MaxAttempts, FirstFailure: m.FirstFailure,
			CorrelationID: m.CorrelationID, IdempotencyKey: m.IdempotencyKey, MessageID: m.ID,
		})
	}
	w, err := redrive.NewWorker(b, handle, redrive.Config{
		Source: source, Group: group, Name: "life " + strconv.Itoa(r.Life), Lease: lease, Concurrency: 8, MaxInFlight: 16,
		Policy:    policy(),
		Validator: bySchema{validator},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	err = w.Run(ctx)
	client.Close()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, b.Close(stop))
}

// policy is the default one, with shorter waits: the test has seconds.
func policy() redrive.Policy {
	return redrive.Policy{
		Retry: retry.Policy{Attempts: attempts, Strategy: retry.Strategy{Base: 20 * time.Millisecond, Max: 400 * time.Millisecond}},
		// A message that is out of attempts while a probe runs is due when that probe
		// is given up, so this wait is shorter too.
		Breaker: breaker.Config{Recovery: 100 * time.Millisecond, RecoveryMax: 500 * time.Millisecond, ProbeTimeout: 5 * time.Second},
	}
}

type bySchema struct{ *schema.Validator }

func (v bySchema) Validate(ctx context.Context, m *redrive.Message) error {
	contentType, _ := m.Header("Content-Type")
	return v.Validator.Validate(ctx, m.Body, string(contentType))
}

// child is a running child process.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Scanner
	// ended is closed after err is set.
	ended chan struct{}
	err   error
}

// spawn starts this test binary again in a role.
func spawn(r role) (*child, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(os.Args[0]), ended: make(chan struct{})} //nolint:noctx // it is killed at moments of its own, or told to end
	c.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	c.cmd.Stderr = os.Stderr
	dieWithParent(c.cmd)
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	return c, nil
}

// watch waits for the end. It is called once, when nothing more is read.
func (c *child) watch() {
	go func() {
		c.err = c.cmd.Wait()
		close(c.ended)
	}()
}

// stop asks the child to end, and kills it if it does not.
func (c *child) stop(ctx context.Context) error {
	_ = c.stdin.Close()
	select {
	case <-c.ended:
		return c.err
	case <-ctx.Done():
		_ = c.cmd.Process.Kill()
		<-c.ended
		return fmt.Errorf("the process had to be killed: %w", context.Cause(ctx))
	}
}

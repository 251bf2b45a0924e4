package inprocess

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/bench/child"
	"github.com/redrive-dev/redrive/bench/rounds"
	"github.com/redrive-dev/redrive/broker"
)

// RoleInFlight is the value of child.Variable for a process whose handlers are
// all busy.
const RoleInFlight = "inflight"

const (
	inFlight     = 4096
	inFlightName = "4,096 handlers running"
	idleName     = "no worker"
	inFlightNone = "inflight-none"
	inFlightWait = 30 * time.Second
)

// distinct is a stub whose messages are objects of their own, as those of a real
// broker are.
type distinct struct{ stub }

func (b *distinct) Open(context.Context, broker.Spec) (broker.Subscription, error) {
	return &distinctSubscription{stubSubscription{left: b.total}}, nil
}

type distinctSubscription struct{ stubSubscription }

func (s *distinctSubscription) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	out, err := s.stubSubscription.Receive(ctx, limit)
	for i := range out {
		out[i] = &stubDelivery{msg: broker.Message{ID: fmt.Sprint("pub:", s.left, "/", i), Body: make([]byte, bodySize), Time: time.Now()}}
	}
	return out, err
}

// ServeInFlight is the child's side: it fills a worker with handlers that do not
// return, says so, and waits until its parent has looked.
func ServeInFlight(ctx context.Context, role string, stdin io.Reader, stdout, stderr io.Writer) int {
	if err := serveInFlight(ctx, role, stdin, stdout); err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func serveInFlight(ctx context.Context, role string, stdin io.Reader, stdout io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	full, end := make(chan struct{}), make(chan struct{})
	failed := make(chan error, 1)
	if role == RoleInFlight {
		var running atomic.Int64
		w, err := redrive.NewWorker(&distinct{stub{total: inFlight}}, func(context.Context, *redrive.Message) error {
			if running.Add(1) == inFlight {
				close(full)
			}
			<-end
			return nil
		}, redrive.Config{Source: "orders", Concurrency: inFlight, MaxInFlight: inFlight})
		if err != nil {
			return err
		}
		go func() { failed <- w.Run(ctx) }()
	} else {
		close(full)
	}
	select {
	case <-full:
	case err := <-failed:
		return fmt.Errorf("the worker ended: %w", err)
	}
	if _, err := fmt.Fprintln(stdout, "full"); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, stdin) // Its end is all that it says.
	close(end)
	cancel()
	if role != RoleInFlight {
		return nil
	}
	return <-failed
}

// memory starts such a process and looks at its memory.
func memory(role string) func(context.Context) (rounds.Sample, error) {
	return func(ctx context.Context) (_ rounds.Sample, err error) {
		program, err := os.Executable()
		if err != nil {
			return nil, err
		}
		p, err := child.Start(ctx, child.Command{Program: program, Env: []string{child.Variable + "=" + role}})
		if err != nil {
			return nil, err
		}
		defer func() {
			if serr := p.Stop(inFlightWait); err == nil {
				err = serr
			}
		}()
		ctx, cancel := context.WithTimeout(ctx, inFlightWait)
		defer cancel()
		if _, err := p.Line(ctx); err != nil {
			return nil, err
		}
		_, peak, err := child.Memory(p.PID())
		if err != nil {
			return nil, err
		}
		return rounds.Sample{rounds.Mebibytes: peak}, nil
	}
}

package brokers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/bench/rounds"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/servertest"
)

// system is one kind of broker.
type system struct {
	// id is the beginning of its experiments' names, and name what people call it.
	id, name string
	kind     servertest.Kind
	// loop describes the raw loop.
	loop string
	// delays is what is to be known about how retries wait.
	delays string
	sizes  sizes
	// ratio is the least part of the raw loop's rate, and late the most a retry may be
	// late.
	ratio float64
	late  time.Duration
	// arrival is how often a message arrives while waits are measured: slowly enough that
	// the server has nothing to catch up with.
	arrival time.Duration
	// connect makes redrive's adapter.
	connect func(ctx context.Context, url string) (adapter, error)
	// drain settles messages, or moves them to the dead-letter queue, with the client
	// library alone, until the context ends.
	drain func(ctx context.Context, url, queue string, dead bool, t *tally) error

	mu       sync.Mutex
	instance *servertest.Instance
	err      error
}

// adapter is a broker that can be closed.
type adapter interface {
	broker.Broker
	Close(ctx context.Context) error
}

// sizes are the numbers of messages.
type sizes struct{ healthy, dead, latency, late int }

// url starts the server, once for all experiments, and returns where it is.
func (s *system) url(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance == nil && s.err == nil {
		s.instance, s.err = servertest.NewInstance(s.kind, servertest.Options{})
		if s.err == nil {
			s.err = s.instance.Start(ctx)
		}
		if s.err != nil {
			s.instance, s.err = nil, fmt.Errorf("%w: %s: %w", rounds.ErrUnavailable, s.kind, s.err)
		}
	}
	if s.err != nil {
		return "", s.err
	}
	return s.instance.URL, nil
}

func (s *system) stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance == nil {
		return nil
	}
	err := s.instance.Stop(ctx)
	s.instance = nil
	return err
}

// Stop ends the servers that experiments have started.
func (s Systems) Stop(ctx context.Context) error {
	var errs []error
	for _, one := range s {
		errs = append(errs, one.stop(ctx))
	}
	return errors.Join(errs...)
}

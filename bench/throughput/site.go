package throughput

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/bench/child"
	"github.com/redrive-dev/redrive/bench/rounds"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivenats"
)

const (
	queue = "orders"
	// handlers run at once, and window messages are unsettled at most.
	handlers = 64
	window   = 256
	lease    = 30 * time.Second
)

// streams are where the messages of a contender lie.
type streams struct{ source, retry, letters string }

// site is a server of its own for one measurement, with an empty folder.
type site struct {
	dir    string
	server *child.NATS
	nc     *nats.Conn
	js     jetstream.JetStream
	at     streams
}

// contender is something that consumes.
type contender struct {
	name string
	// prepare makes the streams and says where they are.
	prepare func(ctx context.Context, s *site) (streams, error)
	// header is on every message that is published.
	header nats.Header
	// consume handles messages until the context ends.
	consume func(ctx context.Context, s *site, handle func(body []byte) error, l load) error
}

// open starts a server and makes the streams of a contender.
func open(ctx context.Context, c contender) (*site, error) {
	dir, err := os.MkdirTemp("", "redrive-bench-")
	if err != nil {
		return nil, err
	}
	s := &site{dir: dir}
	if s.server, err = child.StartNATS(ctx, child.NATSConfig{Dir: dir}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.connect(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.at, err = c.prepare(ctx, s); err != nil {
		return nil, errors.Join(fmt.Errorf("make the streams: %w", err), s.close())
	}
	return s, nil
}

func (s *site) connect() (err error) {
	if s.nc, err = s.server.Connect(); err != nil {
		return err
	}
	s.js, err = jetstream.New(s.nc)
	return err
}

// always restarts the server so that it syncs every write before it confirms. What
// is there was stored quickly before.
func (s *site) always(ctx context.Context) error {
	s.nc.Close()
	server, err := s.server.Restart(ctx, true)
	if err != nil {
		return err
	}
	s.server = server
	return s.connect()
}

func (s *site) close() error {
	if s.nc != nil {
		s.nc.Close()
	}
	return errors.Join(s.server.Stop(), os.RemoveAll(s.dir))
}

// waiting returns the number of messages in the source and the retry stream, and
// that of the letters.
func (s *site) waiting(ctx context.Context) (waiting, letters uint64, err error) {
	for _, name := range []string{s.at.source, s.at.retry, s.at.letters} {
		if name == "" {
			continue
		}
		stream, err := s.js.Stream(ctx, name)
		if err != nil {
			return 0, 0, fmt.Errorf("stream %s: %w", name, err)
		}
		n := stream.CachedInfo().State.Msgs
		if name == s.at.letters {
			letters = n
		} else {
			waiting += n
		}
	}
	return waiting, letters, nil
}

// longest is the longest time that a measurement may take.
const longest = 2 * time.Minute

// drain measures how fast a contender brings a load to its end: from the start of
// the first handler until no message is left in the source or waits for a retry,
// and every failing one is a dead letter.
func drain(c contender, l load, always bool) func(context.Context) (rounds.Sample, error) {
	return func(ctx context.Context) (_ rounds.Sample, err error) {
		ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("not finished within %v", longest))
		defer cancel()
		s, err := open(ctx, c)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		if err := fill(ctx, s.nc, queue, c.header, l); err != nil {
			return nil, err
		}
		if always {
			if err := s.always(ctx); err != nil {
				return nil, err
			}
		}
		client, server := s.used()
		took, err := s.consume(ctx, c, l)
		if err != nil {
			return nil, err
		}
		sample := rounds.Sample{rounds.Rate: float64(l.total) / took.Seconds()}
		clientAfter, serverAfter := s.used()
		each := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / float64(l.total) }
		if clientAfter > client && serverAfter > server {
			sample[rounds.ClientCPU], sample[rounds.ServerCPU] = each(clientAfter-client), each(serverAfter-server)
		}
		return sample, nil
	}
}

// used is the processor time of this process and of the server, zero where the
// system does not tell.
func (s *site) used() (client, server time.Duration) {
	client, err1 := child.ProcessorTime(os.Getpid())
	server, err2 := child.ProcessorTime(s.server.PID())
	if err1 != nil || err2 != nil {
		return 0, 0
	}
	return client, server
}

func (s *site) consume(ctx context.Context, c contender, l load) (took time.Duration, err error) {
	run, stop := context.WithCancel(ctx)
	defer stop()
	t := newTally(l)
	ended := make(chan error, 1)
	go func() { ended <- c.consume(run, s, t.handle, l) }()
	select {
	case <-t.reached:
	case err := <-ended:
		return 0, fmt.Errorf("it ended early: %w", errors.Join(err, context.Cause(ctx)))
	case <-ctx.Done():
		waiting, letters, err := s.waiting(context.WithoutCancel(ctx))
		return 0, errors.Join(fmt.Errorf("%w: %d of %d runs, %d messages wait, %d of %d letters",
			context.Cause(ctx), t.runs.Load(), t.want, waiting, letters, l.failing), err)
	}
	if err := s.awaitEnd(ctx, l); err != nil {
		return 0, err
	}
	took = time.Since(t.first)
	stop()
	if err := <-ended; err != nil {
		return 0, fmt.Errorf("stop: %w", err)
	}
	return took, nil
}

// awaitEnd waits until all is settled.
func (s *site) awaitEnd(ctx context.Context, l load) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		waiting, letters, err := s.waiting(ctx)
		switch {
		case err != nil:
			return err
		case letters > uint64(l.failing):
			return fmt.Errorf("%d letters of %d failing messages", letters, l.failing)
		case waiting == 0 && letters == uint64(l.failing):
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: all handlers ran; %d messages wait, %d of %d letters", context.Cause(ctx), waiting, letters, l.failing)
		}
	}
}

// prepareRedrive makes the streams and consumers that redrive makes.
func prepareRedrive(ctx context.Context, s *site) (streams, error) {
	adapter, err := redrivenats.New(ctx, s.nc, redrivenats.Config{})
	if err != nil {
		return streams{}, err
	}
	err = adapter.Topology().Ensure(ctx, broker.Spec{Source: queue, Lease: lease, MaxInFlight: window})
	return streams{source: "redrive_src_" + queue, retry: "redrive_retry", letters: "redrive_dlq"}, errors.Join(err, adapter.Close(ctx))
}

package throughput

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/bench/rounds"
)

// arrival is how often a message arrives while latencies are measured.
const arrival = 2 * time.Millisecond

// stopwatch collects how long healthy messages waited for their handler.
type stopwatch struct {
	load load
	// skip is the number of messages at the beginning that do not count.
	skip int

	mu     sync.Mutex
	waits  []time.Duration
	seen   map[int]bool
	all    chan struct{}
	wanted int
}

func newStopwatch(l load, skip int) *stopwatch {
	return &stopwatch{load: l, skip: skip, seen: map[int]bool{}, all: make(chan struct{}), wanted: l.total - l.failing}
}

func (w *stopwatch) handle(b []byte) error {
	now := time.Now()
	i, err := number(b)
	if err != nil {
		return err
	}
	if w.load.fails(i) {
		return errFailing
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[i] {
		return nil
	}
	w.seen[i] = true
	if i >= w.skip {
		w.waits = append(w.waits, now.Sub(stamp(b)))
	}
	if len(w.seen) == w.wanted {
		close(w.all)
	}
	return nil
}

// percentile is the smallest value that a share of the values does not exceed.
func percentile(values []time.Duration, share float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(int(math.Ceil(share*float64(len(sorted)))), 1)-1]
}

// wait measures how long healthy messages wait between the moment at which they
// should be published and their handler, while they arrive at a steady rate.
func wait(c contender, l load) func(context.Context) (rounds.Sample, error) {
	return func(ctx context.Context) (_ rounds.Sample, err error) {
		ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("not finished within %v", longest))
		defer cancel()
		s, err := open(ctx, c)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		w := newStopwatch(l, l.total/5)
		run, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- c.consume(run, s, w.handle, l) }()
		if err := s.arrive(ctx, c, l); err != nil {
			return nil, err
		}
		select {
		case <-w.all:
		case err := <-ended:
			return nil, fmt.Errorf("it ended early: %w", errors.Join(err, context.Cause(ctx)))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		// A Watermill subscriber that is stopped while it has a message panics.
		if err := s.awaitEnd(ctx, l); err != nil {
			return nil, err
		}
		stop()
		if err := <-ended; err != nil {
			return nil, fmt.Errorf("stop: %w", err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		return rounds.Sample{
			rounds.P50: milliseconds(percentile(w.waits, 0.5)), rounds.P99: milliseconds(percentile(w.waits, 0.99)),
		}, nil
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// arrive publishes at a steady rate. Each message carries the moment at which it
// was due, so that a publisher that is held up does not hide what it waited for.
func (s *site) arrive(ctx context.Context, c contender, l load) error {
	publishing, err := s.server.Connect()
	if err != nil {
		return err
	}
	defer publishing.Close()
	js, err := jetstream.New(publishing, jetstream.WithPublishAsyncMaxPending(publishWindow))
	if err != nil {
		return err
	}
	filler := noise()
	tick := time.NewTicker(arrival)
	defer tick.Stop()
	start := time.Now()
	for i := 0; i < l.total; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for ; i < l.total && time.Since(start) >= time.Duration(i)*arrival; i++ {
			m := &nats.Msg{Subject: queue, Data: body(i, start.Add(time.Duration(i)*arrival), filler), Header: c.header}
			if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

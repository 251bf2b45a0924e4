package brokers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive/bench/rounds"
	"github.com/redrive-dev/redrive/broker"
)

const (
	// handlers run at once, and window messages are unsettled at most.
	handlers = 64
	window   = 256
	lease    = 30 * time.Second
	// bodySize is the size of each message.
	bodySize = 1024
	// longest is the longest time that a measurement may take.
	longest = 3 * time.Minute
)

// errUnfinished says that a measurement took too long.
var errUnfinished = fmt.Errorf("not finished within %v", longest)

// quiet forgets an error that comes of the context's end.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errUnfinished) {
		return nil
	}
	return err
}

// body makes the body of a message: its number and a time, as text.
func body(i int, at time.Time) []byte {
	head := fmt.Sprintf("%d %d ", i, at.UnixNano())
	return []byte(head + strings.Repeat("x", bodySize-len(head)))
}

// read is the inverse of body.
func read(b []byte) (number int, at time.Time, err error) {
	parts := strings.SplitN(string(b[:min(len(b), 64)]), " ", 3)
	if len(parts) != 3 {
		return 0, at, fmt.Errorf("a body of %d bytes is none of ours", len(b))
	}
	number, err = strconv.Atoi(parts[0])
	nanos, err2 := strconv.ParseInt(parts[1], 10, 64)
	return number, time.Unix(0, nanos), errors.Join(err, err2)
}

// tally counts the messages that were settled, confirmed.
type tally struct {
	want    int64
	settled atomic.Int64
	begin   sync.Once
	first   time.Time
	reached chan struct{}
	last    time.Time
}

func newTally(want int) *tally { return &tally{want: int64(want), reached: make(chan struct{})} }

// handle is the handler of the raw loops.
func (t *tally) handle([]byte) { t.begin.Do(func() { t.first = time.Now() }) }

func (t *tally) settle(n int) {
	if now := t.settled.Add(int64(n)); now >= t.want && now-int64(n) < t.want {
		t.last = time.Now()
		close(t.reached)
	}
}

// await waits until all is settled, and returns how long it took from the first call
// of the handler.
func (t *tally) await(ctx context.Context, ended <-chan error) (time.Duration, error) {
	select {
	case <-t.reached:
		return t.last.Sub(t.first), nil
	case err := <-ended:
		return 0, fmt.Errorf("it ended early, after %d of %d: %w", t.settled.Load(), t.want, errors.Join(err, context.Cause(ctx)))
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %d of %d settled", context.Cause(ctx), t.settled.Load(), t.want)
	}
}

// queues numbers the queues of this process: each measurement has one of its own.
type queues struct{ n atomic.Int64 }

func (q *queues) next(of string) string {
	return fmt.Sprintf("bench-%s-%d-%d", of, time.Now().UnixMilli()%1_000_000_000, q.n.Add(1))
}

// site is a queue for one measurement, with a client.
type site struct {
	url, queue string
	b          adapter
}

func (s *system) open(ctx context.Context, q *queues) (*site, error) {
	url, err := s.url(ctx)
	if err != nil {
		return nil, err
	}
	b, err := s.connect(ctx, url)
	if err != nil {
		return nil, err
	}
	at := &site{url: url, queue: q.next(s.id), b: b}
	if err := b.Topology().Ensure(ctx, broker.Spec{Source: at.queue, Lease: lease, MaxInFlight: window}); err != nil {
		return nil, errors.Join(fmt.Errorf("make the queues: %w", err), b.Close(ctx))
	}
	return at, nil
}

func (at *site) close(ctx context.Context) error { return at.b.Close(context.WithoutCancel(ctx)) }

// fill publishes messages and waits for every confirmation.
func (at *site) fill(ctx context.Context, total int) error {
	const most = 1000
	for i := 0; i < total; {
		var out []broker.Outbound
		for ; i < total && len(out) < most; i++ {
			out = append(out, at.message(i, time.Now()))
		}
		if err := errors.Join(at.b.Publish(ctx, out)...); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	return nil
}

func (at *site) message(i int, when time.Time) broker.Outbound {
	return broker.Outbound{Queue: at.queue, ID: fmt.Sprintf("pub:%s/%d", at.queue, i), Body: body(i, when)}
}

// consume settles everything, or dead-letters it, until the context ends.
type consume func(ctx context.Context, at *site, dead bool, t *tally) error

// backlog measures how fast a backlog is settled, or moved to the dead-letter queue.
func (s *system) backlog(q *queues, total int, dead bool, by consume) func(context.Context) (rounds.Sample, error) {
	return func(ctx context.Context) (_ rounds.Sample, err error) {
		ctx, cancel := context.WithTimeoutCause(ctx, longest, errUnfinished)
		defer cancel()
		at, err := s.open(ctx, q)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, at.close(ctx)) }()
		if err := at.fill(ctx, total); err != nil {
			return nil, err
		}
		t := newTally(total)
		run, stop := context.WithCancel(ctx)
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- by(run, at, dead, t) }()
		took, err := t.await(ctx, ended)
		if err != nil {
			return nil, err
		}
		stop()
		if err := <-ended; err != nil {
			return nil, fmt.Errorf("stop: %w", err)
		}
		return rounds.Sample{rounds.Rate: float64(total) / took.Seconds()}, nil
	}
}

// percentile is the smallest value that a share of the values does not exceed.
func percentile(values []time.Duration, share float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return float64(sorted[max(int(math.Ceil(share*float64(len(sorted)))), 1)-1]) / float64(time.Millisecond)
}

package throughput

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// bodySize is the size of each message.
const bodySize = 1024

// attempts is how often a failing message is tried, and delays what lies between.
const attempts = 4

// The delays before the second, third and fourth attempt.
const (
	firstDelay = 10 * time.Millisecond
	lastDelay  = 40 * time.Millisecond
)

func delay(failed int) time.Duration { return firstDelay << (failed - 1) }

// errFailing is what a handler returns for a message that always fails.
var errFailing = errors.New("charge order: the warehouse answers 500")

// load is how many messages there are, and how many of them always fail.
type load struct{ total, failing int }

// tail is the number of healthy messages at the end: a twentieth, and more than any
// contender has in flight, as far as there are so many.
func (l load) tail() int { return max(l.total/20, min(l.total/2, window)) }

// fails tells the failing messages: evenly spread over all but the tail. A worker
// that sees another message succeed after one has failed knows which is to blame.
func (l load) fails(i int) bool {
	spread := l.total - l.tail()
	return i < spread && (i+1)*l.failing/spread != i*l.failing/spread
}

// runs is how often handlers have to run in all.
func (l load) runs() int { return l.total + (attempts-1)*l.failing }

// body makes the body of a message: its number, a time, and noise.
func body(i int, at time.Time, noise []byte) []byte {
	b := make([]byte, bodySize)
	copy(b[16:], noise)
	binary.BigEndian.PutUint64(b, uint64(i))
	binary.BigEndian.PutUint64(b[8:], uint64(at.UnixNano()))
	return b
}

func noise() []byte {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // filler
	b := make([]byte, bodySize-16)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// number and stamp read a body.
func number(b []byte) (int, error) {
	if len(b) != bodySize {
		return 0, fmt.Errorf("a body of %d bytes is none of ours", len(b))
	}
	return int(binary.BigEndian.Uint64(b)), nil
}

func stamp(b []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(b[8:]))) }

// publishWindow is how many publications wait for their confirmation at once.
const publishWindow = 1024

// fill publishes a load and waits for every confirmation.
func fill(ctx context.Context, nc *nats.Conn, subject string, header nats.Header, l load) error {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(publishWindow))
	if err != nil {
		return fmt.Errorf("fill %s: %w", subject, err)
	}
	filler := noise()
	var last jetstream.PubAckFuture
	for i := range l.total {
		m := &nats.Msg{Subject: subject, Data: body(i, time.Time{}, filler), Header: header}
		// The server may be slow for once; the stall wait of 200 ms is short.
		if last, err = js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
			return fmt.Errorf("fill %s: %w", subject, err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-last.Err():
		return fmt.Errorf("fill %s: %w", subject, err)
	default:
		return nil
	}
}

// tally counts the runs of handlers.
type tally struct {
	load  load
	want  int64
	runs  atomic.Int64
	once  sync.Once
	first time.Time
	// begun and reached are closed with the first run and with the last one that
	// is expected.
	begun, reached chan struct{}
}

func newTally(l load) *tally {
	return &tally{load: l, want: int64(l.runs()), begun: make(chan struct{}), reached: make(chan struct{})}
}

// handle is the handler of every contender: it counts, and fails if the message is
// one that fails.
func (t *tally) handle(b []byte) error {
	t.once.Do(func() {
		t.first = time.Now()
		close(t.begun)
	})
	i, err := number(b)
	if err != nil {
		return err
	}
	if t.runs.Add(1) == t.want {
		close(t.reached)
	}
	if t.load.fails(i) {
		return errFailing
	}
	return nil
}

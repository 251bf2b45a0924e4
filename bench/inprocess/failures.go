package inprocess

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/redrive-dev/redrive/bench/rounds"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/poison"
)

const (
	attemptName = "classify, decide, record"
	encodeName  = "signature and envelope"
)

var errNotRecorded = errors.New("the attempt was not recorded")

// refused is what a handler returns while its downstream is away.
func refused() error {
	return fmt.Errorf("charge order 81723: %w", &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED})
}

// attempt measures a failure on its way from the handler's error to the history of
// the message: classified, decided with everything that the table may look at,
// and appended.
func attempt() (loop, error) {
	policy := decision.Policy{}.WithDefaults()
	now, err := time.Now(), refused()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // jitter
	signature := failure.Classify(err).Signature("orders", "default")
	peers := decision.Peers{LastSuccess: now, Window: poison.Peers{Total: 100, Succeeded: 99}}
	var in decision.Input // one for all messages, as in the worker
	return func(n int) error {
		for range n {
			// The worker keeps the failure, and the history with room for its first
			// attempt, in these two pieces.
			f := failure.Classify(err)
			kept := new(struct {
				history envelope.Envelope
				first   [1]envelope.Attempt
			})
			history := &kept.history
			history.Attempts = kept.first[:0]
			in = decision.Input{
				Policy: &policy, Fact: decision.Failed, Failure: &f, Signature: signature, History: history, Marks: true,
				Breaker: decision.Breaker{State: breaker.Closed, Admits: true}, Peers: peers,
				Since: now, HoldMax: policy.HoldMax, Started: now, Now: now, Rand: random,
			}
			record(history, &in, decision.Decide(&in))
			if len(history.Attempts) != 1 || history.Count != 1 {
				return errNotRecorded
			}
		}
		return nil
	}, nil
}

// record does what the worker does with the history.
func record(e *envelope.Envelope, in *decision.Input, v decision.Verdict) {
	e.Attempts = append(e.Attempts, envelope.Attempt{
		At: in.Now, Category: in.Failure.Category, ErrorType: in.Failure.Type, Signature: in.Signature,
		Worker: "worker-1", Uncounted: v.Uncounted, Delay: v.Delay,
	})
	if v.Counted {
		e.Count++
	}
	e.FirstFailure, e.LastFailure, e.MaxAttempts = in.Now, in.Now, in.Policy.Retry.Attempts
	e.Category, e.ErrorType, e.Message, e.Signature = in.Failure.Category, in.Failure.Type, in.Failure.Message, in.Signature
}

// encode measures what a failing message pays in addition, once for each move: its
// signature, and the header that travels with it, here with three attempts.
func encode() (loop, error) {
	f := failure.Classify(refused())
	now := time.Unix(1_767_225_600, 0).UTC()
	e := envelope.Envelope{
		ID: "81723", Key: "orders@1767225600000000000/81723", CorrelationID: "4bf92f3577b34da6a3ce929d0e0e4736",
		Incarnation: strings.Repeat("a1", 32), PublishID: "rt:orders@1767225600000000000/81723:default",
		Source: "orders", Group: "default", Position: "81723", BodyDigest: strings.Repeat("b2", 32),
		Count: 3, MaxAttempts: 5, FirstFailure: now, LastFailure: now,
		Category: f.Category, ErrorType: f.Type, Message: f.Message,
	}
	for i := range 3 {
		e.Attempts = append(e.Attempts, envelope.Attempt{
			At: now.Add(time.Duration(i) * time.Second), Category: f.Category, ErrorType: f.Type,
			Delay: time.Second, Worker: "worker-1", Signature: f.Signature("orders", "default"),
		})
	}
	return func(n int) error {
		for range n {
			e.Signature = f.Signature("orders", "default")
			if _, _, err := envelope.Encode(e, envelope.DefaultLimit); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (t timer) failures() []rounds.Subject {
	return []rounds.Subject{
		{Name: attemptName, Measure: t.loop(attempt)},
		{Name: encodeName, Measure: t.loop(encode)},
		{Name: "signature alone", Measure: t.loop(func() (loop, error) {
			f := failure.Classify(refused())
			return func(n int) error {
				for range n {
					_ = f.Signature("orders", "default")
				}
				return nil
			}, nil
		})},
	}
}

// syncBlock is what the disk row writes before each sync.
const syncBlock = 8 << 10

func (t timer) limits() []rounds.Subject {
	return []rounds.Subject{
		{Name: "time.Now", Measure: t.loop(func() (loop, error) {
			return func(n int) error {
				for range n {
					_ = time.Now()
				}
				return nil
			}, nil
		})},
		{Name: "write 8 KiB and fsync", Measure: t.fsync},
	}
}

// fsync measures the disk that the NATS server's data lies on, too.
func (t timer) fsync(ctx context.Context) (rounds.Sample, error) {
	f, err := os.CreateTemp("", "redrive-bench-fsync-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer func() { _ = f.Close() }()
	block := make([]byte, syncBlock)
	return t.loop(func() (loop, error) {
		return func(n int) error {
			for range n {
				_, err := f.WriteAt(block, 0)
				if err != nil {
					return err
				}
				if err := f.Sync(); err != nil {
					return err
				}
			}
			return nil
		}, nil
	})(ctx)
}

package redriverabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// killRun moves messages over AMQP 1.0 with many hands until enough is confirmed,
// kills the server in the middle of it, starts it again, and goes on to the end.
type killRun struct {
	*testing.T
	*rig
	source string
	names  broker.Names

	mu sync.Mutex
	// confirmed are the moves that Settle confirmed, by body.
	confirmed map[string]int
}

const killMessages = 4000

func newKillRun(t *testing.T, version string) *killRun {
	t.Helper()
	source := fmt.Sprintf("kill %d", time.Now().UnixNano())
	k := &killRun{T: t, rig: newRig(t, version, over10), source: source, names: broker.NamesFor(source, ""), confirmed: map[string]int{}}
	b, _ := k.open(t, func(*config) {})
	if err := b.Topology().Ensure(t.Context(), broker.Spec{Source: source}); err != nil {
		t.Fatal(err)
	}
	var out []broker.Outbound
	for i := range killMessages {
		out = append(out, broker.Outbound{Queue: source, ID: fmt.Sprint("pub:", i), Body: fmt.Appendf(nil, "message %d", i)})
	}
	for _, err := range b.Publish(t.Context(), out) {
		if err != nil {
			t.Fatal(err)
		}
	}
	settleDown()
	return k
}

// settleDown waits until a server that is killed remembers the queues that were just
// made: it writes the table of the members of quorum queues down half a second later,
// and a member that is not in it begins anew and empty.
func settleDown() {
	timer := time.NewTimer(800 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
}

// move settles what comes with the outcome that move makes, until the context ends.
func (k *killRun) move(ctx context.Context, b broker.Broker, move func(broker.Delivery) broker.Outcome, moved func()) {
	sub, err := b.Open(ctx, broker.Spec{Source: k.source, MaxInFlight: 256})
	if err != nil {
		k.Errorf("open: %v", err)
		return
	}
	defer func() { _ = sub.Close(context.WithoutCancel(ctx)) }()
	var hands sync.WaitGroup
	defer hands.Wait()
	for ctx.Err() == nil {
		got, err := sub.Receive(ctx, 256)
		if err != nil {
			continue // It is away, or the test ends.
		}
		for _, d := range got {
			hands.Go(func() {
				receipt, err := d.Settle(ctx, move(d))
				if err != nil {
					return // It comes again.
				}
				if !receipt.Native {
					k.Errorf("%q was moved by a copy", d.Msg().Body)
				}
				k.mu.Lock()
				k.confirmed[string(d.Msg().Body)]++
				k.mu.Unlock()
				moved()
			})
		}
	}
}

// A server that is killed while it dead-letters by our settlements loses no message,
// and doubles no more than its dead-letter worker has in hand.
func TestServerKilledInNativeDeadLettering(t *testing.T) {
	for _, version := range nativeVersions("4.3") {
		t.Run(version, func(t *testing.T) {
			k := newKillRun(t, version)
			b, _ := k.open(t, func(*config) {})
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			half, all := make(chan struct{}), make(chan struct{})
			var done sync.WaitGroup
			done.Go(func() {
				k.move(ctx, b, func(d broker.Delivery) broker.Outcome {
					return broker.Dead{Queue: k.names.DeadLetter, Envelope: []byte("why"), PublishID: "dl:" + string(d.Msg().Body)}
				}, k.counter(map[int]chan struct{}{killMessages / 2: half, killMessages - 256: all}))
			})
			<-half
			k.server.Kill()
			k.server.Restart()
			select {
			case <-all:
			case <-ctx.Done():
				t.Fatal("the moves did not go on")
			}
			letters := k.drain(b, k.names.DeadLetter, killMessages)
			cancel()
			done.Wait()
			k.judge(letters)
		})
	}
}

// counter closes the channels when as many messages were moved.
func (k *killRun) counter(at map[int]chan struct{}) func() {
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		n := len(k.confirmed)
		for limit, c := range at {
			if n >= limit {
				close(c)
				delete(at, limit)
			}
		}
	}
}

// drain takes letters until there are as many different ones, and then until no more
// come.
func (k *killRun) drain(b broker.Broker, queue string, want int) map[string]int {
	k.Helper()
	letters, err := b.Letters(k.Context(), queue)
	if err != nil {
		k.Fatal(err)
	}
	got := map[string]int{}
	quiet := 0
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && quiet < 3; {
		before := len(got)
		err := letters.Drain(k.Context(), 500, func(_ context.Context, batch []broker.Letter) error {
			for _, l := range batch {
				got[string(l.Message.Body)]++
			}
			return nil
		})
		if err != nil && !errors.Is(err, broker.ErrUnknown) && !strings.Contains(err.Error(), "not connected") {
			k.Fatal(err)
		}
		if quiet++; len(got) < want || len(got) > before {
			quiet = 0
		}
		settleDown()
	}
	return got
}

func (k *killRun) judge(letters map[string]int) {
	k.Helper()
	lost, doubled := 0, 0
	for i := range killMessages {
		switch n := letters[fmt.Sprint("message ", i)]; {
		case n == 0:
			lost++
		case n > 1:
			doubled += n - 1
		}
	}
	k.Logf("%d messages, killed once: lost %d, doubled %d", killMessages, lost, doubled)
	if lost > 0 {
		k.Errorf("lost %d", lost)
	}
	// The prefetch of the broker's dead-letter worker.
	const inHand = 32
	if doubled > inHand {
		k.Errorf("doubled %d, want at most the %d that the broker's dead-letter worker has in hand", doubled, inHand)
	}
}

package redrivenats_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/redrivenats"
)

// ledger is what handlers did. A message that left its queue without having been
// handled is lost; whether a settlement was confirmed says nothing, since a
// confirmation can be lost as well.
type ledger struct {
	mu      sync.Mutex
	handled map[string]bool
	moved   chan struct{}
}

func (l *ledger) handle(body string) {
	l.mu.Lock()
	l.handled[body] = true
	l.mu.Unlock()
}

// outcome handles a third of the messages, dead-letters a third, and retries a
// third once before handling it.
func (l *ledger) outcome(d broker.Delivery) broker.Outcome {
	body := string(d.Msg().Body)
	switch n, err := strconv.Atoi(body); {
	case err == nil && n%3 == 1:
		return broker.Dead{Queue: "orders.dlq", Envelope: []byte("{}"), PublishID: "dl:" + d.Identity().String()}
	case err == nil && n%3 == 2 && d.Msg().Envelope == nil:
		return broker.Retry{At: time.Now().Add(100 * time.Millisecond), Envelope: []byte("{}"), PublishID: "r:" + d.Identity().String()}
	}
	l.handle(body)
	return broker.Done{}
}

// work handles messages until the context ends, across any error.
func (l *ledger) work(ctx context.Context, s broker.Subscription) {
	for ctx.Err() == nil {
		batch, err := s.Receive(ctx, 16)
		if err != nil {
			continue // Receive paces its own errors.
		}
		var settling sync.WaitGroup
		for _, d := range batch {
			settling.Go(func() {
				if _, err := d.Settle(ctx, l.outcome(d)); err == nil {
					l.moved <- struct{}{}
				}
			})
		}
		settling.Wait()
	}
}

// TestServerKilledInTheMiddleOfMoves kills the server while messages move: each
// ends where it belongs, and no letter twice.
func TestServerKilledInTheMiddleOfMoves(t *testing.T) {
	count, kills := 600, 4
	if os.Getenv("REDRIVE_FULL") == "1" {
		count, kills = 15_000, 60
	}
	b := newBench(t, natstest.Options{})
	s := b.subscribe(broker.Spec{Source: "orders", Lease: 500 * time.Millisecond})
	messages := make([]broker.Outbound, count)
	for i := range messages {
		messages[i] = broker.Outbound{Queue: "orders", ID: fmt.Sprint("pub:", i), Body: fmt.Append(nil, i)}
	}
	for _, err := range b.b.Publish(t.Context(), messages) {
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second+time.Duration(kills)*time.Second)
	defer cancel()
	l := &ledger{handled: map[string]bool{}, moved: make(chan struct{}, 100*count)}
	var workers sync.WaitGroup
	workers.Go(func() { l.work(ctx, s) })
	for killed := range kills {
		// The retried third moves twice.
		for range count * 4 / 3 / (kills + 1) {
			select {
			case <-l.moved:
			case <-ctx.Done():
				t.Fatalf("nothing moves any more after %d kills", killed)
			}
		}
		b.server.Kill()
		b.server.Restart()
	}
	b.awaitEmpty(ctx, "orders", "orders.retry")
	cancel()
	workers.Wait()
	letters := map[string]int{}
	for _, letter := range b.lettersPatiently("orders.dlq") {
		letters[string(letter.Message.Body)]++
	}
	for i := range count {
		body := strconv.Itoa(i)
		want := 0
		if i%3 == 1 {
			want = 1
		}
		if letters[body] != want {
			t.Errorf("message %d has %d letters, want %d", i, letters[body], want)
		}
		if want == 0 && !l.handled[body] {
			t.Errorf("message %d is lost", i)
		}
	}
}

// awaitEmpty waits until nothing is left in the queues.
func (b *testbench) awaitEmpty(ctx context.Context, queues ...string) {
	b.t.Helper()
	awaitEmpty(ctx, b.t, b.b, queues...)
}

func awaitEmpty(ctx context.Context, t *testing.T, b *redrivenats.Broker, queues ...string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left := int64(0)
		for _, queue := range queues {
			stats, err := b.Stats(ctx, queue)
			if err != nil {
				left = 1
			}
			left += stats.Depth()
		}
		if left == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d messages are left", left)
		}
	}
}

// lettersPatiently reads all letters as soon as the connection is back.
func (b *testbench) lettersPatiently(queue string) []broker.Letter {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	nc := b.server.Connect() // Waits until the server answers.
	defer nc.Close()
	fresh := b.rig.open(b.t)
	view, err := fresh.Letters(ctx, queue)
	if err != nil {
		b.t.Fatal(err)
	}
	var all []broker.Letter
	for cursor := broker.Cursor(""); ; {
		letters, next, err := view.Scan(ctx, cursor, 1000)
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, letters...)
		if len(letters) < 1000 {
			return all
		}
		cursor = next
	}
}

// TestWhileTheServerIsAway shows that everything fails clearly and goes on
// afterwards.
func TestWhileTheServerIsAway(t *testing.T) {
	b := newBench(t, natstest.Options{})
	s := b.subscribe(broker.Spec{Source: "orders", Lease: 30 * time.Second})
	b.publish("orders", "m")
	d := receive(t, s, 1)[0]
	b.server.Kill()
	if err := b.b.Publish(t.Context(), []broker.Outbound{{Queue: "orders", Body: []byte("x")}})[0]; err == nil {
		t.Error("a publication without a server was confirmed")
	}
	if _, err := d.Settle(t.Context(), broker.Done{}); err == nil {
		t.Error("a settlement without a server was confirmed")
	}
	if err := d.Extend(t.Context(), time.Minute); err == nil || errors.Is(err, broker.ErrLeaseLost) {
		t.Errorf("extend without a server: %v, want an error that is not a lost lease", err)
	}
	if got, err := s.Receive(t.Context(), 1); err == nil || len(got) > 0 {
		t.Errorf("receive without a server: %d deliveries, %v; want an error", len(got), err)
	}
	if _, err := b.b.Stats(t.Context(), "orders"); err == nil {
		t.Error("stats without a server")
	}
	b.server.Restart()
	// The server may have forgotten the delivery of its last moments: then the
	// message comes again.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for body := ""; body != "n"; {
		_ = b.b.Publish(ctx, []broker.Outbound{{Queue: "orders", ID: "pub:n", Body: []byte("n")}})[0] // A repeat is dropped.
		got, err := s.Receive(ctx, 1)
		if ctx.Err() != nil {
			t.Fatalf("receive after the server came back: %v", err)
		}
		for _, d := range got {
			body = string(d.Msg().Body)
			settle(t, d, broker.Done{})
		}
	}
}

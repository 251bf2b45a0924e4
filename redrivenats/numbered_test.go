package redrivenats_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/redrivenats"
)

// The tests here are those that only JetStream needs, by the numbers that
// docs/guides/nats.md lists with what each shows.

// patiently receives n deliveries across the errors of a server that comes back.
func patiently(t *testing.T, s broker.Subscription, n int) []broker.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []broker.Delivery
	for len(got) < n {
		more, err := s.Receive(ctx, n-len(got))
		if err != nil && ctx.Err() != nil {
			t.Fatalf("%d of %d deliveries came: %v", len(got), n, err)
		}
		got = append(got, more...)
	}
	return got
}

func (b *testbench) bounce() {
	b.t.Helper()
	b.server.Kill()
	b.server.Restart()
}

func TestN01KillServerInNakDelay(t *testing.T) {
	b := newBench(t, natstest.Options{})
	s := b.subscribe(broker.Spec{Source: "orders", Lease: 30 * time.Second})
	b.publish("orders", "m")
	const delay = 4 * time.Second
	from := time.Now()
	settle(t, receive(t, s, 1)[0], broker.Release{After: delay, Mark: broker.Mark{Explained: 1}})
	// The server writes what it knows of consumers some ten times a second.
	nothing(t, s, 500*time.Millisecond)
	b.bounce()
	d := patiently(t, s, 1)[0]
	// A server that starts again knows the time of a delivery to the second, so that
	// a release may end that much early. A retry does not: its time is in the message.
	if early := delay - time.Since(from); early > time.Second {
		t.Errorf("came %v early after the kill", early)
	}
	if got := d.Deliveries(); got.Earlier != 1 || got.Mark.Explained != 1 {
		t.Errorf("deliveries %+v, want one earlier and explained", got)
	}
	settle(t, d, broker.Done{})
}

// TestN02KillAfterSchedulePubAck kills the server between the confirmation of a
// retry and the acknowledgement of the original: the repeat replaces the schedule.
func TestN02KillAfterSchedulePubAck(t *testing.T) {
	b := newBench(t, natstest.Options{})
	s := b.subscribe(broker.Spec{Source: "orders", Lease: time.Second})
	b.publish("orders", "m")
	at := time.Now().Add(5 * time.Second)
	retry := broker.Retry{At: at, Envelope: []byte("{}"), PublishID: "r"}
	d := receive(t, s, 1)[0]
	redrivenats.StoreOnly(t.Context(), t, d, retry)
	b.bounce()
	again := patiently(t, s, 1)[0]
	if again.Identity() != d.Identity() || again.Msg().Envelope != nil {
		t.Fatalf("%v came after the kill, want the original %v", again.Identity(), d.Identity())
	}
	settle(t, again, retry)
	copied := patiently(t, s, 1)[0]
	if time.Now().Before(at) || string(copied.Msg().Envelope) != "{}" {
		t.Errorf("the retry came early or without its envelope")
	}
	settle(t, copied, broker.Done{})
	nothing(t, s, 500*time.Millisecond)
}

// TestN04MoreFailuresThanAckPending: retries wait outside of the consumer, so that
// more of them than it has slots hold nothing up.
func TestN04MoreFailuresThanAckPending(t *testing.T) {
	b := newBench(t, natstest.Options{})
	const slots, failing = 8, 50
	narrow := b.rig.openWith(t, func(c *config) { c.MaxAckPending = slots })
	s, err := narrow.Open(t.Context(), broker.Spec{Source: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(6 * time.Second) // Time enough to make all of them wait.
	for i := range failing {
		b.publish("orders", fmt.Sprint("failing ", i))
		settle(t, receive(t, s, 1)[0], broker.Retry{At: at, Envelope: []byte("{}"), PublishID: fmt.Sprint("r", i)})
	}
	b.publish("orders", "healthy")
	if d := receive(t, s, 1)[0]; string(d.Msg().Body) != "healthy" || d.Msg().Envelope != nil {
		t.Fatalf("%q came before the healthy message", d.Msg().Body)
	} else {
		settle(t, d, broker.Done{})
	}
	for range failing {
		d := receive(t, s, 1)[0]
		if time.Now().Before(at) {
			t.Errorf("%q came early", d.Msg().Body)
		}
		settle(t, d, broker.Done{})
	}
}

// TestN08DeleteTwice: a letter is removed once, and again is no error, with the
// server restarted in between too.
func TestN08DeleteTwice(t *testing.T) {
	b := newBench(t, natstest.Options{})
	s := b.subscribe(broker.Spec{Source: "orders"})
	b.publish("orders", "1", "2", "3")
	for i, d := range receive(t, s, 3) {
		settle(t, d, broker.Dead{Queue: "orders.dlq", Envelope: []byte("{}"), PublishID: fmt.Sprint("dl:", i)})
	}
	view, err := b.b.Letters(t.Context(), "orders.dlq")
	if err != nil {
		t.Fatal(err)
	}
	middle := b.letters("orders.dlq")[1]
	for i := range 3 {
		if err := view.Remove(t.Context(), middle.Position); err != nil {
			t.Errorf("removal %d: %v", i+1, err)
		}
	}
	if got := b.letters("orders.dlq"); len(got) != 2 || got[0].Position == middle.Position || got[1].Position == middle.Position {
		t.Errorf("%d letters are left, want the two others", len(got))
	}
}

// TestN09BrowseOneCategoryOfMany reads one quarantine out of a dead-letter stream
// of many, and leaves no consumer behind.
func TestN09BrowseOneCategoryOfMany(t *testing.T) {
	total := 20_000
	if os.Getenv("REDRIVE_FULL") == "1" {
		total = 100_000
	}
	b := newBench(t, natstest.Options{})
	b.subscribe(broker.Spec{Source: "orders"})
	queues := []string{"orders.dlq", "orders.dlq.quarantine.schema"}
	letters := make([]broker.Outbound, total)
	for i := range letters {
		queue := queues[0]
		if i%10 == 0 {
			queue = queues[1]
		}
		letters[i] = broker.Outbound{Queue: queue, ID: fmt.Sprint("dl:", i), Body: fmt.Append(nil, i), Envelope: []byte("{}")}
	}
	for _, err := range b.b.Publish(t.Context(), letters) {
		if err != nil {
			t.Fatal(err)
		}
	}
	view, err := b.b.Letters(t.Context(), queues[1])
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for cursor := broker.Cursor(""); ; {
		page, next, err := view.Scan(t.Context(), cursor, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range page {
			if want := strconv.Itoa(seen * 10); string(l.Message.Body) != want {
				t.Fatalf("letter %d is %q, want %s", seen, l.Message.Body, want)
			}
			seen++
		}
		if len(page) < 1000 {
			break
		}
		cursor = next
	}
	if seen != total/10 {
		t.Errorf("%d letters of the category, want %d", seen, total/10)
	}
	stream, err := b.js.Stream(t.Context(), "redrive_dlq")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("%d consumers are left on the dead-letter stream", n)
	}
}

// TestN10KillAfterAck: on a work queue a confirmed acknowledgement is final. On a
// stream with limits the newest are forgotten by a server that is killed, and the
// inbox recognises what comes again.
func TestN10KillAfterAck(t *testing.T) {
	t.Parallel()
	const count = 200
	t.Run("work queue", func(t *testing.T) {
		b := newBench(t, natstest.Options{})
		s := b.subscribe(broker.Spec{Source: "orders", Lease: time.Second})
		b.handleAndKill(s, count, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		for ctx.Err() == nil {
			if got, _ := s.Receive(ctx, 1); len(got) > 0 {
				t.Fatalf("%q came again after its confirmed acknowledgement", got[0].Msg().Body)
			}
		}
	})
	t.Run("limits", func(t *testing.T) {
		b := newBench(t, natstest.Options{})
		b.stream(jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders"}})
		s := b.subscribe(broker.Spec{Source: "orders", Lease: time.Second})
		inbox, err := b.b.OpenInbox(t.Context(), redrivenats.InboxConfig{})
		if err != nil {
			t.Fatal(err)
		}
		b.handleAndKill(s, count, inbox)
		again := 0
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		for ctx.Err() == nil {
			got, _ := s.Receive(ctx, 16)
			for _, d := range got {
				again++
				if r, err := inbox.Claim(t.Context(), d.Identity().String(), "g", "f", time.Minute); err != nil || r.State != idempotency.Done {
					t.Errorf("%q came again: %v, %v; want it known as done", d.Msg().Body, r.State, err)
				}
				settle(t, d, broker.Done{})
			}
		}
		t.Logf("%d of %d came again after the kill", again, count)
	})
}

// handleAndKill handles all messages, acknowledges them, and kills the server at
// once.
func (b *testbench) handleAndKill(s broker.Subscription, count int, inbox *redrivenats.Inbox) {
	b.t.Helper()
	for i := range count {
		b.publish("orders", strconv.Itoa(i))
	}
	got := receive(b.t, s, count)
	var all sync.WaitGroup
	for _, d := range got {
		all.Go(func() {
			if inbox != nil {
				r, err := inbox.Claim(b.t.Context(), d.Identity().String(), "g", "f", time.Minute)
				if err == nil {
					err = inbox.Complete(b.t.Context(), r.Claim)
				}
				if err != nil {
					b.t.Errorf("inbox: %v", err)
				}
			}
			if _, err := d.Settle(b.t.Context(), broker.Done{}); err != nil {
				b.t.Errorf("acknowledge: %v", err)
			}
		})
	}
	all.Wait()
	b.bounce()
}

// TestN11ForeignConsumerAtMaxDeliver: what another program's consumer gave up is
// found by looking, when the server's announcement has gone unheard.
func TestN11ForeignConsumerAtMaxDeliver(t *testing.T) {
	t.Parallel()
	for name, retention := range map[string]jetstream.RetentionPolicy{"work queue": jetstream.WorkQueuePolicy, "limits": jetstream.LimitsPolicy} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, natstest.Options{})
			stream := b.stream(jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders"}, Retention: retention})
			theirs, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
				Durable: "theirs", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 2, AckWait: time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, body := range []string{"good", "bad", "good"} {
				b.publishRaw(t, "orders", broker.Message{Body: []byte(body)})
			}
			for range 4 { // Two that succeed, and one twice.
				m, err := theirs.Next(jetstream.FetchMaxWait(5 * time.Second))
				if err != nil {
					t.Fatal(err)
				}
				settleTheirs(t, m)
			}
			if m, err := theirs.Next(jetstream.FetchMaxWait(500 * time.Millisecond)); err == nil {
				t.Fatalf("%q was delivered beyond max_deliver", m.Data())
			}
			found, err := b.b.Stranded(t.Context(), "ORDERS", 10)
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != 1 || found[0].Consumer != "theirs" || found[0].MaxDeliver != 2 || found[0].Count != 1 {
				t.Fatalf("found %+v, want the one message", found)
			}
			if retention == jetstream.WorkQueuePolicy && (len(found[0].Sequences) != 1 || found[0].Sequences[0] != 2) {
				t.Errorf("sequences %v, want 2", found[0].Sequences)
			}
		})
	}
}

func settleTheirs(t *testing.T, m jetstream.Msg) {
	t.Helper()
	end := m.DoubleAck
	if string(m.Data()) == "bad" {
		end = func(context.Context) error { return m.Nak() }
	}
	if err := end(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestN12LargeMessages: with a server that takes no more than a small payload, a
// history gives way to the body.
func TestN12LargeMessages(t *testing.T) {
	const most = 64 << 10
	b := newBench(t, natstest.Options{MaxPayload: most})
	body := strings.Repeat("x", most-2<<10)
	if err := b.b.Topology().Ensure(t.Context(), broker.Spec{Source: "orders"}); err != nil {
		t.Fatal(err)
	}
	if err := b.b.Publish(t.Context(), []broker.Outbound{{Queue: "orders", ID: "pub:1", Body: []byte(body)}})[0]; err != nil {
		t.Fatal(err)
	}
	w, err := redrive.NewWorker(b.b, func(context.Context, *redrive.Message) error {
		return redrive.Business(errors.New(strings.Repeat("a long reason ", 500)))
	}, redrive.Config{Source: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.run(w)()
	letter := b.awaitLetter("orders.dlq")
	if string(letter.Message.Body) != body {
		t.Errorf("a body of %d bytes arrived, want %d", len(letter.Message.Body), len(body))
	}
	e, err := envelope.Decode(letter.Message.Envelope)
	if err != nil || len(e.Trimmed) == 0 {
		t.Errorf("envelope of %d bytes, trimmed %q, %v; want it cut, and to say so", len(letter.Message.Envelope), e.Trimmed, err)
	}
}

// run starts a worker and returns what stops it.
func (b *testbench) run(w *redrive.Worker) (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			b.t.Errorf("worker: %v", err)
		}
	}
}

func (b *testbench) awaitLetter(queue string) broker.Letter {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	for {
		if letters := b.letters(queue); len(letters) > 0 {
			return letters[0]
		}
		if ctx.Err() != nil {
			b.t.Fatalf("no letter in %s", queue)
		}
		idle(ctx)
	}
}

// TestN14RestartWithManySchedules: many retries that wait when the server is
// killed all come, none early and none twice.
func TestN14RestartWithManySchedules(t *testing.T) {
	count, wait := 3000, 10*time.Second
	if os.Getenv("REDRIVE_FULL") == "1" {
		count, wait = 20_000, 25*time.Second
	}
	b := newBench(t, natstest.Options{})
	s := b.subscribe(broker.Spec{Source: "orders", MaxInFlight: 1000})
	messages := make([]broker.Outbound, count)
	for i := range messages {
		messages[i] = broker.Outbound{Queue: "orders", ID: fmt.Sprint("pub:", i), Body: fmt.Append(nil, i)}
	}
	for _, err := range b.b.Publish(t.Context(), messages) {
		if err != nil {
			t.Fatal(err)
		}
	}
	at := time.Now().Add(wait)
	each(t, s, count, func(d broker.Delivery) broker.Outcome {
		return broker.Retry{At: at, Envelope: []byte("{}"), PublishID: d.Identity().String()}
	})
	if !time.Now().Before(at) {
		t.Log("the retries were due before all of them were stored: the machine is slow")
	}
	b.bounce()
	var mu sync.Mutex
	seen := map[string]int{}
	each(t, s, count, func(d broker.Delivery) broker.Outcome {
		mu.Lock()
		defer mu.Unlock()
		if time.Now().Before(at) {
			t.Errorf("%q came early", d.Msg().Body)
		}
		seen[string(d.Msg().Body)]++
		return broker.Done{}
	})
	if len(seen) != count {
		t.Errorf("%d different retries came, want %d", len(seen), count)
	}
	b.awaitEmpty(t.Context(), "orders", "orders.retry")
}

// each settles n deliveries, many at a time, across the errors of a server that
// comes back.
func each(t *testing.T, s broker.Subscription, n int, outcome func(broker.Delivery) broker.Outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for settled := 0; settled < n; {
		got, err := s.Receive(ctx, min(256, n-settled))
		if err != nil && ctx.Err() != nil {
			t.Fatalf("%d of %d were settled: %v", settled, n, err)
		}
		var all sync.WaitGroup
		for _, d := range got {
			all.Go(func() {
				if _, err := d.Settle(ctx, outcome(d)); err != nil {
					t.Errorf("settle: %v", err)
				}
			})
		}
		all.Wait()
		settled += len(got)
	}
}

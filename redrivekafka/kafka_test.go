package redrivekafka_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivekafka"
)

func openSub(t *testing.T, b *redrivekafka.Broker, spec broker.Spec) broker.Subscription {
	t.Helper()
	sub, err := b.Open(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// receive returns the next n deliveries.
func receive(t *testing.T, sub broker.Subscription, n int) []broker.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out []broker.Delivery
	for len(out) < n {
		got, err := sub.Receive(ctx, n-len(out))
		if err != nil {
			t.Fatalf("%d of %d deliveries came: %v", len(out), n, err)
		}
		out = append(out, got...)
	}
	return out
}

func settle(t *testing.T, d broker.Delivery, o broker.Outcome) {
	t.Helper()
	if _, err := d.Settle(t.Context(), o); err != nil {
		t.Fatalf("settle %q with %T: %v", d.Msg().Body, o, err)
	}
}

func publish(t *testing.T, b *redrivekafka.Broker, out ...broker.Outbound) {
	t.Helper()
	if err := errors.Join(b.Publish(t.Context(), out)...); err != nil {
		t.Fatal(err)
	}
}

// Members come and go in good order while messages are handled: each is handled, and
// none twice.
func TestRebalancesUnderLoadRepeatNothing(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	r.edit = func(c *config) { c.Partitions = 6 }
	b := r.open(t, func(*config) {})
	if err := b.Topology().Ensure(t.Context(), broker.Spec{Source: "orders"}); err != nil {
		t.Fatal(err)
	}
	const n = 1500
	var out []broker.Outbound
	for i := range n {
		out = append(out, broker.Outbound{Queue: "orders", Key: fmt.Append(nil, i%50), Body: fmt.Append(nil, i)})
	}
	publish(t, b, out...)
	var mu sync.Mutex
	seen := map[string]int{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	work := func(sub broker.Subscription, most int) {
		for handled := 0; handled < most; {
			mu.Lock()
			over := len(seen) == n
			mu.Unlock()
			if over {
				return
			}
			brief, cancel := context.WithTimeout(ctx, time.Second)
			got, err := sub.Receive(brief, 20)
			cancel()
			if ctx.Err() != nil || err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return
			}
			for _, d := range got {
				if _, err := d.Settle(ctx, broker.Done{}); err != nil {
					t.Errorf("settle: %v", err)
				}
				mu.Lock()
				seen[string(d.Msg().Body)]++
				mu.Unlock()
			}
			handled += len(got)
		}
	}
	var members sync.WaitGroup
	for i := range 5 {
		members.Go(func() {
			sub := openSub(t, r.open(t, func(*config) {}), broker.Spec{Source: "orders", MaxInFlight: 40}) //nolint:contextcheck // it takes that of the test
			most := n
			if i > 0 {
				most = 150 * i // The others leave, one after another.
			}
			work(sub, most)
			if err := sub.Close(ctx); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	members.Wait()
	if len(seen) != n {
		t.Errorf("%d of %d messages were handled", len(seen), n)
	}
	for body, times := range seen {
		if times != 1 {
			t.Errorf("message %s was handled %d times", body, times)
		}
	}
}

// A member that is paused for longer than its session keeps its partitions.
func TestPausedMemberOutlivesItsSession(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	b := r.open(t, func(c *config) { c.SessionTimeout = time.Second })
	sub := openSub(t, b, broker.Spec{Source: "orders", Lease: time.Minute})
	publish(t, b, broker.Outbound{Queue: "orders", Body: []byte("a")}, broker.Outbound{Queue: "orders", Body: []byte("b")})
	held := receive(t, sub, 1)[0]
	if err := sub.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	timer := time.NewTimer(2500 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	settle(t, held, broker.Done{})
	if err := sub.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	settle(t, receive(t, sub, 1)[0], broker.Done{})
}

// The order of a key is kept over a retry, the death of its member and a move to
// another one.
func TestOrderOfAKeyIsKeptOverDeathAndRetry(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	r.edit = func(c *config) { c.Ordered, c.Partitions = true, 2 }
	dying := r.open(t, func(*config) {})
	spec := broker.Spec{Source: "orders", Lease: time.Minute}
	sub := openSub(t, dying, spec)
	var out []broker.Outbound
	for i := range byte(20) {
		out = append(out, broker.Outbound{Queue: "orders", Key: []byte{'k', i % 4}, Body: []byte{i % 4, i / 4}})
	}
	publish(t, dying, out...)
	next := map[byte]byte{}
	due := map[byte]time.Time{}
	for _, d := range receive(t, sub, 4) {
		key := d.Msg().Body[0]
		if d.Msg().Body[1] != 0 {
			t.Fatalf("message %d of key %d came first", d.Msg().Body[1], key)
		}
		if key%2 == 0 {
			settle(t, d, broker.Done{})
			next[key] = 1
		} else {
			due[key] = time.Now().Add(5 * time.Second)
			settle(t, d, broker.Retry{At: due[key], Envelope: []byte("{}"), PublishID: strconv.FormatUint(uint64(key), 10)})
		}
	}
	r.links[dying].Cut()
	heir := openSub(t, r.open(t, func(*config) {}), spec)
	for range 18 {
		d := receive(t, heir, 1)[0]
		key, number := d.Msg().Body[0], d.Msg().Body[1]
		if number != next[key] {
			t.Fatalf("message %d of key %d came, want %d", number, key, next[key])
		}
		if number == 0 && (time.Now().Before(due[key]) || string(d.Msg().Envelope) != "{}") {
			t.Errorf("the retry of key %d came %v early, with the envelope %q", key, time.Until(due[key]), d.Msg().Envelope)
		}
		next[key]++
		settle(t, d, broker.Done{})
	}
}

// A record without a value, an empty key and repeated headers come through retry and
// dead-letter topic as they were.
func TestTombstoneSurvivesMoves(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	b := r.open(t, func(*config) {})
	sub := openSub(t, b, broker.Spec{Source: "orders"})
	headers := []broker.Header{{Name: "x", Value: []byte{0, 0xff}}, {Name: "", Value: []byte("nameless")}, {Name: "x", Value: nil}, {Name: "x", Value: []byte{}}}
	r.publishRaw(t, "orders", broker.Message{Key: []byte{}, Body: nil, Headers: headers})
	same := func(where string, m *broker.Message) {
		t.Helper()
		if m.Body != nil || m.Key == nil || len(m.Key) != 0 {
			t.Errorf("%s: body %#v and key %#v, want nil and empty", where, m.Body, m.Key)
		}
		if !slices.EqualFunc(m.Headers, headers, func(a, b broker.Header) bool {
			return a.Name == b.Name && bytes.Equal(a.Value, b.Value) && (a.Value == nil) == (b.Value == nil)
		}) {
			t.Errorf("%s: headers %#v, want %#v", where, m.Headers, headers)
		}
	}
	d := receive(t, sub, 1)[0]
	same("received", d.Msg())
	at := d.Msg().Time
	settle(t, d, broker.Retry{At: time.Now(), PublishID: "r"})
	d = receive(t, sub, 1)[0]
	same("retried", d.Msg())
	settle(t, d, broker.Dead{Queue: "orders.dlq", PublishID: "d"})
	view, err := b.Letters(t.Context(), "orders.dlq")
	if err != nil {
		t.Fatal(err)
	}
	letters, _, err := view.Scan(t.Context(), "", 10)
	if err != nil || len(letters) != 1 {
		t.Fatalf("%d letters, %v", len(letters), err)
	}
	same("dead-lettered", &letters[0].Message)
	if !letters[0].Message.Time.Equal(at) {
		t.Errorf("the letter is of %v, want the time of the original, %v", letters[0].Message.Time, at)
	}
}

// What a transaction that was given up has written is no letter, and what it leaves
// behind does not keep a scan waiting for ever.
func TestAbortedLettersAreNotSeen(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	b := r.open(t, func(*config) {})
	if err := b.Topology().Ensure(t.Context(), broker.Spec{Source: "orders"}); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.TransactionalID("writer"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "orders.dlq", Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	view, err := b.Letters(t.Context(), "orders.dlq")
	if err != nil {
		t.Fatal(err)
	}
	letters, _, err := view.Scan(t.Context(), "", 10)
	if err != nil || len(letters) != 1 || string(letters[0].Message.Body) != "1" {
		t.Fatalf("letters %+v, %v: want the one that was committed", letters, err)
	}
	if _, err := view.Get(t.Context(), letters[0].Position); err != nil {
		t.Errorf("get: %v", err)
	}
}

// A dead-letter topic that exists may have fewer partitions than the source.
func TestLettersOfManyPartitionsInFewer(t *testing.T) {
	t.Parallel()
	r := newFake(t)
	admin := r.admin(t)
	create(t, admin, "orders", 5, nil)
	create(t, admin, "orders.dlq", 2, map[string]string{"retention.ms": "-1"})
	b := r.open(t, func(*config) {})
	sub := openSub(t, b, broker.Spec{Source: "orders"})
	const n = 40
	for i := range n {
		publish(t, b, broker.Outbound{Queue: "orders", Key: fmt.Append(nil, i), Body: fmt.Append(nil, i)})
	}
	for _, d := range receive(t, sub, n) {
		settle(t, d, broker.Dead{Queue: "orders.dlq", PublishID: "dl:" + d.Identity().String()})
	}
	view, err := b.Letters(t.Context(), "orders.dlq")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var last time.Time
	for cursor, more := broker.Cursor(""), true; more; {
		letters, next, err := view.Scan(t.Context(), cursor, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range letters {
			if l.StoredAt.Before(last) {
				t.Errorf("a letter of %v comes after one of %v", l.StoredAt, last)
			}
			last = l.StoredAt
			seen[string(l.Message.Body)] = true
		}
		cursor, more = next, len(letters) == 7
	}
	if len(seen) != n {
		t.Errorf("%d letters were seen, want %d", len(seen), n)
	}
}

package redrive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/retry"
)

// The tests here guard entries of docs/pitfalls.md that no other test does.

// slowly is a policy whose retries wait exactly d.
func slowly(d time.Duration) func(*redrive.Config) {
	return func(c *redrive.Config) {
		c.Policy.Retry = retry.Policy{Strategy: retry.Strategy{Backoff: retry.Fixed, Jitter: retry.NoJitter, Base: d, Max: d}}
	}
}

// A letter holds its body as it came, whatever it is, and holds it once.
func TestAnyBodyIsDeadLetteredOnceAndUnchanged(t *testing.T) {
	bodies := []string{"\xff\xfe\x00 no text", `{"half":`, "", string(bytes.Repeat([]byte("0123456789abcdef"), 4096))}
	for _, body := range bodies {
		t.Run(fmt.Sprintf("%d bytes", len(body)), func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bench) {
				b.publish(body)
				b.start(nil, func(context.Context, *redrive.Message) error { return redrive.Schema(errors.New("odd")) }, nil)
				pass(time.Second)
				b.want("orders.dlq", body)
				for _, l := range b.letters("orders.dlq") {
					if len(l.Message.Envelope) == 0 || len(body) > 8 && bytes.Contains(l.Message.Envelope, []byte(body[:8])) {
						t.Errorf("envelope is missing or repeats the body: %.200q", l.Message.Envelope)
					}
				}
			})
		})
	}
}

// Two sources may use one id: their letters do not replace each other, and with
// a shared inbox neither is taken for the other's duplicate.
func TestOneIDInTwoSourcesIsTwoMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		inbox := idempotency.NewMemory()
		handled := newScript(map[string][]error{"bad orders": always(redrive.Business(errors.New("no"))), "bad invoices": always(redrive.Business(errors.New("no")))})
		for _, queue := range []string{source, "invoices"} {
			for _, id := range []string{"good", "bad"} {
				out := broker.Outbound{
					Queue: queue, ID: "pub:" + queue + id, Body: []byte(id + " " + queue),
					Headers: []broker.Header{{Name: "X-Event-Id", Value: []byte(id)}},
				}
				if err := b.broker.Publish(b.ctx, []broker.Outbound{out})[0]; err != nil {
					t.Fatal(err)
				}
			}
			b.start(nil, handled.handle, func(c *redrive.Config) {
				c.Source, c.Inbox, c.IdempotencyHeader = queue, inbox, "X-Event-Id"
			})
		}
		pass(time.Second)
		b.want("orders.dlq", "bad orders")
		b.want("invoices.dlq", "bad invoices")
		for _, body := range []string{"good orders", "good invoices"} {
			if handled.runs(body) != 1 {
				t.Errorf("%s ran %d times, want once", body, handled.runs(body))
			}
		}
	})
}

// What is known of a message's failures is with the message, not in the process:
// a new worker goes on where the old one stopped, and the letter tells of each
// attempt.
func TestHistoryOutlivesTheProcess(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		begin := time.Now()
		b.publish("a")
		s := newScript(map[string][]error{"a": always(errDown)})
		edit := slowly(10 * time.Second)
		// Another message succeeds now and then: the failure is not an outage.
		for i := range 8 {
			worker := fmt.Sprintf("w%d", i)
			_, stop := b.start(b.broker.Client(), s.handle, func(c *redrive.Config) { edit(c); c.Name = worker })
			b.publish(worker)
			pass(11 * time.Second)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		}
		letters := b.letters("orders.dlq")
		if len(letters) != 1 {
			t.Fatalf("%d letters after %d runs, want 1", len(letters), s.runs("a"))
		}
		e := envelopeOf(t, letters[0])
		if e.Count != 5 || len(e.Attempts) < 5 || !e.FirstFailure.Equal(begin) || e.LastFailure.Before(begin.Add(40*time.Second)) {
			t.Fatalf("count %d, %d attempts, first %s, last %s", e.Count, len(e.Attempts), e.FirstFailure, e.LastFailure)
		}
		workers := map[string]bool{}
		for i, a := range e.Attempts {
			workers[a.Worker] = true
			if a.At.IsZero() || a.Category != failure.Transient || a.ErrorType == "" || i < len(e.Attempts)-1 && a.Delay == 0 {
				t.Errorf("attempt %d: %+v", i, a)
			}
		}
		if len(workers) < 2 {
			t.Errorf("attempts of %v, want several workers", workers)
		}
	})
}

// One producer that sends nonsense must not stop the messages of all others.
func TestABadProducerDoesNotOpenTheBreaker(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		plan := map[string][]error{}
		for i := range 50 {
			body := fmt.Sprintf("bad%d", i)
			plan[body] = always(redrive.Schema(errors.New("no such field")))
			b.publish(body)
		}
		b.publish("good")
		s := newScript(plan)
		w, _ := b.start(nil, s.handle, nil)
		pass(time.Second)
		if n := w.Snapshot().Breaker.Openings; n != 0 || s.runs("good") != 1 {
			t.Errorf("the breaker opened %d times, the good message ran %d times", n, s.runs("good"))
		}
	})
}

// A few failures in a row, however alike, are what a blip looks like.
func TestABlipIsNotPoison(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		s := newScript(map[string][]error{"a": {errDown, errDown, errDown, errDown}})
		b.start(nil, s.handle, nil)
		for i := range 60 {
			if i == 30 {
				b.publish("a")
			}
			b.publish(fmt.Sprintf("good%d", i))
			pass(time.Second)
		}
		if s.runs("a") != 5 || b.events.count(redrive.EventQuarantined)+b.events.count(redrive.EventDeadLettered) != 0 {
			t.Errorf("%d runs, %d quarantined, %d dead-lettered", s.runs("a"), b.events.count(redrive.EventQuarantined), b.events.count(redrive.EventDeadLettered))
		}
	})
}

// A message that fails alike each time, while nearly all others succeed, is
// moved to quarantine: once, and out of everybody's way.
func TestPoisonIsMovedToQuarantineOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("poison")
		s := newScript(map[string][]error{"poison": always(errDown)})
		b.start(nil, s.handle, slowly(10*time.Second))
		for i := range 60 {
			b.publish(fmt.Sprintf("good%d", i))
			pass(time.Second)
		}
		b.want("orders.dlq.quarantine.transient", "poison")
		if n := b.events.count(redrive.EventQuarantined); n != 1 || s.runs("poison") != 5 {
			t.Errorf("quarantined %d times after %d runs, want once after 5", n, s.runs("poison"))
		}
		if d := b.depth(source) + b.depth("orders.retry") + b.depth("orders.dlq"); d != 0 {
			t.Errorf("%d copies elsewhere", d)
		}
	})
}

// Attempts belong to one message in one consumer group. No window forgets them,
// and neither another group's failures nor other messages add to them.
func TestAttemptsAreCountedPerMessageAndGroup(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		shipping := newScript(map[string][]error{"a": {errDown, errDown}})
		billing := newScript(map[string][]error{"a": always(errDown)})
		edit := slowly(20 * time.Minute)
		b.start(nil, shipping.handle, edit)
		b.start(nil, billing.handle, func(c *redrive.Config) { edit(c); c.Group = "billing" })
		b.publish("a")
		for i := range 130 {
			b.publish(fmt.Sprintf("other%d", i))
			pass(time.Minute)
		}
		if shipping.runs("a") != 3 || shipping.call("a", 2).Attempt != 3 {
			t.Errorf("shipping: %d runs, the last one attempt %d; want 3", shipping.runs("a"), shipping.call("a", 2).Attempt)
		}
		b.want("orders.dlq")
		b.want("orders--billing.dlq", "a")
		for _, l := range b.letters("orders--billing.dlq") {
			if e := envelopeOf(t, l); e.Count != 5 || e.Group != "billing" || e.Reason != envelope.ReasonAttempts {
				t.Errorf("billing: count %d, group %q, reason %q", e.Count, e.Group, e.Reason)
			}
		}
	})
}

package workertest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/envelope"
)

// step is where in a move the worker dies.
type step struct {
	name, text string
	// link says that the client dies by itself, on a connection that swallows the
	// settlement.
	link bool
	// after says that the move takes effect.
	after bool
}

func killCases() []brokertest.Case {
	var all []brokertest.Case
	ends := []struct {
		name string
		plan plan
	}{
		{"done", func(context.Context, *redrive.Message, int) error { return nil }},
		{"retry", func(_ context.Context, m *redrive.Message, _ int) error {
			if m.Attempt == 1 {
				return redrive.Local(errAway)
			}
			return nil
		}},
		{"dead", func(context.Context, *redrive.Message, int) error { return redrive.Business(errors.New("refused")) }},
	}
	steps := []step{
		{name: "before", text: "before the move"},
		{name: "between", text: "between the copy and the settlement", link: true},
		{name: "after", text: "after the move and before it knows", after: true},
	}
	for _, end := range ends {
		for _, s := range steps {
			if end.name == "done" && s.link {
				continue
			}
			all = append(all, brokertest.Case{
				Name:    "C4-worker-killed-" + s.name + "-" + end.name,
				Promise: fmt.Sprintf("a worker that dies %s (%s) loses nothing, and what comes twice has one key", s.text, end.name),
				Test:    with(func(e *bench) { killedAt(e, s, end.name, end.plan) }),
			})
		}
	}
	return all
}

// mortal is a client that is killed at its first settlement.
type mortal struct {
	broker.Broker
	after bool
	kill  func()
}

func (m *mortal) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	sub, err := m.Broker.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return mortalSub{sub, m}, nil
}

type mortalSub struct {
	broker.Subscription
	m *mortal
}

func (s mortalSub) Receive(ctx context.Context, max int) ([]broker.Delivery, error) {
	got, err := s.Subscription.Receive(ctx, max)
	for i, d := range got {
		got[i] = mortalDelivery{d, s.m}
	}
	return got, err
}

type mortalDelivery struct {
	broker.Delivery
	m *mortal
}

func (d mortalDelivery) Settle(ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
	var err error
	if d.m.after {
		_, err = d.Delivery.Settle(ctx, o)
	}
	d.m.kill()
	return broker.Receipt{}, errors.Join(broker.ErrUnknown, err)
}

// killedAt runs a worker that dies at a step, and then another one.
func killedAt(e *bench, s step, end string, p plan) {
	e.publish("m")
	dead := make(chan struct{})
	var once sync.Once
	died := func() { once.Do(func() { close(dead) }) }
	var first *worker
	if s.link {
		if e.h.Link == nil {
			e.Logf("the harness has no Link: nothing is shown about a death within a move")
			return
		}
		b, l := e.h.Link(e)
		e.Cleanup(l.Heal)
		l.DropSettlements()
		first = e.start(b, p, dies, func(c *redrive.Config) {
			// The first try of the move ends without an answer, or with the lease: by
			// then it is dead.
			c.SettleTimeout = e.h.Lease / 2
			c.Observers = append(c.Observers, redrive.ObserverFunc(func(ev *redrive.Event) {
				if ev.Kind == redrive.EventMoveFailed || ev.Kind == redrive.EventLeaseLost {
					died()
				}
			}))
		})
	} else {
		client := e.h.Open(e)
		first = e.start(&mortal{Broker: client, after: s.after, kill: func() {
			e.h.Kill(e, client)
			died()
		}}, p, dies)
	}
	select {
	case <-dead:
	case <-e.ctx.Done():
		e.Fatalf("the worker did not come to its move: %v", e.ctx.Err())
	}
	_ = first.stop() // It is dead: that its move failed is no news.
	// The one that takes over keeps what it has on a busy machine, too: what comes twice
	// comes of the death.
	e.start(e.h.Open(e), p, func(c *redrive.Config) { c.Lease = 30 * e.h.Lease })
	e.wait(2 * e.h.Lease)
	e.drained(e.patience())
	e.accounted(end)
}

// accounted checks where the one message of a case has gone.
func (e *bench) accounted(end string) {
	e.Helper()
	runs := e.books.runsOf("m")
	letters := e.letters(e.names.DeadLetter)
	most := 2
	if e.caps.DedupeWindow == 0 {
		most++ // The one that died may have repeated its move, and nothing drops the second copy.
	}
	switch {
	case end == "dead" && (len(letters) < 1 || len(letters) > 1 && e.caps.DedupeWindow > 0):
		e.Errorf("%d letters, want one", len(letters))
	case end != "dead" && len(letters) > 0:
		e.Errorf("%d letters of a message that was handled", len(letters))
	case end != "dead" && (e.books.successes("m") < 1 || e.books.successes("m") > most):
		e.Errorf("handled %d times: want at least once, and after the crash at most %d times", e.books.successes("m"), most)
	}
	if !e.caps.StableIdentity {
		return
	}
	for i, r := range runs {
		if r.message.IdempotencyKey == "" || r.message.IdempotencyKey != runs[0].message.IdempotencyKey {
			e.Errorf("run %d has the key %q, the first had %q", i+1, r.message.IdempotencyKey, runs[0].message.IdempotencyKey)
		}
	}
	for _, l := range letters {
		if env, err := envelope.Decode(l.Message.Envelope); err != nil || env.Key != runs[0].message.IdempotencyKey {
			e.Errorf("letter with key %q, %v; the run had %q", env.Key, err, runs[0].message.IdempotencyKey)
		}
	}
}

package workertest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/internal/workertest"
	"github.com/redrive-dev/redrive/redrivetest"
	"github.com/redrive-dev/redrive/redrivetest/mutant"
)

// over returns a harness on in-memory brokers whose clients are wrapped.
func over(wrap func(broker.Broker) broker.Broker, restart func(*redrivetest.Broker)) brokertest.Harness {
	var mu sync.Mutex
	servers := map[string]*redrivetest.Broker{}
	clients := map[broker.Broker]*redrivetest.Broker{}
	server := func(t brokertest.T) *redrivetest.Broker {
		mu.Lock()
		defer mu.Unlock()
		if servers[t.Name()] == nil {
			servers[t.Name()] = redrivetest.NewBroker()
		}
		return servers[t.Name()]
	}
	return brokertest.Harness{
		Open: func(t brokertest.T) broker.Broker {
			client := server(t).Client()
			b := wrap(client)
			mu.Lock()
			defer mu.Unlock()
			clients[b] = client
			return b
		},
		Kill: func(_ brokertest.T, b broker.Broker) {
			mu.Lock()
			defer mu.Unlock()
			clients[b].Kill()
		},
		Link: func(t brokertest.T) (broker.Broker, brokertest.Link) {
			b, link := redrivetest.WithLink(server(t).Client())
			return wrap(b), link
		},
		Restart: func(t brokertest.T) {
			server(t).Restart()
			if restart != nil {
				restart(server(t))
			}
		},
		Refuse: func(t brokertest.T, queue string) func() {
			server(t).Refuse(queue, broker.ErrFull)
			return func() { server(t).Refuse(queue, nil) }
		},
		Hostile: []broker.Header{{Name: "expiration", Value: []byte("1")}, {Name: "Nats-Rollup", Value: []byte("all")}},
	}
}

// failing runs every case and returns the names of those that fail.
func failing(t *testing.T, h brokertest.Harness) []string {
	t.Helper()
	var names []string
	for _, c := range workertest.Cases() {
		synctest.Test(t, func(t *testing.T) {
			if r := brokertest.Record(t.Context(), c, h); r.Failed() {
				names = append(names, c.Name)
			}
		})
	}
	return names
}

// sabotage is a broker with one bug.
type sabotage struct {
	name    string
	receive func(context.Context, broker.Subscription, int) ([]broker.Delivery, error)
	settle  func(context.Context, broker.Delivery, broker.Outcome) (broker.Receipt, error)
	look    func(*broker.Message)
	extend  bool // does nothing
	marks   bool // forgotten
	lease   time.Duration
	restart func(*redrivetest.Broker)
}

func sabotages() []sabotage {
	return []sabotage{
		{name: "settled when received", receive: func(ctx context.Context, s broker.Subscription, max int) ([]broker.Delivery, error) {
			got, err := s.Receive(ctx, max)
			for i, d := range got {
				_, _ = d.Settle(ctx, broker.Done{})
				got[i] = done{d}
			}
			return got, err
		}},
		{name: "lease of a moment", lease: time.Microsecond},
		{name: "done is a release", settle: func(ctx context.Context, d broker.Delivery, o broker.Outcome) (broker.Receipt, error) {
			if _, ok := o.(broker.Done); ok {
				o = broker.Release{}
			}
			return d.Settle(ctx, o)
		}},
		{name: "no answer is a settlement", settle: func(ctx context.Context, d broker.Delivery, o broker.Outcome) (broker.Receipt, error) {
			r, err := d.Settle(ctx, o)
			if errors.Is(err, broker.ErrUnknown) {
				err = nil
			}
			return r, err
		}},
		{name: "what fails is settled", settle: func(ctx context.Context, d broker.Delivery, o broker.Outcome) (broker.Receipt, error) {
			r, err := d.Settle(ctx, o)
			if err != nil && !errors.Is(err, broker.ErrSettled) {
				_, _ = d.Settle(ctx, broker.Done{})
			}
			return r, err
		}},
		{name: "retry at once", settle: func(ctx context.Context, d broker.Delivery, o broker.Outcome) (broker.Receipt, error) {
			if r, ok := o.(broker.Retry); ok {
				r.At = time.Time{}
				o = r
			}
			return d.Settle(ctx, o)
		}},
		{name: "release is done", settle: func(ctx context.Context, d broker.Delivery, o broker.Outcome) (broker.Receipt, error) {
			if _, ok := o.(broker.Release); ok {
				o = broker.Done{}
			}
			return d.Settle(ctx, o)
		}},
		{name: "body as text", look: func(m *broker.Message) { m.Body = bytes.ToValidUTF8(m.Body, []byte("?")) }},
		{name: "headers sorted", look: func(m *broker.Message) {
			slices.SortStableFunc(m.Headers, func(a, b broker.Header) int { return strings.Compare(a.Name, b.Name) })
		}},
		{name: "extend does nothing", extend: true},
		{name: "marks forgotten", marks: true},
		{name: "restart forgets retries", restart: func(b *redrivetest.Broker) { forget(b, broker.KindRetry) }},
		{name: "restart forgets the source", restart: func(b *redrivetest.Broker) { forget(b, broker.KindSource) }},
		{name: "restart forgets letters", restart: func(b *redrivetest.Broker) { forget(b, broker.KindDeadLetter) }},
	}
}

// forget empties every queue of a kind.
func forget(b *redrivetest.Broker, kind broker.QueueKind) {
	ctx := context.Background()
	queues, _ := b.Topology().Queues(ctx)
	for _, q := range queues {
		if l, err := b.Letters(ctx, q.Name); err == nil && q.Kind == kind {
			_ = l.Drain(ctx, 100, func(context.Context, []broker.Letter) error { return nil })
		}
	}
}

type broken struct {
	broker.Broker
	s *sabotage
}

func (b *broken) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	if b.s.lease > 0 {
		spec.Lease = b.s.lease
	}
	sub, err := b.Broker.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return brokenSub{sub, b.s}, nil
}

type brokenSub struct {
	broker.Subscription
	s *sabotage
}

func (s brokenSub) Receive(ctx context.Context, max int) ([]broker.Delivery, error) {
	receive := func(ctx context.Context, sub broker.Subscription, max int) ([]broker.Delivery, error) {
		return sub.Receive(ctx, max)
	}
	if s.s.receive != nil {
		receive = s.s.receive
	}
	got, err := receive(ctx, s.Subscription, max)
	for i, d := range got {
		if s.s.look != nil {
			s.s.look(d.Msg())
		}
		got[i] = brokenDelivery{d, s.s}
	}
	return got, err
}

type brokenDelivery struct {
	broker.Delivery
	s *sabotage
}

func (d brokenDelivery) Deliveries() broker.Deliveries {
	n := d.Delivery.Deliveries()
	if d.s.marks {
		n.Mark = broker.Mark{}
	}
	return n
}

func (d brokenDelivery) Extend(ctx context.Context, by time.Duration) error {
	if d.s.extend {
		return nil
	}
	return d.Delivery.Extend(ctx, by)
}

func (d brokenDelivery) Settle(ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
	if d.s.settle != nil {
		return d.s.settle(ctx, d.Delivery, o)
	}
	return d.Delivery.Settle(ctx, o)
}

// done takes any end, since it has come to one.
type done struct{ broker.Delivery }

func (done) Settle(context.Context, broker.Outcome) (broker.Receipt, error) {
	return broker.Receipt{}, nil
}
func (done) Extend(context.Context, time.Duration) error { return nil }

// TestEverySabotageIsCaught: every bug fails some case, and every case fails for
// some bug.
func TestEverySabotageIsCaught(t *testing.T) {
	if got := failing(t, over(func(b broker.Broker) broker.Broker { return b }, nil)); len(got) > 0 {
		t.Fatalf("a good broker fails %q", got)
	}
	useful := map[string]bool{}
	note := func(name string, caught []string) {
		t.Logf("%s: %s", name, strings.Join(caught, ", "))
		if len(caught) == 0 {
			t.Errorf("%q passes the suite", name)
		}
		for _, c := range caught {
			useful[c] = true
		}
	}
	for _, s := range sabotages() {
		note(s.name, failing(t, over(func(b broker.Broker) broker.Broker { return &broken{b, &s} }, s.restart)))
	}
	for _, name := range []string{mutant.AckFirst, mutant.HistoryDropped, mutant.TimestampedKey, mutant.UnconfirmedPublish} {
		note(name, failing(t, over(func(b broker.Broker) broker.Broker {
			bad, err := mutant.Wrap(name, b)
			if err != nil {
				t.Fatal(err)
			}
			return bad
		}, nil)))
	}
	for _, c := range workertest.Cases() {
		if !useful[c.Name] {
			t.Errorf("no bug fails case %s", c.Name)
		}
	}
}

func TestCasesAreNamed(t *testing.T) {
	known := map[string]bool{}
	for _, r := range brokertest.Requirements() {
		known[r.ID] = true
	}
	seen := map[string]bool{}
	for _, c := range slices.Concat(brokertest.Cases(), workertest.Cases()) {
		if c.Name == "" || c.Promise == "" || seen[c.Name] {
			t.Errorf("case %q, %q: names are unique and nothing is empty", c.Name, c.Promise)
		}
		seen[c.Name] = true
		for _, id := range c.Requirements() {
			if !known[id] {
				t.Errorf("case %s proves %q, which is no requirement", c.Name, id)
			}
		}
	}
}

package redrive_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/redrivetest"
	"github.com/redrive-dev/redrive/retry"
)

// runUntil runs a worker until n events of a kind have been seen.
func runUntil(b broker.Broker, h redrive.Handler, c redrive.Config, kind redrive.EventKind, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	seen := make(chan struct{}, 1000)
	c.Observers = append(c.Observers, redrive.ObserverFunc(func(e *redrive.Event) {
		if e.Kind == kind {
			seen <- struct{}{}
		}
	}))
	w, err := redrive.NewWorker(b, h, c)
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		for range n {
			<-seen
		}
		cancel()
	}()
	if err := w.Run(ctx); err != nil {
		fmt.Println(err)
	}
}

func publish(b broker.Broker, bodies ...string) {
	for i, body := range bodies {
		err := b.Publish(context.Background(), []broker.Outbound{{Queue: "orders", ID: fmt.Sprintf("pub:%d", i), Body: []byte(body)}})[0]
		if err != nil {
			fmt.Println(err)
		}
	}
}

// A worker gives each message to the handler, and moves what fails for good to
// the dead-letter queue. The in-memory broker stands for a real one here.
func ExampleNewWorker() {
	b := redrivetest.NewBroker()
	publish(b, "42 roses", "-3 lilies")

	handle := func(_ context.Context, m *redrive.Message) error {
		if m.Body[0] == '-' {
			return redrive.Business(errors.New("a negative quantity"))
		}
		fmt.Printf("shipped %s\n", m.Body)
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	w, err := redrive.NewWorker(b.Client(), handle, redrive.Config{
		Source: "orders",
		Observers: []redrive.Observer{redrive.ObserverFunc(func(e *redrive.Event) {
			if e.Kind == redrive.EventDeadLettered {
				fmt.Printf("dead-lettered %s: %s\n", e.Message.Body, e.Category)
				cancel()
			}
		})},
		Concurrency: 1,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := w.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// shipped 42 roses
	// dead-lettered -3 lilies: business
}

// JSON decodes the body. What does not fit is dead-lettered as a schema failure,
// byte for byte.
func ExampleJSON() {
	type order struct {
		Item     string `json:"item"`
		Quantity int    `json:"quantity"`
	}
	b := redrivetest.NewBroker()
	publish(b, `{"item":"roses","quantity":42}`, `{"item":`)

	handle := redrive.JSON(func(_ context.Context, _ *redrive.Message, o order) error {
		fmt.Printf("shipped %d %s\n", o.Quantity, o.Item)
		return nil
	})
	runUntil(b.Client(), handle, redrive.Config{Source: "orders"}, redrive.EventDeadLettered, 1)

	letters, _ := b.Letters(context.Background(), "orders.dlq")
	all, _, _ := letters.Scan(context.Background(), "", 10)
	for _, l := range all {
		fmt.Printf("dead letter: %s\n", l.Message.Body)
	}
	// Unordered output:
	// shipped 42 roses
	// dead letter: {"item":
}

// A named dependency has a breaker of its own: while it is open, messages that
// need the dependency wait without losing an attempt, and the others go on.
func ExampleDependency() {
	b := redrivetest.NewBroker()
	publish(b, "pay 10")

	handle := func(ctx context.Context, m *redrive.Message) error {
		return redrive.Dependency(ctx, "payments", func(context.Context) error {
			fmt.Printf("%s, attempt %d\n", m.Body, m.Attempt)
			if m.Attempt == 1 {
				return errors.New("connection reset")
			}
			return nil
		})
	}
	runUntil(b.Client(), handle, redrive.Config{Source: "orders"}, redrive.EventHandled, 1)
	// Output:
	// pay 10, attempt 1
	// pay 10, attempt 2
}

// An inbox makes a message that comes twice take effect once.
func ExampleConfig_inbox() {
	b := redrivetest.NewBroker()
	for i := range 2 { // a producer that sends one event twice
		err := b.Publish(context.Background(), []broker.Outbound{{
			Queue: "orders", ID: fmt.Sprintf("pub:%d", i), Body: []byte("42 roses"),
			Headers: []broker.Header{{Name: "X-Event-Id", Value: []byte("e-1")}},
		}})[0]
		if err != nil {
			fmt.Println(err)
		}
	}
	handle := func(_ context.Context, m *redrive.Message) error {
		fmt.Printf("shipped %s under %s\n", m.Body, m.IdempotencyKey)
		return nil
	}
	c := redrive.Config{Source: "orders", Inbox: idempotency.NewMemory(), IdempotencyHeader: "X-Event-Id", Concurrency: 1}
	runUntil(b.Client(), handle, c, redrive.EventDuplicate, 1)
	// Output:
	// shipped 42 roses under e-1
}

// A Retrier retries in place, for code that is not behind a broker.
func ExampleRetrier_Do() {
	r, err := redrive.NewRetrier(redrive.RetrierConfig{
		Policy: retry.Policy{Attempts: 3, Strategy: retry.Strategy{Base: time.Millisecond}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	n := 0
	res := r.Do(context.Background(), func(context.Context) error {
		n++
		if n < 3 {
			return errors.New("connection reset")
		}
		return nil
	})
	fmt.Println(res.Attempts, res.Err)
	// Output:
	// 3 <nil>
}

// Execute makes one call behind a breaker.
func ExampleExecute() {
	b, err := breaker.New(breaker.Config{Consecutive: 1}, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	quote := func(context.Context) (int, error) { return 0, errors.New("connection reset") }
	x := redrive.Execute(context.Background(), b, quote)
	fmt.Println(x.Rejected, x.State)
	x = redrive.Execute(context.Background(), b, quote)
	fmt.Println(x.Rejected, errors.Is(x.Err, breaker.ErrOpen))
	// Output:
	// false open
	// true true
}

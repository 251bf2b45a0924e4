package redrive_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/redrivetest"
)

// An Observer is told of everything that a worker does.
func ExampleObserverFunc() {
	b := redrivetest.NewBroker()
	publish(b, "flaky")
	handle := func(_ context.Context, m *redrive.Message) error {
		if m.Attempt < 3 {
			return redrive.Transient(errors.New("connection reset"))
		}
		return nil
	}
	watch := redrive.ObserverFunc(func(e *redrive.Event) {
		switch e.Kind {
		case redrive.EventFailed:
			fmt.Printf("attempt %d failed: %s\n", e.Message.Attempt, e.Failure.Message)
		case redrive.EventHandled:
			fmt.Printf("handled at attempt %d\n", e.Message.Attempt)
		}
	})
	runUntil(b.Client(), handle, redrive.Config{Source: "orders", Observers: []redrive.Observer{watch}}, redrive.EventHandled, 1)
	// Output:
	// attempt 1 failed: connection reset
	// attempt 2 failed: connection reset
	// handled at attempt 3
}

// wellFormed refuses bodies that are not JSON.
type wellFormed struct{}

func (wellFormed) Validate(_ context.Context, m *redrive.Message) error {
	if !json.Valid(m.Body) {
		return errors.New("the body is not JSON")
	}
	return nil
}

// A Validator stands before the handler. What it refuses is a schema failure.
func ExampleValidator() {
	b := redrivetest.NewBroker()
	publish(b, "{")
	handle := func(context.Context, *redrive.Message) error {
		fmt.Println("not reached")
		return nil
	}
	watch := redrive.ObserverFunc(func(e *redrive.Event) {
		if e.Kind == redrive.EventDeadLettered {
			fmt.Printf("dead-lettered as %s\n", e.Category)
		}
	})
	c := redrive.Config{Source: "orders", Validator: wellFormed{}, Observers: []redrive.Observer{watch}}
	runUntil(b.Client(), handle, c, redrive.EventDeadLettered, 1)
	// Output:
	// dead-lettered as schema
}

// The markers say what an error means.
func ExampleBusiness() {
	b := redrivetest.NewBroker()
	publish(b, "refund 10 of 5")
	handle := func(context.Context, *redrive.Message) error {
		return redrive.Business(errors.New("a refund larger than the payment"))
	}
	watch := redrive.ObserverFunc(func(e *redrive.Event) {
		if e.Kind == redrive.EventDeadLettered {
			fmt.Printf("%s: %s\n", e.Message.Body, e.Category)
		}
	})
	runUntil(b.Client(), handle, redrive.Config{Source: "orders", Observers: []redrive.Observer{watch}}, redrive.EventDeadLettered, 1)
	// Output:
	// refund 10 of 5: business
}

package breaker_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/breaker"
)

// A breaker opens after five failures, admits one probe when its time has come,
// and closes after two successes.
func Example() {
	b, err := breaker.New(breaker.Config{Jitter: -1}, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	attempt := func(outcome breaker.Outcome) {
		permit, err := b.Allow(now)
		if err == nil {
			b.Report(now, permit, outcome)
		}
	}
	for range 5 {
		attempt(breaker.Failure)
	}
	fmt.Println(b.State(now), "for", b.Next(now).Sub(now))

	now = b.Next(now)
	attempt(breaker.Success)
	fmt.Println(b.State(now))
	attempt(breaker.Success)
	fmt.Println(b.State(now))
	// Output:
	// open for 1s
	// half-open
	// closed
}

// A refusal says when to ask again. The message is held until then; it has not
// been attempted.
func ExampleOpenError() {
	b, err := breaker.New(breaker.Config{Name: "payments"}, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b.Trip(now, now.Add(time.Minute))

	_, err = b.Allow(now)
	if refusal, ok := errors.AsType[*breaker.OpenError](err); ok {
		fmt.Println(refusal.RecoverAt().Sub(now))
	}
	fmt.Println(err)
	// Output:
	// 1m0s
	// circuit breaker of "payments" is not closed, next probe at 2026-01-01T00:01:00Z
}

// A downstream that says how long it wants to be left alone is left alone.
func ExampleBreaker_Trip() {
	b, err := breaker.New(breaker.Config{}, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b.Trip(now, now.Add(20*time.Second)) // Retry-After: 20
	fmt.Println(b.State(now), "for", b.Next(now).Sub(now))
	// Output:
	// open for 20s
}

// A call that says nothing about the downstream gives its permit back.
func ExampleBreaker_Report_ignored() {
	b, err := breaker.New(breaker.Config{}, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 1000 {
		permit, err := b.Allow(now)
		if err != nil {
			fmt.Println(err)
			return
		}
		b.Report(now, permit, breaker.Ignored) // a message that breaks a business rule
	}
	fmt.Println(b.State(now))
	// Output:
	// closed
}

package retry_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/retry"
)

// The zero policy retries four times, later and later, and never all at once.
func Example() {
	var policy retry.Policy
	random := rand.New(rand.NewPCG(2, 3))
	previous := time.Duration(0)
	for attempt := 1; attempt < policy.WithDefaults().Attempts; attempt++ {
		previous = policy.Delay(attempt, failure.Transient, previous, 0, random)
		fmt.Printf("attempt %d failed, wait %v\n", attempt, previous.Round(time.Millisecond))
	}
	// Output:
	// attempt 1 failed, wait 62ms
	// attempt 2 failed, wait 7ms
	// attempt 3 failed, wait 71ms
	// attempt 4 failed, wait 693ms
}

// A nil source of chance shows the schedule before jitter.
func ExampleStrategy_Delay() {
	s := retry.Strategy{Base: time.Second, Max: 5 * time.Second}
	for attempt := 1; attempt <= 4; attempt++ {
		fmt.Println(s.Delay(attempt, 0, nil))
	}
	// Output:
	// 1s
	// 2s
	// 4s
	// 5s
}

// Quickly at first, patiently later, and a crash never quickly.
func ExamplePolicy_Delay_tiers() {
	policy := retry.Policy{
		Attempts: 8,
		Tiers: []retry.Tier{
			{Category: failure.Crash, Strategy: retry.Strategy{Backoff: retry.Fixed, Base: time.Minute, Max: time.Minute}},
			{To: 3, Strategy: retry.Strategy{Base: 50 * time.Millisecond}},
			{From: 4, Strategy: retry.Strategy{Backoff: retry.Linear, Base: time.Minute, Max: 10 * time.Minute}},
		},
	}
	fmt.Println(policy.Delay(2, failure.Transient, 0, 0, nil))
	fmt.Println(policy.Delay(5, failure.Transient, 0, 0, nil))
	fmt.Println(policy.Delay(2, failure.Crash, 0, 0, nil))
	// Output:
	// 100ms
	// 5m0s
	// 1m0s
}

// A Retry-After of the downstream wins, up to a limit.
func ExamplePolicy_Delay_retryAfter() {
	var policy retry.Policy
	fmt.Println(policy.Delay(1, failure.Transient, 0, 90*time.Second, nil))
	fmt.Println(policy.Delay(1, failure.Transient, 0, 90*time.Hour, nil))
	// Output:
	// 1m30s
	// 1h0m0s
}

func ExamplePolicy_Validate() {
	fmt.Println(retry.Policy{
		Attempts: -1,
		Strategy: retry.Strategy{Base: time.Minute, Max: time.Second},
	}.Validate())
	// Output:
	// retry: Attempts is -1; give at least 1, which means no retry
	// retry: Strategy.Max is 1s, less than Base, which is 1m0s; raise Max or lower Base
}

// Retries beyond the budget are spread into the future, not refused.
func ExampleBudget() {
	budget, err := retry.NewBudget(retry.BudgetConfig{Floor: 10, Burst: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 5 {
		fmt.Println(budget.Reserve(now))
	}
	// Output:
	// 0s
	// 0s
	// 0s
	// 100ms
	// 200ms
}

package worker

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/retry"
	"github.com/redrive-dev/redrive/torture/scenario"
)

// Variable is the environment variable with the Config of a worker, as JSON. A
// program that finds it calls Main and does nothing else.
const Variable = "REDRIVE_TORTURE_WORKER"

// Source is the queue that workers consume if they are told of no other.
const Source = "torture"

// InFlight is the largest number of messages that a worker holds.
const InFlight = 32

// defaultLease is that of Config.Lease.
const defaultLease = 2 * time.Second

// CrashThreshold is the number of deaths alone that make a message a killer.
const CrashThreshold = 3

// Config is what a worker is told.
type Config struct {
	// Broker is the broker to work on.
	Broker Connection `json:"broker"`
	// KeyHeader makes the header with the message's id the idempotency key: for
	// brokers under which one publication can have two positions, or none. Default:
	// false, the key is made of the position.
	KeyHeader bool `json:"key_header,omitempty"`
	// Patience is how long a worker waits for a broker that is away, at its start
	// and later. Default: 0, it gives up at once.
	Patience time.Duration `json:"patience,omitempty"`
	// Source is the queue to consume. Default: Source.
	Source string `json:"source,omitempty"`
	// Group is the consumer group. Default: that of the library.
	Group string `json:"group,omitempty"`
	// Lease is that of the subscription. Default: 2 s, so that the messages of a dead
	// worker come back soon.
	Lease time.Duration `json:"lease,omitempty"`
	// Inbox is a SQLite file. With it every effect is a row that commits together
	// with the inbox. Default: none, effects are records of the journal.
	Inbox string `json:"inbox,omitempty"`
	// Budget limits retries. The zero value turns the limit off.
	Budget retry.BudgetConfig `json:"budget"`
	// Journal is the file to write down in. It is made.
	Journal string `json:"journal"`
	// Outage is the file that exists as long as every call fails.
	Outage string `json:"outage"`
	// Scenario is the script.
	Scenario scenario.Scenario `json:"scenario"`
	// Mutant is a name that mutant.Names lists, or empty.
	Mutant string `json:"mutant,omitempty"`
	// Name is the worker's name in histories.
	Name string `json:"name"`
}

// Environment returns the variable that starts a worker with this configuration.
func (c Config) Environment() (string, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("worker: %w", err)
	}
	return Variable + "=" + string(raw), nil
}

// Policy is the default policy with shorter times, so that nobody waits. Without a
// configuration the retry budget is off: its waits would only make the run longer.
func Policy(budget retry.BudgetConfig) redrive.Policy {
	if budget == (retry.BudgetConfig{}) {
		budget.Ratio = -1
	}
	return redrive.Policy{
		Retry: retry.Policy{
			Attempts: scenario.Attempts,
			Strategy: retry.Strategy{Base: 20 * time.Millisecond, Max: 500 * time.Millisecond},
		},
		Budget:  budget,
		Breaker: breaker.Config{Recovery: 100 * time.Millisecond, RecoveryMax: time.Second},
	}
}

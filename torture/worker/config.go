package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/redrivenats"
	"github.com/redrive-dev/redrive/retry"
	"github.com/redrive-dev/redrive/torture/scenario"
)

// Variable is the environment variable with the Config of a worker, as JSON. A
// program that finds it calls Main and does nothing else.
const Variable = "REDRIVE_TORTURE_WORKER"

// Source is the queue that workers consume.
const Source = "torture"

// InFlight is the largest number of messages that a worker holds.
const InFlight = 32

// CrashThreshold is the number of deaths alone that make a message a killer.
const CrashThreshold = 3

// Config is what a worker is told.
type Config struct {
	// DataDir is that of the embedded broker, where its address and token are.
	DataDir string `json:"data_dir"`
	// URL is where to reach the broker. Default: the address in DataDir.
	URL string `json:"url,omitempty"`
	// Patience is how long a worker waits for a broker that is away, at its start
	// and later. Default: 0, it gives up at once.
	Patience time.Duration `json:"patience,omitempty"`
	// Group is the consumer group. Default: that of the library.
	Group string `json:"group,omitempty"`
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

// Connect returns how to connect to the embedded broker of a data directory, at
// the URL if it is not empty and else where the broker says that it listens.
func Connect(dataDir, at string) (redrivenats.Config, error) {
	url, err1 := os.ReadFile(filepath.Join(dataDir, "nats.url"))     //nolint:gosec // the parent's folder
	token, err2 := os.ReadFile(filepath.Join(dataDir, "nats.token")) //nolint:gosec // likewise
	if err := errors.Join(err1, err2); err != nil {
		return redrivenats.Config{}, fmt.Errorf("no embedded broker runs: %w", err)
	}
	if at != "" {
		url = []byte(at)
	}
	return redrivenats.Config{
		URL: strings.TrimSpace(string(url)), Token: strings.TrimSpace(string(token)), Name: "torture", Cluster: "torture",
	}, nil
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

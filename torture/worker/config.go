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

// Connect connects to the embedded broker of a data directory.
func Connect(dataDir string) (redrivenats.Config, error) {
	url, err1 := os.ReadFile(filepath.Join(dataDir, "nats.url"))     //nolint:gosec // the parent's folder
	token, err2 := os.ReadFile(filepath.Join(dataDir, "nats.token")) //nolint:gosec // likewise
	if err := errors.Join(err1, err2); err != nil {
		return redrivenats.Config{}, fmt.Errorf("no embedded broker runs: %w", err)
	}
	return redrivenats.Config{
		URL: strings.TrimSpace(string(url)), Token: strings.TrimSpace(string(token)), Name: "torture", Cluster: "torture",
	}, nil
}

// Policy is the default policy with shorter times, so that nobody waits. The
// retry budget is off: its waits would only make the run longer.
func Policy() redrive.Policy {
	return redrive.Policy{
		Retry: retry.Policy{
			Attempts: scenario.Attempts,
			Strategy: retry.Strategy{Base: 20 * time.Millisecond, Max: 500 * time.Millisecond},
		},
		Budget:  retry.BudgetConfig{Ratio: -1},
		Breaker: breaker.Config{Recovery: 100 * time.Millisecond, RecoveryMax: time.Second},
	}
}

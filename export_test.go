package redrive

import (
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/host"
)

// NewWorkerOn makes a worker whose clock, goroutines and waiting are those of a
// simulated host.
func NewWorkerOn(on host.Host, b broker.Broker, h Handler, c Config) (*Worker, error) {
	return newWorker(on, b, h, c)
}

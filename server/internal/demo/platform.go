package demo

import (
	"context"
	"encoding/json"

	"github.com/redrive-dev/redrive/broker"
)

// Platform is what a run needs of the program around it. This package chooses no
// broker.
type Platform struct {
	// StartBroker opens the broker of a run: one that it starts, whose data lies in
	// the run's folder, or one that runs elsewhere and has other users.
	StartBroker func(ctx context.Context, run RunID) (Server, error)
	// Connect connects a worker process to it.
	Connect func(ctx context.Context, address Address) (Connection, error)
	// WorkerCommand is the command line of a worker process, which calls Work.
	WorkerCommand []string
	// WorkerEnviron is added to its environment.
	WorkerEnviron []string
}

// RunID tells a run from others on the same broker.
type RunID struct {
	// Dir is the folder of the run.
	Dir string
	// Name is of lower-case letters and digits, begins with a letter, and is never
	// used again.
	Name string
}

// Address is how a worker process reaches the broker. It holds secrets, so that it
// travels through a pipe alone.
type Address = json.RawMessage

// Server is a running broker.
type Server interface {
	Address() Address
	// Broker is a connection for this process.
	Broker() broker.Broker
	// Source is the name of the run's source queue.
	Source() string
	// Remove deletes the queues of the run from a broker that others use too. What
	// it had to leave there is told in one sentence, empty for nothing.
	Remove(ctx context.Context) (left string, err error)
	Shutdown(ctx context.Context) error
}

// Connection is a connection that its user closes.
type Connection interface {
	broker.Broker
	Close(ctx context.Context) error
}

package demo

import (
	"context"

	"github.com/redrive-dev/redrive/broker"
)

// Platform is what a run needs of the program around it. This package chooses no
// broker.
type Platform struct {
	// StartBroker runs a broker whose data lies in dir.
	StartBroker func(ctx context.Context, dir string) (Server, error)
	// Connect connects a worker process to it.
	Connect func(ctx context.Context, address Address) (Connection, error)
	// WorkerCommand is the command line of a worker process, which calls Work.
	WorkerCommand []string
	// WorkerEnviron is added to its environment.
	WorkerEnviron []string
}

// Address is how to reach a broker.
type Address struct {
	URL string `json:"url"`
	// Token is a secret.
	Token string `json:"token"`
}

// Server is a running broker.
type Server interface {
	Address() Address
	// Broker is a connection for this process.
	Broker() broker.Broker
	Shutdown(ctx context.Context) error
}

// Connection is a connection that its user closes.
type Connection interface {
	broker.Broker
	Close(ctx context.Context) error
}

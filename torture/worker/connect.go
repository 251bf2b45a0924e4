package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivenats"
)

// Broker is a connection that can be closed.
type Broker interface {
	broker.Broker
	Close(ctx context.Context) error
}

// The types of brokers. TypeNATS is the embedded one.
const (
	TypeNATS     = "nats"
	TypeKafka    = "kafka"
	TypeRabbitMQ = "rabbitmq"
	TypeSQS      = "sqs"
)

// Connection says which broker to connect to, and how.
type Connection struct {
	// Type is one of the types above.
	Type string `json:"type"`
	// URL is where to reach the broker.
	URL string `json:"url,omitempty"`
	// Options are what else the type needs, such as a token.
	Options map[string]string `json:"options,omitempty"`
}

// OptionDataDir is the option of TypeNATS that names the data directory of the
// embedded broker, where its address and token are. Its address counts if
// Connection.URL is empty. It is read whenever somebody connects.
const OptionDataDir = "data_dir"

// OptionMarks is the option that names a SQLite file for the notes about messages, for
// brokers that keep none. It is made if it does not exist.
const OptionMarks = "marks"

// Connect connects.
func (c Connection) Connect(ctx context.Context) (Broker, error) {
	switch c.Type {
	case TypeNATS:
		return c.nats(ctx)
	case TypeKafka:
		return c.kafka(ctx)
	case TypeRabbitMQ:
		return c.withMarks(ctx, func(marks broker.MarkStore) (Broker, error) { return c.rabbitMQ(ctx, marks) })
	case TypeSQS:
		return c.withMarks(ctx, func(marks broker.MarkStore) (Broker, error) { return c.sqs(ctx, marks) })
	default:
		return nil, fmt.Errorf("worker: no broker has the type %q", c.Type)
	}
}

func (c Connection) nats(ctx context.Context) (Broker, error) {
	config, err := c.natsConfig()
	if err != nil {
		return nil, err
	}
	b, err := redrivenats.Connect(ctx, config)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (c Connection) natsConfig() (redrivenats.Config, error) {
	dir := c.Options[OptionDataDir]
	url, err1 := os.ReadFile(filepath.Join(dir, "nats.url"))     //nolint:gosec // the parent's folder
	token, err2 := os.ReadFile(filepath.Join(dir, "nats.token")) //nolint:gosec // likewise
	if err := errors.Join(err1, err2); err != nil {
		return redrivenats.Config{}, fmt.Errorf("no embedded broker runs: %w", err)
	}
	if c.URL != "" {
		url = []byte(c.URL)
	}
	return redrivenats.Config{
		URL: strings.TrimSpace(string(url)), Token: strings.TrimSpace(string(token)), Name: "torture", Cluster: "torture",
	}, nil
}

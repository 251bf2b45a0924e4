package worker

import (
	"context"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redriverabbitmq"
)

// OptionManagement is the option of TypeRabbitMQ with the address of the management
// API, and OptionProtocol the one with the adapter's setting of that name.
const (
	OptionManagement = "management"
	OptionProtocol   = "protocol"
)

func (c Connection) rabbitMQ(ctx context.Context, marks broker.MarkStore) (Broker, error) {
	b, err := redriverabbitmq.Connect(ctx, redriverabbitmq.Config{
		URL: c.URL, ManagementURL: c.Options[OptionManagement], Protocol: redriverabbitmq.Protocol(c.Options[OptionProtocol]),
		Name: "torture", Marks: marks,
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

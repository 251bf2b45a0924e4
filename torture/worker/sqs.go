package worker

import (
	"context"
	"errors"
	"os"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivesqs"
)

// OptionRegion is the option of TypeSQS with the region.
const OptionRegion = "region"

func (c Connection) sqs(ctx context.Context, marks broker.MarkStore) (Broker, error) {
	// The server takes any credentials, and the SDK asks for some.
	if err := errors.Join(os.Setenv("AWS_ACCESS_KEY_ID", "torture"), os.Setenv("AWS_SECRET_ACCESS_KEY", "torture")); err != nil {
		return nil, err
	}
	b, err := redrivesqs.Connect(ctx, redrivesqs.Config{Region: c.Options[OptionRegion], Endpoint: c.URL, Cluster: "torture", Marks: marks})
	if err != nil {
		return nil, err
	}
	return b, nil
}

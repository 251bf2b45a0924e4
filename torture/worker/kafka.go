package worker

import (
	"context"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/redrivekafka"
)

// OptionMember is the option of TypeKafka that names the place of a worker. One that
// takes the place of a killed one takes over its partitions at once, where the group
// would wait for the end of its session else.
const OptionMember = "member"

// partitions of the topics on Kafka: each worker has several, and none all.
const partitions = 8

func (c Connection) kafka(ctx context.Context) (Broker, error) {
	config := redrivekafka.Config{
		Brokers: strings.Split(c.URL, ","), Name: "torture", Cluster: "torture", Partitions: partitions,
		SessionTimeout: 6 * time.Second, RebalanceTimeout: 6 * time.Second,
		// On a busy machine the first questions to a new server take long.
		PublishTimeout: 30 * time.Second,
	}
	if member := c.Options[OptionMember]; member != "" {
		config.Options = []kgo.Opt{kgo.InstanceID(member)}
	}
	b, err := redrivekafka.Connect(ctx, config)
	if err != nil {
		return nil, err
	}
	return b, nil
}

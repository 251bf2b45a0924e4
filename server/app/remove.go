package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redrive-dev/redrive/server/internal/config"
)

// RemoveQueues deletes what lies on a broker under names that begin with a prefix,
// letters included, and says in one sentence what redrive made there and is left,
// empty for nothing. The prefix is that of a demo, so that no other queue is meant
// by it. Errors are a *BrokerError.
func RemoveQueues(ctx context.Context, c Config, name, prefix string) (left string, err error) {
	c = c.WithDefaults()
	if !strings.HasPrefix(prefix, "demo-") || len(prefix) < len("demo-")+8 {
		return "", fmt.Errorf("remove queues: %q is not the prefix of a demo", prefix)
	}
	how, ok := openings(c.Brokers[name].Type)
	if !ok || how.remove == nil {
		return "", &BrokerError{Broker: name, Err: errors.ErrUnsupported, Remedy: "remove its queues that begin with " + prefix}
	}
	if err := how.remove(ctx, c.Brokers[name], prefix); err != nil {
		return "", &BrokerError{Broker: name, Err: err, Remedy: "remove its queues that begin with " + prefix}
	}
	if c.Brokers[name].Type == config.BrokerNATS || c.Brokers[name].Type == config.BrokerSQS {
		return "", nil // Their prefix is that of the shared queues too.
	}
	return "redrive.outcomes and redrive.heartbeats, which all workers on the broker share", nil
}

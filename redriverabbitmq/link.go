package redriverabbitmq

import (
	"context"

	"github.com/redrive-dev/redrive/broker"
)

// link is how a subscription speaks to the broker during one connection. There
// is one for AMQP 0-9-1 and one for AMQP 1.0. When it ends, everything that was
// delivered over it and is not settled goes back to its queue.
type link interface {
	// consume starts deliveries. Each is handed to take, in order for each queue.
	consume(take func(arrival)) error
	// halt ends deliveries: none is handed over after it returned. What was
	// delivered can still be settled, and consume may be called again.
	halt() error
	// gone is closed when the connection has ended.
	gone() <-chan struct{}
	// why says why it ended.
	why() error
	// close ends the connection, after the broker has taken every settlement.
	close(ctx context.Context) error
}

// arrival is a message that the broker delivered.
type arrival struct {
	handle  handle
	decoded *decoded
	// retry says that it came from the queue of retries.
	retry bool
}

// handle settles one delivery.
type handle interface {
	// acknowledge removes the message from its queue, and giveBack lets it be
	// delivered again. Both return nil when the broker has taken the order, and may
	// be repeated after an error. The note of a release goes with it where the
	// protocol can carry one.
	acknowledge(ctx context.Context) error
	giveBack(ctx context.Context, note *broker.Mark) error
	// alive asks the broker whether it is still there.
	alive(ctx context.Context) error
	// native settles a Retry or Dead in one step. It reports false where the
	// protocol, the server or the topology cannot: then the message is moved by a
	// confirmed copy.
	native(ctx context.Context, outcome broker.Outcome) (receipt broker.Receipt, ok bool, err error)
}

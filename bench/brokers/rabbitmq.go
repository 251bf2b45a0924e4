package brokers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/internal/servertest"
	"github.com/redrive-dev/redrive/redriverabbitmq"
)

func rabbitMQ(z sizes) *system {
	return &system{
		id: "rabbitmq", name: "RabbitMQ", kind: servertest.KindRabbitMQ43, sizes: z, ratio: 0.9, late: 250 * time.Millisecond, arrival: 4 * time.Millisecond,
		loop: "Both consume over AMQP 0-9-1, from quorum queues. The raw loop has a prefetch of 256 and acknowledges each message; the protocol does not confirm that, " +
			"so that it asks a question on the same channel, `basic.qos`, after every 64 acknowledgements and when nothing waits, as redrive does, and counts those before the answer. " +
			"To dead-letter, it publishes with `mandatory` and acknowledges what is confirmed.",
		delays: "Delays are rounded up to those of the delay queues.",
		connect: func(ctx context.Context, url string) (adapter, error) {
			return redriverabbitmq.Connect(ctx, redriverabbitmq.Config{URL: url, Protocol: redriverabbitmq.Protocol091})
		},
		drain: drainRabbitMQ,
	}
}

// confirmEvery is how many acknowledgements the raw loop makes before it asks whether
// they have arrived.
const confirmEvery = 64

// moved is a message whose copy is on its way, or which needs none.
type moved struct {
	delivery amqp.Delivery
	copy     *amqp.DeferredConfirmation
}

func drainRabbitMQ(ctx context.Context, url, queue string, dead bool, t *tally) (err error) {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	in, err := conn.Channel()
	if err != nil {
		return err
	}
	out, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := errors.Join(out.Confirm(false), in.Qos(window, 0, false)); err != nil {
		return err
	}
	returned := out.NotifyReturn(make(chan amqp.Return, window))
	deliveries, err := in.ConsumeWithContext(ctx, queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	moves := make(chan moved, window)
	var settling sync.WaitGroup
	defer settling.Wait()
	defer close(moves)
	settling.Go(func() {
		if err := acknowledge(ctx, in, moves, t); err != nil {
			stop(err)
		}
	})
	for {
		select {
		case r := <-returned:
			return fmt.Errorf("a copy to %s was returned: %s", r.RoutingKey, r.ReplyText)
		case <-ctx.Done():
			return quiet(ctx, context.Cause(ctx))
		case d, ok := <-deliveries:
			if !ok {
				return quiet(ctx, errors.New("the consumer has ended"))
			}
			t.handle(d.Body)
			m := moved{delivery: d}
			if dead {
				m.copy, err = out.PublishWithDeferredConfirmWithContext(ctx, "", queue+".dlq", true, false, amqp.Publishing{
					DeliveryMode: amqp.Persistent, Headers: d.Headers, MessageId: d.MessageId, Body: d.Body,
				})
				if err != nil {
					return quiet(ctx, err)
				}
			}
			moves <- m
		}
	}
}

// acknowledge waits for each copy, acknowledges the original, and asks now and then
// whether that has arrived.
func acknowledge(ctx context.Context, in *amqp.Channel, moves <-chan moved, t *tally) error {
	open := 0
	for m := range moves {
		if m.copy != nil {
			stored, err := m.copy.WaitContext(ctx)
			if err != nil {
				return err
			}
			if !stored {
				return errors.New("a copy was refused")
			}
		}
		if err := m.delivery.Ack(false); err != nil {
			return quiet(ctx, err)
		}
		if open++; open < confirmEvery && len(moves) > 0 {
			continue
		}
		if err := in.Qos(window, 0, false); err != nil {
			return quiet(ctx, err)
		}
		t.settle(open)
		open = 0
	}
	return nil
}

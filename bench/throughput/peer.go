package throughput

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmjetstream "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sony/gobreaker"
)

const (
	poison  = "poison"
	durable = "watermill"
)

// watermillRouter is a Watermill router with the middlewares that its
// documentation gives for failing messages, and k subscriptions.
func watermillRouter(name string, k int) contender {
	return contender{
		name: name, prepare: prepareWatermill, header: nats.Header{wmnats.WatermillUUIDHdr: {"81723"}},
		consume: func(ctx context.Context, s *site, handle func([]byte) error, _ load) error {
			return consumeWatermill(ctx, s, handle, k)
		},
	}
}

// prepareWatermill makes streams of the same kind as redrive's.
func prepareWatermill(ctx context.Context, s *site) (streams, error) {
	source, err := s.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: queue, Subjects: []string{queue}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
		Discard: jetstream.DiscardNew, AllowDirect: true,
	})
	if err != nil {
		return streams{}, err
	}
	_, err = source.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: lease, MaxDeliver: -1, MaxAckPending: 100_000,
	})
	if err != nil {
		return streams{}, err
	}
	_, err = s.js.CreateStream(ctx, jetstream.StreamConfig{Name: poison, Subjects: []string{poison}, Storage: jetstream.FileStorage})
	return streams{source: queue, letters: poison}, err
}

func consumeWatermill(ctx context.Context, s *site, handle func([]byte) error, k int) (err error) {
	// Its parts close the connections that they are given.
	publishing, err := s.server.Connect()
	if err != nil {
		return err
	}
	defer publishing.Close()
	consuming, err := s.server.Connect()
	if err != nil {
		return err
	}
	defer consuming.Close()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: lease}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	publisher, err := wmjetstream.NewPublisher(wmjetstream.PublisherConfig{Conn: publishing, Logger: watermill.NopLogger{}})
	if err != nil {
		return err
	}
	letters, err := middleware.PoisonQueue(publisher, poison)
	if err != nil {
		return err
	}
	router.AddMiddleware(
		letters,
		middleware.Retry{MaxRetries: attempts - 1, InitialInterval: firstDelay, MaxInterval: lastDelay, Multiplier: 2, Logger: nil}.Middleware,
		middleware.NewCircuitBreaker(gobreaker.Settings{ReadyToTrip: func(gobreaker.Counts) bool { return false }}).Middleware,
	)
	subscriber, err := wmjetstream.NewSubscriber(wmjetstream.SubscriberConfig{
		Conn: consuming, Logger: watermill.NopLogger{}, AckWaitTimeout: lease, ResourceInitializer: existing,
		ConsumeOptions: []jetstream.PullConsumeOpt{jetstream.PullMaxMessages(window / k)},
	})
	if err != nil {
		return err
	}
	for i := range k {
		router.AddConsumerHandler(fmt.Sprint("handler-", i), queue, subscriber, func(m *message.Message) error { return handle(m.Payload) })
	}
	err = router.Run(ctx)
	// What it says about connections that it has closed itself is not about messages.
	_ = subscriber.Close()
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("router: %w", err)
	}
	return nil
}

// existing uses the consumer that is there.
func existing(ctx context.Context, js jetstream.JetStream, topic string) (jetstream.Consumer, func(context.Context, watermill.LoggerAdapter), error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	consumer, err := js.Consumer(ctx, topic, durable)
	return consumer, nil, err
}

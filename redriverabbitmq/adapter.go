package redriverabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

var _ broker.Broker = (*Broker)(nil)

// Broker is a connection to RabbitMQ. It is safe for concurrent use. It connects
// again by itself, for ever; operations fail while the server is away.
type Broker struct {
	config    Config
	server    server
	cluster   string
	vhost     string
	trunk     *trunk
	sizes     *sizes
	publisher *publisher
	manage    *management
	beats     *heartbeats
	drains    *drains

	mu            sync.Mutex
	subscriptions map[*subscription]struct{}
	// made are the logical names of the queues that were ensured here, for a broker
	// whose management API cannot be asked.
	made   map[string]broker.QueueKind
	closed bool
}

// Connect connects to RabbitMQ 3.10 or newer. When there is a ManagementURL, it
// has to answer.
func Connect(ctx context.Context, config Config) (*Broker, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	at, err := config.target(config.urls()[0])
	if err != nil {
		return nil, err
	}
	b := &Broker{
		config: config, vhost: at.vhost, trunk: newTrunk(config), subscriptions: map[*subscription]struct{}{},
		sizes: &sizes{message: config.MaxMessage, frame: 131_072 - frameOverhead}, made: map[string]broker.QueueKind{},
	}
	conn, err := b.trunk.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("redriverabbitmq: %w", err)
	}
	b.sizes.negotiated(conn.Config.FrameSize)
	b.server = probe(conn.Properties)
	b.cluster = b.server.cluster
	if err := errors.Join(b.server.check(), b.server.checkProtocol(config.Protocol)); err != nil {
		return nil, errors.Join(err, b.trunk.close())
	}
	b.manage = newManagement(config, at)
	if b.manage != nil {
		if err := b.manage.ping(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("redriverabbitmq: ManagementURL: %w", err), b.trunk.close())
		}
	}
	b.publisher = newPublisher(b.trunk, b.sizes)
	// A stream that has lost its place closes connections: it has one of its own.
	aside := newTrunk(config)
	b.beats = &heartbeats{b: b, trunk: aside, publisher: newPublisher(aside, b.sizes)}
	b.drains = &drains{b: b, gone: make(chan struct{})}
	return b, nil
}

// Close closes every subscription and the connections. It is idempotent.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	already := b.closed
	b.closed = true
	open := make([]*subscription, 0, len(b.subscriptions))
	for s := range b.subscriptions {
		open = append(open, s)
	}
	b.mu.Unlock()
	if already {
		return nil
	}
	var errs []error
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, s := range open {
		all.Go(func() {
			err := s.Close(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	all.Wait()
	b.drains.rest(ctx)
	b.publisher.stopWriting()
	b.beats.publisher.stopWriting()
	errs = append(errs, b.trunk.close(), b.beats.trunk.close())
	b.publisher.wait()
	b.beats.publisher.wait()
	b.manage.close()
	return errors.Join(errs...)
}

func (b *Broker) register(s *subscription) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("rabbitmq broker: %w", broker.ErrClosed)
	}
	b.subscriptions[s] = struct{}{}
	return nil
}

func (b *Broker) unregister(s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subscriptions, s)
}

// maxHold is how long a delivery can be unacknowledged: less than the server's
// timeout, so that it is this side which gives it back.
func (b *Broker) maxHold() time.Duration {
	timeout := b.config.ConsumerTimeout
	return max(min(timeout*9/10, timeout-time.Minute), timeout/2)
}

// Caps reports what RabbitMQ can do for the queue.
func (b *Broker) Caps(ctx context.Context, queue string) (broker.Caps, error) {
	look, err := b.look(ctx, nativeName(queue))
	if err != nil {
		return broker.Caps{}, fmt.Errorf("caps of queue %q: %w", queue, err)
	}
	limit, _ := b.sizes.limits()
	caps := broker.Caps{
		Server:      b.server.String(),
		Marks:       b.config.Marks != nil,
		Count:       look.count(),
		OneGroup:    true,
		MaxHold:     b.maxHold(),
		MaxMessage:  limit,
		LettersMode: broker.DrainOnly,
		Notes:       b.notes(look),
	}
	b.capsNative(ctx, queue, look, &caps)
	return caps, nil
}

// notes are the consequences of what the broker is and how it was configured.
func (b *Broker) notes(look look) []string {
	notes := []string{
		"RabbitMQ has no name for a stored message: without a message id or a named header there is no stable key, and an inbox is refused.",
		"Dead-letter queues can only be read by taking: every look is a delivery that the broker counts, hides and may reorder.",
		"A repeated publication makes a second message: the broker drops no duplicates.",
		"Acknowledgements of the last half second before a crash can be undone; what they ended then comes again.",
	}
	if b.config.Marks == nil {
		notes = append(notes, "There is no store for marks: crash loops are not detected.")
	} else {
		notes = append(notes, "Messages without a message id have no marks: a crash loop of one is not detected.")
	}
	if look.kind == kindClassic {
		notes = append(notes, "The queue is classic: it does not count deliveries, and crash loops are not detected.")
	}
	switch {
	case b.server.major == 4 && !b.server.atLeast(4, 2, 7), b.server.major == 4 && b.server.minor == 3 && !b.server.atLeast(4, 3, 3):
		notes = append(notes, "RabbitMQ below 4.2.7, and 4.3 below 4.3.3, can stop moving messages out of a delay after the members of a cluster change: upgrade.")
	}
	if b.manage == nil {
		notes = append(notes, "No ManagementURL: policies and limits of queues cannot be seen, and messages in hand of other processes are not counted.")
	}
	if b.server.atLeast(4, 0, 0) {
		return notes
	}
	return append(notes, "Before RabbitMQ 4.0 a quorum queue without a delivery limit puts what is given back at its end.")
}

// Topology returns the part of the Broker that reads and creates queues.
func (b *Broker) Topology() broker.Topology { return topology{b} }

package redrivesqs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/redrive-dev/redrive/broker"
)

var _ broker.Broker = (*Broker)(nil)

// Broker is a client of SQS. It is safe for concurrent use.
type Broker struct {
	config Config
	layout layout
	// api repeats requests that do no harm when they are repeated; once does not.
	api, once *sqs.Client
	journal   journal
	routes    *routes

	base    context.Context //nolint:containedctx // ends with Close: requests that callers share belong to none of them
	end     context.CancelFunc
	running crew

	mu            sync.Mutex
	subscriptions map[*subscription]struct{}
	lines         map[string]*lines
	warned        map[string]bool
	closed        bool
}

// connections is the number of connections that are kept: the SDK's own ten are
// fewer than the requests of one busy subscription.
const connections = 128

// Connect makes a client from the SDK's own configuration and returns a Broker on
// it. SQS has no connection that could fail here: credentials and queues are seen at
// the first request.
func Connect(ctx context.Context, config Config) (*Broker, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = connections, connections
	})
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithHTTPClient(client)}
	if config.Region != "" {
		options = append(options, awsconfig.WithRegion(config.Region))
	}
	loaded, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("redrivesqs: configuration of the AWS SDK: %w", err)
	}
	if loaded.Region == "" {
		return nil, errors.New("redrivesqs: Region: no region is set here, in AWS_REGION or in the SDK's configuration")
	}
	return New(sqs.NewFromConfig(loaded, func(o *sqs.Options) {
		if config.Endpoint != "" {
			o.BaseEndpoint = aws.String(config.Endpoint)
		}
	}), config)
}

// New makes a Broker of a client that the caller configured. The fields of Config
// about the connection are not used. The client should keep as many connections to
// one host as requests run at the same time.
func New(client *sqs.Client, config Config) (*Broker, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	base, end := context.WithCancel(context.Background()) //nolint:forbidigo // ends with Close
	b := &Broker{
		config: config, layout: layout{config.Prefix},
		api: client, once: sqs.New(client.Options(), func(o *sqs.Options) { o.Retryer = aws.NopRetryer{} }),
		base: base, end: end,
		subscriptions: map[*subscription]struct{}{}, lines: map[string]*lines{}, warned: map[string]bool{},
	}
	b.journal = newJournal(config.Marks)
	b.routes = newRoutes(b)
	return b, nil
}

// Close closes every subscription. It is idempotent.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	open := make([]*subscription, 0, len(b.subscriptions))
	for s := range b.subscriptions {
		open = append(open, s)
	}
	b.mu.Unlock()
	var errs []error
	for _, s := range open {
		errs = append(errs, s.Close(ctx))
	}
	select {
	case <-b.running.idle():
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("sqs broker: requests were ended without an answer: %w", cause(ctx)))
	}
	b.end()
	<-b.running.idle()
	return errors.Join(errs...)
}

func (b *Broker) register(s *subscription) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("sqs broker: %w", broker.ErrClosed)
	}
	b.subscriptions[s] = struct{}{}
	return nil
}

func (b *Broker) unregister(s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subscriptions, s)
}

// briefly bounds one request.
func (b *Broker) briefly(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, b.config.RequestTimeout, errTimeout)
}

// Topology returns the part of the Broker that reads and creates queues.
func (b *Broker) Topology() broker.Topology { return topology{b} }

// Caps reports what SQS can do for the queue.
func (b *Broker) Caps(ctx context.Context, name string) (broker.Caps, error) {
	caps := broker.Caps{
		Server: "Amazon SQS", Marks: b.config.Marks != nil, Count: broker.CountApproximate, StableIdentity: true,
		MaxRelease: maxRelease, MaxHold: maxHold, MaxMessage: maxMessage, MaxBinary: maxBinary, LettersMode: broker.DrainOnly,
	}
	if endpoint := aws.ToString(b.api.Options().BaseEndpoint); endpoint != "" {
		caps.Server = "SQS at " + endpoint
	}
	q, err := b.queue(ctx, b.layout.native(name))
	exists := err == nil
	if err != nil && !errors.Is(err, broker.ErrUnroutable) {
		return broker.Caps{}, err
	}
	if !exists {
		q = queue{name: b.layout.native(name)}
		q.fifo = strings.HasSuffix(q.name, fifoSuffix)
	}
	if q.fifo {
		caps.Ordered, caps.DedupeWindow = true, dedupeWindow
		if !caps.Marks {
			caps.MaxDelay = maxRelease
		}
	}
	caps.Notes = b.notes(q)
	if !exists {
		return caps, nil
	}
	set, err := b.settings(ctx, q)
	if err != nil {
		return broker.Caps{}, err
	}
	if set.maxMessage > 0 {
		caps.MaxMessage = set.maxMessage
		caps.MaxBinary = set.maxMessage / 4 * 3
	}
	caps.Notes = append(caps.Notes, checkSource(set)...)
	return caps, nil
}

func (b *Broker) notes(q queue) []string {
	notes := []string{
		"SQS deletes a message after 14 days at the most, letters too: they have to be taken into a catalogue before.",
		"A dead-letter queue can only be read by taking letters out of it.",
		"Counts of messages are estimates that may be a minute old, and the age of the oldest message is not known.",
		"A receive by anybody counts as a delivery, a look in the AWS console too.",
	}
	if b.config.Marks == nil {
		notes = append(notes, "No store for marks is configured: a message that kills its process is not detected.")
	}
	if !q.fifo {
		return append(notes,
			"A retry waits as a delayed copy in the source queue; delays of more than 15 minutes go on by a new copy every 15 minutes.",
			"A standard queue may deliver a message twice, and drops no repeated publication.")
	}
	notes = append(notes, "A retry waits in its place and holds up its message group, so that order is kept.")
	if b.config.Marks == nil {
		notes = append(notes, "No store for marks is configured: when another process receives a message, its attempts are the receives, and what failed is not known.")
	}
	return notes
}

// warn tells the log once about a queue.
func (b *Broker) warn(ctx context.Context, queue string, warnings []string) {
	for _, w := range warnings {
		b.mu.Lock()
		told := b.warned[queue+w]
		b.warned[queue+w] = true
		b.mu.Unlock()
		if !told {
			b.config.Logger.WarnContext(ctx, "setting of a queue", slog.String("queue", queue), slog.String("warning", w))
		}
	}
}

// routeLife is how long a publisher may use what it knows of a queue's groups.
// Ensure waits that long after it made a group's queue, so that every Publish that
// begins after it returned fills the queue, in whatever process.
const routeLife = time.Second

package redrivenats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

var _ broker.Broker = (*Broker)(nil)

// Broker is a connection to NATS JetStream. It is safe for concurrent use.
type Broker struct {
	config  Config
	layout  layout
	cluster string
	nc      *nats.Conn
	ownsNC  bool
	js      jetstream.JetStream
	req     *requests
	routes  *routes
	// level is the level of the JetStream API that the server speaks.
	level int
	// naks says that retries wait by delayed negative acknowledgements, because the
	// retry stream has no schedules.
	naks atomic.Bool

	mu            sync.Mutex
	subscriptions map[*subscription]struct{}
	closed        bool
}

// hint says what to do about a refusal that does not say why. A server that wants a
// client certificate may close the connection before the client has read so.
func hint(err error) string {
	if strings.Contains(err.Error(), "tls error: connection closed") {
		return ": the server may want a client certificate, or not trust this one"
	}
	return ""
}

// Connect connects and returns a Broker whose Close closes the connection. The
// connection then reconnects for ever; operations fail while it is away.
func Connect(ctx context.Context, config Config) (*Broker, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	options, err := config.options()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(config.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to nats at %s: %w%s", redactURL(config.URL), err, hint(err))
	}
	b, err := newBroker(ctx, nc, config)
	if err != nil {
		nc.Close()
		return nil, err
	}
	b.ownsNC = true
	return b, nil
}

// New makes a Broker of a connection that the caller keeps and closes. Connect
// it with nats.ReconnectBufSize(-1): a library that buffers while the server is
// away sends messages long after their outcome was reported as unknown. The
// fields of Config about the connection are not used.
func New(ctx context.Context, nc *nats.Conn, config Config) (*Broker, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return newBroker(ctx, nc, config)
}

func newBroker(ctx context.Context, nc *nats.Conn, config Config) (*Broker, error) {
	if err := checkVersion(nc.ConnectedServerVersion()); err != nil {
		return nil, err
	}
	library, err := jetstream.New(nc, jetstream.WithDefaultTimeout(config.PublishTimeout))
	if err != nil {
		return nil, fmt.Errorf("redrivenats: %w", err)
	}
	req, err := newRequests(nc, config.PublishTimeout)
	if err != nil {
		return nil, fmt.Errorf("redrivenats: %w", err)
	}
	js := guarded{library, req}
	account, err := js.AccountInfo(ctx)
	if err != nil {
		err = fmt.Errorf("redrivenats: JetStream at %s: %w", redactURL(nc.ConnectedUrl()), err)
		return nil, errors.Join(err, req.close())
	}
	cluster := config.Cluster
	if cluster == "" {
		cluster = nc.ConnectedClusterName()
	}
	if cluster == "" {
		cluster = "nats"
	}
	b := &Broker{
		config: config, layout: layout{config.Prefix}, cluster: cluster, nc: nc, js: js, req: req,
		level: account.API.Level, subscriptions: map[*subscription]struct{}{},
	}
	b.naks.Store(b.level < levelSchedules)
	b.routes = newRoutes(b)
	return b, nil
}

// Close closes every subscription and, if Connect made it, the connection. It is
// idempotent.
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
	errs = append(errs, b.req.close())
	if b.ownsNC {
		b.nc.Close()
	}
	return errors.Join(errs...)
}

func (b *Broker) register(s *subscription) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("nats broker: %w", broker.ErrClosed)
	}
	b.subscriptions[s] = struct{}{}
	return nil
}

func (b *Broker) unregister(s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subscriptions, s)
}

// maxRelease is how long a message can be given back for. The server has no
// limit of its own; beyond a day a message belongs in a retry queue, since a
// released one holds a place among the unsettled.
const maxRelease = 24 * time.Hour

// Levels of the JetStream API, which a server tells, from which on it can do
// something: 2.11 has level 1, 2.12 level 2, and before there was none.
const (
	levelBatches   = 1
	levelSchedules = 2
)

// Caps reports what JetStream can do for the queue.
func (b *Broker) Caps(ctx context.Context, queue string) (broker.Caps, error) {
	if !b.nc.IsConnected() {
		return broker.Caps{}, b.req.notConnected()
	}
	caps := broker.Caps{
		Server:         "nats-server " + b.nc.ConnectedServerVersion(),
		Marks:          true,
		Count:          broker.CountExact,
		StableIdentity: true,
		MaxRelease:     maxRelease,
		MaxMessage:     int(b.nc.MaxPayload()),
		LettersMode:    broker.Observe,
		Notes: []string{
			"Clients in Go do not tell the order of headers with different names, so messages of plain clients show them sorted by name.",
			"A confirmed write is on disk only if the server syncs always or the stream is replicated.",
		},
	}
	if err := b.probeRetry(ctx); err != nil {
		return broker.Caps{}, err
	}
	caps.Notes = append(caps.Notes, b.delayNotes()...)
	if b.config.Replicas == 2 {
		caps.Notes = append(caps.Notes, "With 2 replicas both servers have to be up for a write to be confirmed: 3 is the least that goes on without one.")
	}
	source, err := b.source(ctx, queue, broker.DefaultGroup)
	switch {
	case errors.Is(err, broker.ErrUnroutable):
		caps.DedupeWindow = sourceDedupe
		caps.Notes = append(caps.Notes, plainClientsNote)
	case err != nil:
		return broker.Caps{}, err
	default:
		caps.DedupeWindow = source.duplicates
		if source.owned {
			caps.Notes = append(caps.Notes, plainClientsNote)
		}
		caps.Notes = append(caps.Notes, source.notes...)
	}
	return caps, nil
}

const plainClientsNote = "Plain NATS clients that publish to the queue reach the default consumer group alone; " +
	"other groups get what is published through redrive, or need a stream of your own."

// Topology returns the part of the Broker that reads and creates queues.
func (b *Broker) Topology() broker.Topology { return topology{b} }

// checkVersion refuses servers whose streams and consumers keep no metadata, by
// which redrive finds its own.
func checkVersion(version string) error {
	major, minor, ok := parseVersion(version)
	if !ok {
		return fmt.Errorf("redrivenats: the server's version %q cannot be read, want 2.10 or newer, 2.12 for message schedules", version)
	}
	if major < 2 || major == 2 && minor < 10 {
		return fmt.Errorf("redrivenats: nats-server %s keeps no metadata on streams, by which redrive finds its own: upgrade to 2.12 or newer (2.10 and 2.11 work, with limits)", version)
	}
	return nil
}

func parseVersion(version string) (major, minor int, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return major, minor, err1 == nil && err2 == nil
}

// redactURL hides what a URL says about users: errors and logs are read by
// more people than configurations.
func redactURL(urls string) string {
	parts := strings.Split(urls, ",")
	for i, u := range parts {
		scheme, rest, ok := strings.Cut(strings.TrimSpace(u), "://")
		if !ok {
			scheme, rest = "nats", scheme
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			rest = rest[at+1:]
		}
		parts[i] = scheme + "://" + rest
	}
	return strings.Join(parts, ",")
}

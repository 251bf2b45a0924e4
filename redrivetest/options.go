package redrivetest

import (
	"strings"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// Option changes how [NewBroker] makes a broker.
type Option interface{ apply(*config) }

type option func(*config)

func (o option) apply(c *config) { o(c) }

type config struct {
	now     func() time.Time
	cluster string
	control func(name string) bool
	caps    broker.Caps
	strict  bool
	between func(queue string) error
}

func defaults() config {
	return config{
		now:     time.Now,
		cluster: "memory",
		control: SteersBroker,
		caps: broker.Caps{
			Server:         "redrivetest",
			Marks:          true,
			Count:          broker.CountExact,
			StableIdentity: true,
			MaxRelease:     365 * 24 * time.Hour,
			MaxMessage:     1 << 20,
			DedupeWindow:   2 * time.Minute,
			LettersMode:    broker.Observe,
		},
	}
}

// WithClock replaces the clock. Default: time.Now, which inside a
// testing/synctest bubble is the bubble's clock. With any other clock a waiting
// Receive does not notice that time has passed: call [Broker.Wake] after each
// step, or use [Subscription.TryReceive], which is given the time.
func WithClock(now func() time.Time) Option {
	return option(func(c *config) { c.now = now })
}

// WithCluster sets the cluster name that identities carry. Default: "memory".
// Two brokers of one test need two names, or their messages share identities.
func WithCluster(name string) Option {
	return option(func(c *config) { c.cluster = name })
}

// WithCaps edits what the broker reports and does: it behaves as its caps say.
// Without Marks, Mark is unsupported; with a lesser Count, deliveries are
// counted less exactly; without StableIdentity, identities are zero; MaxRelease,
// MaxDelay, MaxMessage and DedupeWindow are obeyed; a LettersMode other than
// Observe refuses Get and Remove, and DrainOnly refuses Scan too.
// Default: everything a broker can do, messages of at most 1 MiB, and a dedupe
// window of 2 minutes.
func WithCaps(edit func(*broker.Caps)) Option {
	return option(func(c *config) { edit(&c.caps) })
}

// WithControl replaces the test for headers that steer the broker. Default:
// [SteersBroker].
func WithControl(steers func(name string) bool) Option {
	return option(func(c *config) { c.control = steers })
}

// WithDeclaredQueues makes the broker refuse messages for queues that neither
// Open nor Topology().Ensure declared, with broker.ErrUnroutable. Default: a
// queue comes into being with its first message.
func WithDeclaredQueues() Option {
	return option(func(c *config) { c.strict = true })
}

// WithSplitMoves makes each move of a copy in two steps, as on a broker that has
// none in one: the copy is stored and its publish id remembered, then between is
// called with the name of the queue it went to, then the original is settled. An
// error of between ends the call there and is what Settle returns; the delivery
// is still open, and a repeat of the outcome finds the copy by its publish id.
// between may panic, which leaves the move half done, as the death of a process
// would; it may call the broker.
func WithSplitMoves(between func(queue string) error) Option {
	return option(func(c *config) { c.between = between })
}

// SteersBroker reports whether some broker acts on a header of this name:
// JetStream's Nats-* headers, and those that RabbitMQ or its plugins read. Case
// does not matter.
func SteersBroker(name string) bool {
	n := strings.ToLower(name)
	switch n {
	case "expiration", "cc", "bcc", "x-delay", "x-death", "x-delivery-count", "user-id":
		return true
	}
	return strings.HasPrefix(n, "nats-") || strings.HasPrefix(n, "x-first-death-") || strings.HasPrefix(n, "x-last-death-")
}

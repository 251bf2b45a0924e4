package redrivekafka

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Config says how to reach the cluster and how topics are made.
type Config struct {
	// Brokers are the addresses, host and port, of some brokers of the cluster.
	// Default: 127.0.0.1:9092.
	Brokers []string
	// Name is the client id in the cluster's tools. Default: "redrive".
	Name string
	// Options are further options of each client, such as kgo.Dialer. Options that
	// redrive sets itself win.
	Options []kgo.Opt
	// ConnectTimeout bounds one try to connect. Default: 5 s.
	ConnectTimeout time.Duration

	// Cluster names the broker in message identities. It has to stay the same as long
	// as messages live. Default: the id of the cluster.
	Cluster string
	// Partitions of a source that redrive makes. What belongs to a source that exists
	// has as many as it. Default: 1.
	Partitions int
	// Replicas of the topics that redrive makes. 3 is the least that goes on without
	// one broker. Default: -1, the cluster's default.
	Replicas int
	// MinInSyncReplicas is min.insync.replicas of the topics that redrive makes.
	// Default: 0, the cluster's default.
	MinInSyncReplicas int

	// Ordered keeps the order of messages with one key, for as long as they lie in one
	// partition: a message is handed out after all earlier ones of its key are settled,
	// and a retry waits in its place, in memory and in the note beside the committed
	// offset, instead of in a retry topic. Default: false, a retry lets later
	// messages of its key overtake it.
	Ordered bool
	// SessionTimeout is how long the group keeps the partitions of a member that it
	// does not hear of. Default: 45 s.
	SessionTimeout time.Duration
	// HeartbeatInterval is how often a member is heard of. Default: 3 s, at most a
	// third of SessionTimeout.
	HeartbeatInterval time.Duration
	// RebalanceTimeout is how long a member may take to give up partitions. What it
	// has not settled after three quarters of it goes to the next member.
	// Default: 60 s.
	RebalanceTimeout time.Duration
	// PublishTimeout bounds the wait for one confirmation, of a record or of an offset.
	// Without one in time the outcome is unknown. Default: 10 s.
	PublishTimeout time.Duration
	// RetryWindow is how many records of one partition of a retry topic wait in memory
	// for their times, in the order of their times. Those behind them are not seen
	// before one of them is gone, and can be late by as much as the longest delay of
	// the topic. Default: 2048.
	RetryWindow int
	// RetryMemory bounds the records that wait in memory, of all retry topics of a
	// subscription, in bytes of keys, bodies and headers. Default: 64 MiB.
	RetryMemory int
}

// WithDefaults returns a copy with the defaults filled in.
func (c Config) WithDefaults() Config {
	if len(c.Brokers) == 0 {
		c.Brokers = []string{"127.0.0.1:9092"}
	}
	if c.Name == "" {
		c.Name = "redrive"
	}
	setDuration(&c.ConnectTimeout, 5*time.Second)
	setDuration(&c.SessionTimeout, 45*time.Second)
	setDuration(&c.HeartbeatInterval, min(3*time.Second, c.SessionTimeout/3))
	setDuration(&c.RebalanceTimeout, time.Minute)
	setDuration(&c.PublishTimeout, 10*time.Second)
	if c.Partitions == 0 {
		c.Partitions = 1
	}
	if c.Replicas == 0 {
		c.Replicas = -1
	}
	if c.RetryWindow == 0 {
		c.RetryWindow = 2048
	}
	if c.RetryMemory == 0 {
		c.RetryMemory = 64 << 20
	}
	return c
}

func setDuration(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Validate returns every problem of the configuration, joined, each naming its field.
// Call it on what WithDefaults returned.
func (c Config) Validate() error {
	var errs []error
	for i, b := range c.Brokers {
		errs = append(errs, check(b != "", "Brokers: address %d is empty", i+1))
	}
	return errors.Join(append(errs,
		check(c.ConnectTimeout > 0, "ConnectTimeout: %v must be positive", c.ConnectTimeout),
		check(c.Partitions >= 1, "Partitions: %d must be at least 1", c.Partitions),
		check(c.Replicas == -1 || c.Replicas >= 1 && c.Replicas <= 32767, "Replicas: %d must be -1, for the cluster's default, or 1 to 32767", c.Replicas),
		check(c.MinInSyncReplicas >= 0 && (c.Replicas < 0 || c.MinInSyncReplicas <= c.Replicas), "MinInSyncReplicas: %d must be 0 to Replicas", c.MinInSyncReplicas),
		check(c.SessionTimeout >= time.Second, "SessionTimeout: %v must be at least 1 s", c.SessionTimeout),
		check(c.HeartbeatInterval > 0 && c.HeartbeatInterval <= c.SessionTimeout/2, "HeartbeatInterval: %v must be positive and at most half of SessionTimeout", c.HeartbeatInterval),
		check(c.RebalanceTimeout >= time.Second, "RebalanceTimeout: %v must be at least 1 s", c.RebalanceTimeout),
		check(c.PublishTimeout > 0, "PublishTimeout: %v must be positive", c.PublishTimeout),
		check(c.RetryWindow >= 1 && c.RetryWindow <= maxSpread, "RetryWindow: %d must be 1 to %d", c.RetryWindow, maxSpread),
		check(c.RetryMemory >= 1<<20, "RetryMemory: %d must be at least 1 MiB", c.RetryMemory),
	)...)
}

func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("redrivekafka: "+format, args...)
}

// options are those of every client.
func (c Config) options() []kgo.Opt {
	return append(append([]kgo.Opt(nil), c.Options...),
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.Name),
		kgo.DialTimeout(c.ConnectTimeout),
		kgo.RequestTimeoutOverhead(c.PublishTimeout),
		kgo.RetryTimeoutFn(c.retryTimeout),
		kgo.MetadataMinAge(100*time.Millisecond),
		kgo.DisableClientMetrics(),
	)
}

// retryTimeout is how long a request is tried again. A member keeps its place in its
// group as long as the group keeps it.
func (c Config) retryTimeout(key int16) time.Duration {
	if k := kmsg.Key(key); k == kmsg.JoinGroup || k == kmsg.SyncGroup || k == kmsg.Heartbeat {
		return max(c.SessionTimeout, c.PublishTimeout)
	}
	return c.PublishTimeout
}

// producerOptions are those of the client that publishes. A record that nobody
// confirmed in time is given up, so that those behind it go on: its outcome is
// unknown, and whoever sends it again may make a second one.
func (c Config) producerOptions() []kgo.Opt {
	return append(c.options(),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.AllowIdempotentProduceCancellation(),
		kgo.RecordDeliveryTimeout(c.PublishTimeout),
		kgo.ProduceRequestTimeout(c.PublishTimeout),
		kgo.UnknownTopicRetries(1),
		kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil)}),
	)
}

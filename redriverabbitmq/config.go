package redriverabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

// Protocol is how the adapter speaks to the broker.
type Protocol string

// The protocols.
const (
	// ProtocolAuto takes what the server's version and topology allow.
	ProtocolAuto Protocol = "auto"
	// Protocol091 is AMQP 0-9-1.
	Protocol091 Protocol = "0-9-1"
	// Protocol10 is AMQP 1.0, which RabbitMQ speaks natively from version 4.0 on.
	Protocol10 Protocol = "amqp-1.0"
)

// Config says how to reach the broker.
type Config struct {
	// URL is one server or several of one cluster, separated by commas:
	// amqp://user:password@host:port/vhost, or amqps://.
	// Default: amqp://127.0.0.1:5672/.
	URL string
	// User and Password take the place of those in the URL, if User is set.
	User, Password string
	// Vhost takes the place of that in the URL, if it is set.
	Vhost string
	// TLS is used for amqps:// and for an https:// ManagementURL, if not nil. It is
	// cloned.
	TLS *tls.Config
	// ManagementURL is the address of the management plugin, http://host:15672, with
	// user and password if they are others than those of the broker's URL. Through it
	// the adapter sees how queues are made, and refuses those that lose messages.
	// Default: none; what cannot be checked then is told by Caps.
	ManagementURL string
	// Name is the connections' name in the server's tools. Default: "redrive".
	Name string
	// Protocol is how to consume. Default: ProtocolAuto.
	Protocol Protocol
	// Marks keeps the notes of deliveries, since AMQP 0-9-1 cannot attach a note to a
	// stored message. Without it crash loops are not detected. Default: none.
	Marks broker.MarkStore

	// ConnectTimeout bounds one try to connect. Default: 5 s.
	ConnectTimeout time.Duration
	// Timeout bounds one question to the server. Default: 10 s.
	Timeout time.Duration
	// PublishTimeout bounds the wait for one confirmation. Without one in time the
	// outcome is unknown. Default: 10 s.
	PublishTimeout time.Duration
	// PublishWindow is the number of messages of one Publish call that wait for their
	// confirmation at the same time. Default: 1024.
	PublishWindow int
	// Heartbeat is how often each side shows that it is there; a connection is given
	// up after two or three of them. At least 1 s. Default: 10 s.
	Heartbeat time.Duration
	// ReconnectWait is the pause between two tries to connect again.
	// Default: 250 ms.
	ReconnectWait time.Duration
	// ConsumerTimeout is the server's setting consumer_timeout: how long it lets a
	// delivery be unacknowledged before it closes the channel. The server does not
	// tell. What a worker holds goes back when nine tenths of it have passed, or a
	// minute less if that is earlier. Default: 30 min, which is the server's.
	ConsumerTimeout time.Duration
	// NewQueueWait is how long Ensure and Open wait after they made a queue. RabbitMQ
	// writes the table of its quorum queues and streams down half a second after they
	// were made: one that is killed before has forgotten them, and the messages in them
	// that it had confirmed. Negative means no wait. Default: 2 s.
	NewQueueWait time.Duration
	// RetryWindow is how many retries that are due within a second, or are due and
	// wait for a free hand, one subscription holds. Default: 1024.
	RetryWindow int
	// MaxMessage is the largest message in bytes, headers included. The server does not
	// tell its max_message_size: it closes the channel, which the adapter then
	// learns from. Default: 16 MiB, the default of RabbitMQ 4.
	MaxMessage int

	// Dial opens the network connections. Default: a net.Dialer's DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// WithDefaults returns a copy with the defaults filled in.
func (c Config) WithDefaults() Config {
	setDefault(&c.URL, "amqp://127.0.0.1:5672/")
	setDefault(&c.Name, "redrive")
	setDefault(&c.Protocol, ProtocolAuto)
	setDefault(&c.ConnectTimeout, 5*time.Second)
	setDefault(&c.Timeout, 10*time.Second)
	setDefault(&c.PublishTimeout, 10*time.Second)
	setDefault(&c.PublishWindow, 1024)
	setDefault(&c.Heartbeat, 10*time.Second)
	setDefault(&c.ReconnectWait, 250*time.Millisecond)
	setDefault(&c.ConsumerTimeout, 30*time.Minute)
	setDefault(&c.NewQueueWait, 2*time.Second)
	setDefault(&c.RetryWindow, 1024)
	setDefault(&c.MaxMessage, 16<<20)
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate returns every problem of the configuration, joined, each naming its
// field. Call it on what WithDefaults returned.
func (c Config) Validate() error {
	errs := []error{c.validateURLs(), c.validateManagement()}
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("redriverabbitmq: "+format, args...))
		}
	}
	check(c.User != "" || c.Password == "", "Password: needs a User")
	check(c.Protocol == ProtocolAuto || c.Protocol == Protocol091 || c.Protocol == Protocol10,
		"Protocol: %q must be %q, %q or %q", c.Protocol, ProtocolAuto, Protocol091, Protocol10)
	for field, d := range map[string]time.Duration{
		"ConnectTimeout": c.ConnectTimeout, "Timeout": c.Timeout, "PublishTimeout": c.PublishTimeout, "ReconnectWait": c.ReconnectWait,
	} {
		check(d > 0, "%s: %v must be positive", field, d)
	}
	check(c.Heartbeat >= time.Second, "Heartbeat: %v must be at least 1 s", c.Heartbeat)
	check(c.ConsumerTimeout >= 10*time.Second, "ConsumerTimeout: %v must be at least 10 s", c.ConsumerTimeout)
	check(c.PublishWindow > 0, "PublishWindow: %d must be positive", c.PublishWindow)
	check(c.RetryWindow > 0 && c.RetryWindow <= 60_000, "RetryWindow: %d must be 1 to 60,000", c.RetryWindow)
	check(c.MaxMessage >= 1<<16, "MaxMessage: %d must be at least 64 KiB", c.MaxMessage)
	return errors.Join(errs...)
}

func (c Config) validateURLs() error {
	var errs []error
	for _, u := range c.urls() {
		if _, err := amqp.ParseURI(u); err != nil {
			// What the library says may hold the URL with its password.
			errs = append(errs, fmt.Errorf("redriverabbitmq: URL: %q is no address of the form amqp://host:port/vhost", redactURL(u)))
		}
	}
	return errors.Join(errs...)
}

func (c Config) validateManagement() error {
	if c.ManagementURL == "" {
		return nil
	}
	if u, err := url.Parse(c.ManagementURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("redriverabbitmq: ManagementURL: %q is no address of the form http://host:port", redactURL(c.ManagementURL))
	}
	return nil
}

func (c Config) urls() []string {
	var out []string
	for u := range strings.SplitSeq(c.URL, ",") {
		out = append(out, strings.TrimSpace(u))
	}
	return out
}

// target is one address with the credentials and the vhost to use there.
type target struct {
	url            string
	user, password string
	vhost          string
}

func (c Config) target(u string) (target, error) {
	uri, err := amqp.ParseURI(u)
	if err != nil {
		return target{}, fmt.Errorf("address %s cannot be read", redactURL(u))
	}
	t := target{url: u, user: uri.Username, password: uri.Password, vhost: uri.Vhost}
	if c.User != "" {
		t.user, t.password = c.User, c.Password
	}
	if c.Vhost != "" {
		t.vhost = c.Vhost
	}
	return t, nil
}

// redactURL hides what a URL says about users: errors and logs are read by more
// people than configurations.
func redactURL(urls string) string {
	parts := strings.Split(urls, ",")
	for i, u := range parts {
		scheme, rest, ok := strings.Cut(strings.TrimSpace(u), "://")
		if !ok {
			scheme, rest = "amqp", scheme
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			rest = rest[at+1:]
		}
		rest, _, _ = strings.Cut(rest, "?")
		parts[i] = scheme + "://" + rest
	}
	return strings.Join(parts, ",")
}

package redrivenats

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
)

// Config says how to reach the server and how to lay out the streams. At most
// one kind of credentials is allowed.
type Config struct {
	// URL is one server or several, separated by commas.
	// Default: nats://127.0.0.1:4222. Not used by New.
	URL string
	// Name is the connection's name in the server's tools. Default: "redrive".
	Name string
	// Token authenticates by token.
	Token string
	// User and Password authenticate by user.
	User, Password string
	// CredsFile is a file with a user JWT and its seed.
	CredsFile string
	// NKeyFile is a file with an NKey seed.
	NKeyFile string
	// TLS is used if not nil. It is cloned.
	TLS *tls.Config
	// ConnectTimeout bounds one try to connect. Default: 5 s.
	ConnectTimeout time.Duration

	// Cluster names the broker in message identities. It has to stay the same as
	// long as messages live. Default: the server's cluster name, else "nats".
	Cluster string
	// Prefix starts the names of the streams and subjects that redrive makes: two
	// prefixes never see each other's messages. Letters, digits and '-' only, at
	// most 32. Default: "redrive".
	Prefix string
	// Replicas of the streams that redrive makes, 1 to 5. Streams that exist with
	// fewer are refused; 3 is the least that goes on without one server.
	// Default: 1.
	Replicas int
	// PublishTimeout bounds the wait for one confirmation. Without one in time
	// the outcome is unknown. Default: 5 s.
	PublishTimeout time.Duration
	// PublishWindow is the number of messages of one Publish call that wait for
	// their confirmation at the same time. Default: 1024.
	PublishWindow int
	// MarkTTL is how long a note about a message in flight is kept at most.
	// Default: 30 days.
	MarkTTL time.Duration
	// MaxAckPending bounds the unsettled messages of one consumer over all
	// workers, released ones that wait included. Default: 100,000.
	MaxAckPending int
}

// WithDefaults returns a copy with the defaults filled in.
func (c Config) WithDefaults() Config {
	if c.URL == "" {
		c.URL = nats.DefaultURL
	}
	if c.Name == "" {
		c.Name = "redrive"
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	if c.Prefix == "" {
		c.Prefix = "redrive"
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.PublishTimeout == 0 {
		c.PublishTimeout = 5 * time.Second
	}
	if c.PublishWindow == 0 {
		c.PublishWindow = 1024
	}
	if c.MarkTTL == 0 {
		c.MarkTTL = 30 * 24 * time.Hour
	}
	if c.MaxAckPending == 0 {
		c.MaxAckPending = 100_000
	}
	return c
}

// Validate returns every problem of the configuration, joined, each naming its
// field. Call it on what WithDefaults returned.
func (c Config) Validate() error {
	return errors.Join(
		c.validateCredentials(),
		check(validPrefix(c.Prefix), "Prefix: %q must be 1 to 32 letters, digits or '-'", c.Prefix),
		check(c.Replicas >= 1 && c.Replicas <= 5, "Replicas: %d must be 1 to 5", c.Replicas),
		check(c.ConnectTimeout > 0, "ConnectTimeout: %v must be positive", c.ConnectTimeout),
		check(c.PublishTimeout > 0, "PublishTimeout: %v must be positive", c.PublishTimeout),
		check(c.PublishWindow > 0, "PublishWindow: %d must be positive", c.PublishWindow),
		check(c.MarkTTL >= time.Hour, "MarkTTL: %v must be at least 1 h", c.MarkTTL),
		check(c.MaxAckPending > 0, "MaxAckPending: %d must be positive", c.MaxAckPending),
	)
}

func (c Config) validateCredentials() error {
	kinds := 0
	for _, given := range []bool{c.Token != "", c.User != "" || c.Password != "", c.CredsFile != "", c.NKeyFile != ""} {
		if given {
			kinds++
		}
	}
	return errors.Join(
		check(kinds <= 1, "Token, User, CredsFile, NKeyFile: %d kinds of credentials are set, want at most one", kinds),
		check(c.User != "" || c.Password == "", "Password: needs a User"),
		checkFile("CredsFile", c.CredsFile),
		checkFile("NKeyFile", c.NKeyFile),
	)
}

func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("redrivenats: "+format, args...)
}

func checkFile(field, path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("redrivenats: %s: %w", field, err)
	}
	return nil
}

func validPrefix(prefix string) bool {
	if prefix == "" || len(prefix) > 32 {
		return false
	}
	for i := range len(prefix) {
		if c := prefix[i]; !isAlphanumeric(c) && c != '-' {
			return false
		}
	}
	return true
}

// options are those of a connection that redrive makes itself.
func (c Config) options() ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name(c.Name),
		nats.Timeout(c.ConnectTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		// A publish that was buffered while the server was away would be sent long
		// after its caller was told that the outcome is unknown.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(20 * time.Second),
		// The client prints what nobody else hears of. Whoever called is told anyway.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	switch {
	case c.Token != "":
		options = append(options, nats.Token(c.Token))
	case c.User != "":
		options = append(options, nats.UserInfo(c.User, c.Password))
	case c.CredsFile != "":
		options = append(options, nats.UserCredentials(c.CredsFile))
	case c.NKeyFile != "":
		option, err := nats.NkeyOptionFromSeed(c.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("redrivenats: NKeyFile: %w", err)
		}
		options = append(options, option)
	}
	if c.TLS != nil {
		options = append(options, nats.Secure(c.TLS.Clone()))
	}
	return options, nil
}

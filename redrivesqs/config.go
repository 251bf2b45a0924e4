package redrivesqs

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// Config says how to reach SQS and how to use it. Credentials come from the AWS
// SDK's own chain: environment, shared files, container or instance role.
type Config struct {
	// Region is the AWS region. Default: that of the SDK's own configuration. Not
	// used by New.
	Region string
	// Endpoint is the URL of another server than AWS's own, such as
	// "http://127.0.0.1:9324". Default: that of the region. Not used by New.
	Endpoint string

	// Cluster names the broker in message identities. It has to stay the same as long
	// as messages live. Default: region and account, from the queue's ARN.
	Cluster string
	// Prefix begins the names of the queues for outcomes and heartbeats: several
	// installations in one account need one each. Letters, digits and '-', at most
	// 32. Default: "redrive".
	Prefix string
	// WaitTime is how long an empty queue holds a request for messages, in full
	// seconds, 1 s to 20 s. A longer time costs fewer requests. Default: 20 s.
	WaitTime time.Duration
	// Pollers is the largest number of requests for messages that a subscription has
	// open, of ten messages each. An idle subscription has one. Default: 8.
	Pollers int
	// RequestTimeout bounds one try of any other request. Without an answer in time
	// the outcome is unknown. Default: 5 s.
	RequestTimeout time.Duration
	// Marks keeps notes about messages, which SQS cannot: without a store crash
	// detection is off, and a FIFO queue counts receives as attempts where another
	// process made them. Default: none.
	Marks broker.MarkStore
	// Logger gets warnings about settings of queues. Default: none is written.
	Logger *slog.Logger
}

// WithDefaults returns a copy with the defaults filled in.
func (c Config) WithDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = "redrive"
	}
	if c.WaitTime == 0 {
		c.WaitTime = 20 * time.Second
	}
	if c.Pollers == 0 {
		c.Pollers = 8
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate returns every problem of the configuration, joined, each naming its
// field. Call it on what WithDefaults returned.
func (c Config) Validate() error {
	return errors.Join(
		check(validEndpoint(c.Endpoint), "Endpoint: %q must be a URL of http or https with a host", c.Endpoint),
		check(validPrefix(c.Prefix), "Prefix: %q must be 1 to 32 letters, digits or '-'", c.Prefix),
		check(c.WaitTime >= time.Second && c.WaitTime <= 20*time.Second && c.WaitTime%time.Second == 0, "WaitTime: %v must be 1 s to 20 s in full seconds", c.WaitTime),
		check(c.Pollers > 0, "Pollers: %d must be positive", c.Pollers),
		check(c.RequestTimeout > 0, "RequestTimeout: %v must be positive", c.RequestTimeout),
	)
}

func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("redrivesqs: "+format, args...)
}

func validEndpoint(endpoint string) bool {
	if endpoint == "" {
		return true
	}
	u, err := url.Parse(endpoint)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func validPrefix(prefix string) bool {
	if prefix == "" || len(prefix) > 32 {
		return false
	}
	for i := range len(prefix) {
		if !nameByte(prefix[i]) || prefix[i] == '_' {
			return false
		}
	}
	return true
}

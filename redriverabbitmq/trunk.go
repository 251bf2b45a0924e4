package redriverabbitmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

// dial connects to the first server that answers. The library's own recovery
// stays off: it would consume again under the hands of deliveries that are lost.
func (c Config) dial(ctx context.Context, purpose string) (*amqp.Connection, error) {
	var errs []error
	for _, u := range c.urls() {
		conn, err := c.dialOne(ctx, u, purpose)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, fmt.Errorf("connect to %s: %w", redactURL(u), err))
	}
	return nil, errors.Join(errs...)
}

func (c Config) dialOne(ctx context.Context, u, purpose string) (*amqp.Connection, error) {
	t, err := c.target(u)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
	defer cancel()
	config := amqp.Config{
		Vhost: t.vhost, Heartbeat: c.Heartbeat,
		Properties: amqp.Table{"product": "redrive", "connection_name": c.Name + " " + purpose},
		Dial: func(network, address string) (net.Conn, error) {
			conn, err := c.Dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			// For the handshake: the library ends the deadline after it.
			return conn, conn.SetDeadline(time.Now().Add(c.ConnectTimeout))
		},
	}
	if c.User != "" {
		config.SASL = []amqp.Authentication{&amqp.PlainAuth{Username: t.user, Password: t.password}}
	}
	if c.TLS != nil {
		config.TLSClientConfig = c.TLS.Clone()
	}
	type result struct {
		conn *amqp.Connection
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := amqp.DialConfig(u, config)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.conn != nil {
				_ = r.conn.Close() // Nobody waits for it any more.
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// trunk is the connection on which a Broker publishes and asks. It is made again
// when it is needed. Consumers have connections of their own, since a server that
// is short of memory stops reading from those that publish.
type trunk struct {
	config Config

	// lock is held by whoever connects.
	lock chan struct{}
	mu   sync.Mutex
	conn *amqp.Connection
	// idle are channels that are open and not in use.
	idle    []*amqp.Channel
	closed  bool
	blocked bool
}

// maxIdle is how many unused channels stay open.
const maxIdle = 8

func newTrunk(config Config) *trunk { return &trunk{config: config, lock: make(chan struct{}, 1)} }

// get returns a live connection.
func (t *trunk) get(ctx context.Context) (*amqp.Connection, error) {
	if conn, err := t.live(); conn != nil || err != nil {
		return conn, err
	}
	select {
	case t.lock <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errDisconnected, context.Cause(ctx))
	}
	defer func() { <-t.lock }()
	if conn, err := t.live(); conn != nil || err != nil {
		return conn, err
	}
	conn, err := t.config.dial(ctx, "publish")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDisconnected, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = conn.Close() // It was closed meanwhile.
		return nil, fmt.Errorf("rabbitmq broker: %w", broker.ErrClosed)
	}
	t.conn, t.idle, t.blocked = conn, nil, false
	go t.watch(conn, conn.NotifyBlocked(make(chan amqp.Blocking, 1)))
	return conn, nil
}

func (t *trunk) live() (*amqp.Connection, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, fmt.Errorf("rabbitmq broker: %w", broker.ErrClosed)
	}
	if t.conn != nil && !t.conn.IsClosed() {
		return t.conn, nil
	}
	return nil, nil //nolint:nilnil // there is none, and that is no error
}

// watch ends when the connection does, which closes the channel.
func (t *trunk) watch(conn *amqp.Connection, blocks <-chan amqp.Blocking) {
	for b := range blocks {
		t.mu.Lock()
		if t.conn == conn {
			t.blocked = b.Active
		}
		t.mu.Unlock()
	}
}

func (t *trunk) isBlocked() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.blocked
}

// ask runs questions on a channel that nobody else uses meanwhile. The server
// closes a channel after a question that it refuses.
func (t *trunk) ask(ctx context.Context, questions func(*amqp.Channel) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, t.config.Timeout, errTimeout)
	defer cancel()
	conn, err := t.get(ctx)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		ch, err := t.channel(conn)
		if err == nil {
			err = questions(ch)
			t.putBack(conn, ch, err)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		// The library's call ends with the connection. Its channel is not used again
		// before it has.
		return context.Cause(ctx)
	}
}

func (t *trunk) channel(conn *amqp.Connection) (*amqp.Channel, error) {
	t.mu.Lock()
	for t.conn == conn && len(t.idle) > 0 {
		ch := t.idle[len(t.idle)-1]
		t.idle = t.idle[:len(t.idle)-1]
		if !ch.IsClosed() {
			t.mu.Unlock()
			return ch, nil
		}
	}
	t.mu.Unlock()
	return conn.Channel()
}

func (t *trunk) putBack(conn *amqp.Connection, ch *amqp.Channel, err error) {
	t.mu.Lock()
	if err == nil && t.conn == conn && len(t.idle) < maxIdle && !t.closed {
		t.idle = append(t.idle, ch)
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	_ = ch.Close() // It may be closed already.
}

func (t *trunk) close() error {
	t.mu.Lock()
	t.closed = true
	conn := t.conn
	t.mu.Unlock()
	if conn == nil {
		return nil
	}
	return closeConnection(conn, t.config.Timeout)
}

// closeConnection says goodbye, but not for longer than the server deserves.
func closeConnection(conn *amqp.Connection, patience time.Duration) error {
	err := conn.CloseDeadline(time.Now().Add(patience))
	if errors.Is(err, amqp.ErrClosed) {
		return nil
	}
	return err
}

package amqp10

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	amqp "github.com/Azure/go-amqp"
)

// Options say how to connect.
type Options struct {
	// Host and Port are the server's address.
	Host string
	Port int
	// TLS is used if not nil.
	TLS *tls.Config
	// User and Password authenticate by SASL PLAIN. Without a user, SASL EXTERNAL is
	// used if TLS is, which takes the name from the client's certificate.
	User, Password string
	// Vhost is the virtual host. Default: "/".
	Vhost string
	// Name is the connection's name in the server's tools.
	Name string
	// Heartbeat is how long the server may be silent.
	Heartbeat time.Duration
	// Timeout bounds the wait for the confirmation of settlements, and every other
	// question. A connection that takes longer is given up.
	Timeout time.Duration
	// Dial opens the network connection.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Conn is one connection with one session. It is safe for concurrent use.
type Conn struct {
	options Options
	wire    net.Conn
	conn    *amqp.Conn
	session *amqp.Session
	version string
}

// Dial connects. The context bounds the handshake alone.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	wire, err := o.Dial(ctx, "tcp", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	if err != nil {
		return nil, err
	}
	c, err := handshake(ctx, wire, o)
	if err != nil {
		return nil, errors.Join(err, ignoreClosed(wire.Close()))
	}
	return c, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func handshake(ctx context.Context, wire net.Conn, o Options) (*Conn, error) {
	if o.TLS != nil {
		config := o.TLS.Clone()
		if config.ServerName == "" {
			config.ServerName = o.Host
		}
		secure := tls.Client(wire, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		wire = secure
	}
	options := &amqp.ConnOptions{
		ContainerID: o.Name, HostName: "vhost:" + o.vhost(), IdleTimeout: o.Heartbeat, WriteTimeout: o.Timeout,
		Properties: map[string]any{"product": "redrive", "connection_name": o.Name},
	}
	switch {
	case o.User != "":
		options.SASLType = amqp.SASLTypePlain(o.User, o.Password)
	case o.TLS != nil:
		options.SASLType = amqp.SASLTypeExternal("")
	}
	conn, err := amqp.NewConn(ctx, wire, options)
	if err != nil {
		return nil, err
	}
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		return nil, err
	}
	version, _ := conn.Properties()["version"].(string)
	return &Conn{options: o, wire: wire, conn: conn, session: session, version: version}, nil
}

func (o Options) vhost() string {
	if o.Vhost == "" {
		return "/"
	}
	return o.Vhost
}

// Version is the server's version, as it told it when the connection was made.
func (c *Conn) Version() string { return c.version }

// Timeout is that of the options.
func (c *Conn) Timeout() time.Duration { return c.options.Timeout }

// Done is closed when the connection has ended, for whatever reason.
func (c *Conn) Done() <-chan struct{} { return c.conn.Done() }

// Err says why the connection has ended.
func (c *Conn) Err() error {
	if err := c.conn.Err(); err != nil {
		return err
	}
	return net.ErrClosed
}

// Close ends the connection. What is not settled goes back to its queue. Settlements
// that are not confirmed yet may be lost: close consumers first.
func (c *Conn) Close() error {
	err := c.conn.Close()
	if _, over := errors.AsType[*amqp.ConnError](err); over {
		err = nil // It had ended before.
	}
	return errors.Join(err, ignoreClosed(c.wire.Close()))
}

// Abort ends the connection without a word, as a lost network does.
func (c *Conn) Abort() { _ = c.wire.Close() }

// address is the address of a queue, in the second format of RabbitMQ 4.
func address(queue string) string {
	return "/queues/" + strings.ReplaceAll(url.QueryEscape(queue), "+", "%20")
}

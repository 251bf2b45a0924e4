package redrivenats_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
)

// link is a client's connection whose bytes can be swallowed in each direction.
type link struct {
	mu    sync.Mutex
	conns map[*linkConn]struct{}

	requests, answers, settlements, cut bool
}

var _ brokertest.Link = (*link)(nil)

func (l *link) set(damage *bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*damage = true
}

func (l *link) DropRequests()    { l.set(&l.requests) }
func (l *link) DropAnswers()     { l.set(&l.answers) }
func (l *link) DropSettlements() { l.set(&l.settlements) }

func (l *link) Cut() {
	l.set(&l.cut)
	l.closeAll()
}

// Heal also ends the connection: what was swallowed leaves it without sense.
func (l *link) Heal() {
	l.mu.Lock()
	damaged := l.requests || l.answers || l.settlements
	l.requests, l.answers, l.settlements, l.cut = false, false, false, false
	l.mu.Unlock()
	if damaged {
		l.closeAll()
	}
}

func (l *link) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Conn.Close()
		delete(l.conns, c)
	}
}

// Dial implements nats.CustomDialer.
func (l *link) Dial(network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, errors.New("the test cut the connection")
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	c := &linkConn{Conn: conn, link: l}
	l.conns[c] = struct{}{}
	return c, nil
}

type linkConn struct {
	net.Conn
	link *link
}

// Write passes on what is not swallowed. The client writes whole protocol lines,
// so that what goes before an acknowledgement can be told from it.
func (c *linkConn) Write(p []byte) (int, error) {
	c.link.mu.Lock()
	pass := p
	if c.link.requests {
		pass = nil
	} else if c.link.settlements {
		if i := bytes.Index(p, []byte("PUB $JS.ACK.")); i >= 0 {
			if i > 0 && p[i-1] == 'H' {
				i--
			}
			pass, c.link.requests, c.link.answers = p[:i], true, true
		}
	}
	c.link.mu.Unlock()
	if _, err := c.Conn.Write(pass); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *linkConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		c.link.mu.Lock()
		swallow := c.link.answers
		c.link.mu.Unlock()
		if err != nil || !swallow {
			return n, err
		}
	}
}

// openLinked opens a client whose connection can be damaged and who waits only
// two seconds for the server.
func (r *rig) openLinked(t brokertest.T) (broker.Broker, brokertest.Link) {
	t.Helper()
	l := &link{conns: map[*linkConn]struct{}{}}
	// The library would print each error of the connections that are cut on purpose.
	silent := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	b := r.openWith(t, func(c *config) { c.PublishTimeout = 2 * time.Second }, nats.SetCustomDialer(l), silent)
	return b, l
}

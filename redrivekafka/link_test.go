package redrivekafka_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/brokertest"
)

// link is a client's connections, whose bytes can be swallowed in each direction.
type link struct {
	mu    sync.Mutex
	conns map[*linkConn]struct{}

	requests, answers, settlements, copied, cut bool
}

var (
	_ brokertest.Link                 = (*link)(nil)
	_ kgo.HookProduceRecordUnbuffered = (*link)(nil)
)

// OnProduceRecordUnbuffered notices that a copy is confirmed: what the client commits
// from then on settles an original.
func (l *link) OnProduceRecordUnbuffered(r *kgo.Record, err error) {
	if err == nil && (strings.Contains(r.Topic, ".retry.") || strings.Contains(r.Topic, ".dlq")) {
		l.set(&l.copied)
	}
}

func newLink() *link { return &link{conns: map[*linkConn]struct{}{}} }

func (l *link) set(damage *bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*damage = true
}

func (l *link) DropRequests() { l.set(&l.requests) }
func (l *link) DropAnswers()  { l.set(&l.answers) }
func (l *link) DropSettlements() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settlements, l.copied = true, false
}

func (l *link) Cut() {
	l.set(&l.cut)
	l.closeAll()
}

// Heal also ends the connections: what was swallowed leaves them without sense.
func (l *link) Heal() {
	l.mu.Lock()
	damaged := l.requests || l.answers || l.settlements
	l.requests, l.answers, l.settlements, l.copied, l.cut = false, false, false, false, false
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

func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	cut := l.cut
	l.mu.Unlock()
	if cut {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &linkConn{Conn: conn, link: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = struct{}{}
	return c, nil
}

type linkConn struct {
	net.Conn
	link *link
}

// offsetCommit is the key of the request that settles.
const offsetCommit = 8

// Write passes on what is not swallowed. The client writes whole requests: four
// bytes of length, then the key of the request.
func (c *linkConn) Write(p []byte) (int, error) {
	c.link.mu.Lock()
	if c.link.settlements && c.link.copied && len(p) >= 6 && binary.BigEndian.Uint16(p[4:]) == offsetCommit {
		c.link.requests, c.link.answers = true, true
	}
	swallow := c.link.requests
	c.link.mu.Unlock()
	if swallow {
		return len(p), nil
	}
	n, err := c.Conn.Write(p)
	return n, reset("write", err)
}

// reset is what a client sees of a connection that its peer has ended.
func reset(op string, err error) error {
	if errors.Is(err, net.ErrClosed) {
		return &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError(op, syscall.ECONNRESET)}
	}
	return err
}

func (c *linkConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		c.link.mu.Lock()
		swallow := c.link.answers
		c.link.mu.Unlock()
		if err != nil || !swallow {
			return n, reset("read", err)
		}
	}
}

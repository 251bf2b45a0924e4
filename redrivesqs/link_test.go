package redrivesqs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
)

// link is a client's connections, whose bytes can be swallowed in each direction.
type link struct {
	client *http.Client
	// inPlace says that changing when a message is seen again is a settlement too.
	inPlace bool

	mu    sync.Mutex
	conns map[*linkConn]struct{}

	requests, answers, settlements, cut bool
}

var _ brokertest.Link = (*link)(nil)

func newLink(denied *atomic.Pointer[string]) *link {
	l := &link{conns: map[*linkConn]struct{}{}}
	l.client = &http.Client{Transport: &denier{denied, &http.Transport{DialContext: l.dial, MaxIdleConnsPerHost: 64}}}
	return l
}

// denier answers for a server whose policy denies sending to a queue.
type denier struct {
	denied *atomic.Pointer[string]
	http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (d *denier) RoundTrip(r *http.Request) (*http.Response, error) {
	queue := d.denied.Load()
	if queue == nil || r.Header.Get("X-Amz-Target") != "AmazonSQS.SendMessageBatch" {
		return d.RoundTripper.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if strings.Contains(string(body), *queue) {
		return &http.Response{
			StatusCode: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Request: r,
			Body: io.NopCloser(strings.NewReader(`{"__type":"com.amazon.coral.service#AccessDeniedException","message":"denied by the test"}`)),
		}, nil
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return d.RoundTripper.RoundTrip(r)
}

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

// Heal also ends the connections: what was swallowed leaves them without sense.
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

func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	cut := l.cut
	l.mu.Unlock()
	if cut {
		return nil, errors.New("the test cut the connection")
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &linkConn{Conn: conn, link: l}
	l.conns[c] = struct{}{}
	return c, nil
}

type linkConn struct {
	net.Conn
	link *link
}

// Write passes on what is not swallowed. A request names its action in its header,
// which is written at once.
func (c *linkConn) Write(p []byte) (int, error) {
	c.link.mu.Lock()
	if c.link.settlements && (bytes.Contains(p, []byte("DeleteMessage")) || c.link.inPlace && bytes.Contains(p, []byte("ChangeMessageVisibility"))) {
		c.link.requests, c.link.answers = true, true
	}
	swallow := c.link.requests
	c.link.mu.Unlock()
	if swallow {
		return len(p), nil
	}
	return c.Conn.Write(p)
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

func (l *link) damaged() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests || l.answers || l.cut
}

// linkedMarks is a store for marks that is out of reach while the link is damaged.
type linkedMarks struct {
	broker.MarkStore
	link *link
}

var errStoreAway = errors.New("the test damaged the way to the store")

func (m linkedMarks) LoadMark(ctx context.Context, id string) (broker.Mark, error) {
	if m.link.damaged() {
		return broker.Mark{}, errStoreAway
	}
	return m.MarkStore.LoadMark(ctx, id)
}

func (m linkedMarks) StoreMark(ctx context.Context, id string, mark broker.Mark) error {
	if m.link.damaged() {
		return errStoreAway
	}
	return m.MarkStore.StoreMark(ctx, id, mark)
}

func (m linkedMarks) DeleteMark(ctx context.Context, id string) error {
	if m.link.damaged() {
		return errStoreAway
	}
	return m.MarkStore.DeleteMark(ctx, id)
}

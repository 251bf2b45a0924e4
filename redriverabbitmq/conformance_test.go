package redriverabbitmq_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/internal/servertest"
	"github.com/redrive-dev/redrive/internal/workertest"
	"github.com/redrive-dev/redrive/redriverabbitmq"
	"github.com/redrive-dev/redrive/redrivetest"
)

// TestMain lets more cases run at once than there are processors: nearly all of
// their time is waiting for leases and delays.
func TestMain(m *testing.M) {
	flag.Parse()
	if fuzzing := flag.Lookup("test.fuzz"); fuzzing == nil || fuzzing.Value.String() == "" {
		if err := flag.Set("test.parallel", "24"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

type config = redriverabbitmq.Config

// rig is the suite's way to one real server.
type rig struct {
	t      *testing.T
	server *servertest.Server
	marks  broker.MarkStore
	edit   func(*config)

	mu    sync.Mutex
	links map[broker.Broker]*link
}

func newRig(t *testing.T, version string, edit func(*config)) *rig {
	t.Helper()
	return &rig{
		t: t, server: servertest.RabbitMQ(t, version, servertest.Options{}), marks: &redrivetest.Marks{},
		edit: edit, links: map[broker.Broker]*link{},
	}
}

func (r *rig) harness() brokertest.Harness {
	return brokertest.Harness{
		Open: func(t brokertest.T) broker.Broker {
			b, _ := r.open(t, func(*config) {})
			return b
		},
		Restart: func(brokertest.T) {
			settleDown()
			r.server.Kill()
			r.server.Restart()
		},
		Kill: func(_ brokertest.T, b broker.Broker) {
			r.mu.Lock()
			l := r.links[b]
			r.mu.Unlock()
			// Closing the connections says nothing about the deliveries, as the end of a
			// process says nothing.
			l.Cut()
		},
		Link: func(t brokertest.T) (broker.Broker, brokertest.Link) {
			return r.open(t, func(c *config) {
				c.Heartbeat, c.Timeout, c.PublishTimeout = time.Second, 2*time.Second, 2*time.Second
			})
		},
		PublishRaw: r.publishRaw,
		Queue: func(t brokertest.T, name string) string {
			queue := brokertest.Harness{}.WithDefaults().Queue(t, name)
			t.Cleanup(func() { r.remove(t, queue) })
			return queue
		},
		Lease:     2500 * time.Millisecond, // A busy machine takes more than a second to open a queue.
		Tolerance: 30 * time.Second,        // Of a loaded machine: a good one needs a fraction of a second.
		Timeout:   3 * time.Minute,
		Hostile: []broker.Header{
			{Name: "expiration", Value: []byte("86400000")},
			{Name: "user-id", Value: []byte("redrive")},
			{Name: "CC", Value: []byte(`["elsewhere"]`)},
			{Name: "x-delay", Value: []byte("86400000")},
			{Name: "x-death", Value: []byte("hostile")},
			{Name: "x-first-death-queue", Value: []byte("elsewhere")},
		},
	}
}

func (r *rig) open(t brokertest.T, edit func(*config)) (*redriverabbitmq.Broker, *link) {
	t.Helper()
	l := &link{conns: map[*linkConn]struct{}{}}
	c := config{
		URL: r.server.URL, ManagementURL: r.server.Settings["management"], Marks: r.marks, Dial: l.dial,
		ReconnectWait: 50 * time.Millisecond,
	}
	if r.edit != nil {
		r.edit(&c)
	}
	edit(&c)
	b, err := redriverabbitmq.Connect(t.Context(), c)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	r.mu.Lock()
	r.links[b] = l
	r.mu.Unlock()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Logf("close: %v", err)
		}
		l.closeAll()
	})
	return b, l
}

// plain is a connection of the test's own.
func (r *rig) plain(t brokertest.T) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(r.server.URL)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatalf("channel: %v", err)
	}
	return ch
}

// remove deletes the queues of a case, so that a server does not carry thousands.
func (r *rig) remove(t brokertest.T, queue string) {
	conn, err := amqp.Dial(r.server.URL)
	if err != nil {
		t.Logf("remove the queues of %s: %v", queue, err)
		return
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		t.Logf("remove the queues of %s: %v", queue, err)
		return
	}
	names := []string{queue, queue + ".retry", queue + ".dlq"}
	for _, tier := range []string{"1s", "5s", "30s", "2m", "10m", "1h"} {
		names = append(names, queue+".retry."+tier)
	}
	for _, category := range []string{"transient", "schema", "business", "integration", "crash"} {
		names = append(names, queue+".dlq.quarantine."+category)
	}
	for _, name := range names {
		_, _ = ch.QueueDelete(name, false, false, false) // It may not exist.
	}
}

// refuse takes the right to publish to queues by name away.
func (r *rig) refuse(t brokertest.T, _ string) (heal func()) {
	t.Helper()
	permit := func(ctx context.Context, write string) {
		body := fmt.Sprintf(`{"configure": ".*", "read": ".*", "write": %q}`, write)
		at := r.server.Settings["management"] + "/api/permissions/%2F/redrive"
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, at, strings.NewReader(body))
		if err != nil {
			t.Fatalf("set permissions: %v", err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatalf("set permissions: %v", err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode/100 != 2 {
			t.Fatalf("set permissions: %s", answer.Status)
		}
	}
	permit(t.Context(), `^(?!amq\.default$).*`)
	heal = sync.OnceFunc(func() { permit(context.WithoutCancel(t.Context()), ".*") })
	t.Cleanup(heal)
	return heal
}

func (r *rig) publishRaw(t brokertest.T, queue string, m broker.Message) {
	t.Helper()
	ch := r.plain(t)
	p := amqp.Publishing{Body: m.Body, Headers: amqp.Table{}}
	for _, h := range slices.Concat(m.Headers, m.Control) {
		switch value := string(h.Value); h.Name {
		case "expiration":
			p.Expiration = value
		case "user-id":
			p.UserId = value
		case "CC":
			p.Headers[h.Name] = []any{"elsewhere"}
		default:
			p.Headers[h.Name] = value
		}
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatalf("confirm: %v", err)
	}
	confirm, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", queue, true, false, p)
	if err != nil {
		t.Fatalf("publish with a plain client: %v", err)
	}
	if acked, err := confirm.WaitContext(t.Context()); err != nil || !acked {
		t.Fatalf("publish with a plain client: confirmed %v, %v", acked, err)
	}
}

// link is a client's connections whose bytes can be swallowed in each direction.
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

// Write passes on what is not swallowed. The client writes whole frames.
func (c *linkConn) Write(p []byte) (int, error) {
	c.link.mu.Lock()
	pass := p
	if c.link.requests {
		pass = nil
	} else if c.link.settlements {
		if i := max(settlement(p), settlement10(p)); i >= 0 {
			pass, c.link.requests, c.link.answers = p[:i], true, true
		}
	}
	c.link.mu.Unlock()
	if _, err := c.Conn.Write(pass); err != nil {
		return 0, err
	}
	return len(p), nil
}

// settlement finds the first method frame with basic.ack, basic.nack or
// basic.reject, -1 if there is none.
func settlement(p []byte) int {
	for i := 0; i+11 <= len(p); {
		size := int(p[i+3])<<24 | int(p[i+4])<<16 | int(p[i+5])<<8 | int(p[i+6])
		if p[i] == 1 && p[i+7] == 0 && p[i+8] == 60 && p[i+9] == 0 && (p[i+10] == 80 || p[i+10] == 90 || p[i+10] == 120) {
			return i
		}
		if p[i] < 1 || p[i] > 8 {
			return -1
		}
		i += size + 8
	}
	return -1
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

// versions are those that a test runs on: all of them under REDRIVE_FULL=1, those of
// REDRIVE_RABBITMQ if it is set, none with -short, and else the usual ones of the
// test, since each takes minutes.
func versions(usual ...string) []string {
	switch only := os.Getenv("REDRIVE_RABBITMQ"); {
	case only != "":
		return strings.Split(only, ",")
	case testing.Short():
		return nil
	case os.Getenv("REDRIVE_FULL") == "1":
		return []string{"3.10", "4.0", "4.3"}
	}
	return usual
}

// TestConformance runs the suite over AMQP 0-9-1 on the real servers.
func TestConformance(t *testing.T) {
	for _, version := range versions("3.10") {
		t.Run(version, func(t *testing.T) {
			brokertest.Run(t, newRig(t, version, over091).harness())
		})
	}
}

func over091(c *config) { c.Protocol = redriverabbitmq.Protocol091 }

// TestConformanceOfWorkers runs workers over AMQP 0-9-1 on the real servers.
func TestConformanceOfWorkers(t *testing.T) {
	for _, version := range versions("4.3") {
		t.Run(version, func(t *testing.T) {
			r := newRig(t, version, over091)
			h := r.harness()
			h.Refuse = r.refuse
			brokertest.RunCases(t, h, workertest.Cases())
		})
	}
}

// Package e2e_test runs redrive over real networks that fail, and with real
// backlogs. It has a module of its own, so that what it needs to break things is
// in no program that is released.
package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/internal/workertest"
	"github.com/redrive-dev/redrive/redrivenats"
)

// fault is what a proxy does to one direction of a connection.
type fault struct {
	name string
	// toxic is a toxic as toxiproxy's API takes it, without its direction.
	toxic string
	// mild says that calls may succeed under it: then only the cases run that show
	// that work goes on and nothing is lost.
	mild bool
	// stays says that the connection is the same one after the fault, so that what
	// was held up arrives late.
	stays bool
}

func faults() []fault {
	return []fault{
		{name: "silence", toxic: `"type":"timeout","attributes":{"timeout":0}`},
		{name: "reset", toxic: `"type":"reset_peer","attributes":{"timeout":0}`},
		{name: "cut-after-10-bytes", toxic: `"type":"limit_data","attributes":{"bytes":10}`},
		{name: "late", toxic: `"type":"hold","attributes":{}`, stays: true},
		{name: "slow-close", toxic: `"type":"slow_close","attributes":{"delay":700}`, mild: true},
		{name: "latency", toxic: `"type":"latency","attributes":{"latency":150,"jitter":100}`, mild: true, stays: true},
		{name: "bandwidth", toxic: `"type":"bandwidth","attributes":{"rate":20}`, mild: true, stays: true},
		{name: "slices", toxic: `"type":"slicer","attributes":{"average_size":16,"size_variation":8,"delay":200}`, mild: true, stays: true},
	}
}

// hold keeps what comes and hands it on when it is removed: requests that take
// effect, and answers that come, long after nobody waits for them.
type hold struct{}

func (*hold) Pipe(stub *toxics.ToxicStub) {
	var kept []*stream.StreamChunk
	for {
		select {
		case <-stub.Interrupt:
			for _, c := range kept {
				stub.Output <- c
			}
			return
		case c := <-stub.Input:
			if c == nil {
				stub.Close()
				return
			}
			kept = append(kept, c)
		}
	}
}

// registerToxics adds the toxics above to those of toxiproxy.
func registerToxics() {
	toxics.Register("hold", new(hold))
	toxics.Register("cut_at_settlement", new(cutAtSettlement))
}

// wire is a client's connection through a proxy of its own.
type wire struct {
	t     brokertest.T
	proxy *toxiproxy.Proxy
	fault fault

	// settlement makes what finds, in the requests of one connection, the first byte
	// of a settlement, -1 if there is none.
	settlement func() func([]byte) int
	// armed says that what settles from now on settles an original. With lateArmed it
	// does so only after a copy was confirmed.
	armed     atomic.Bool
	lateArmed bool

	mu      sync.Mutex
	added   []string
	lost    bool
	stopped bool
}

func (w *wire) add(direction, toxic string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := fmt.Sprint("toxic-", len(w.added))
	_, err := w.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"name":%q,"stream":%q,"toxicity":1,%s}`, name, direction, toxic)))
	if err != nil {
		w.t.Errorf("toxic: %v", err)
	}
	w.added = append(w.added, name)
}

func (w *wire) DropRequests() { w.add("upstream", w.fault.toxic) }
func (w *wire) DropAnswers()  { w.add("downstream", w.fault.toxic) }

func (w *wire) DropSettlements() {
	w.mu.Lock()
	w.lost = true
	w.mu.Unlock()
	w.armed.Store(!w.lateArmed)
	w.add("upstream", fmt.Sprintf(`"type":"cut_at_settlement","attributes":{"wire":%q}`, w.proxy.Name))
}

func (w *wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proxy.Stop()
	w.stopped = true
}

// Heal removes the toxics, and unless the fault leaves it whole it ends the
// connection, whose protocol has lost bytes.
func (w *wire) Heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	damaged := len(w.added) > 0
	for _, name := range w.added {
		if err := w.proxy.Toxics.RemoveToxic(ctx, name); err != nil {
			w.t.Logf("remove %s: %v", name, err)
		}
	}
	w.added = nil
	if damaged && (w.lost || !w.fault.stays) && !w.stopped {
		w.proxy.Stop()
		w.stopped = true
	}
	w.lost = false
	if w.stopped {
		if err := w.proxy.Start(); err != nil {
			w.t.Errorf("start the proxy again: %v", err)
		}
		w.stopped = false
	}
}

// rig is one real server and the ways to it.
type rig struct {
	fault fault
	// address is where the server listens.
	address string
	// connect connects to the server at an address, over a wire if it is not nil.
	connect func(t brokertest.T, address string, w *wire, patience time.Duration) broker.Broker
	// settlement is what the wire's field says.
	settlement func() func([]byte) int
}

// open connects without a proxy.
func (r *rig) open(t brokertest.T) broker.Broker {
	t.Helper()
	return r.connect(t, r.address, nil, 30*time.Second)
}

// link connects through a proxy of its own.
func (r *rig) link(t brokertest.T) (broker.Broker, brokertest.Link) {
	t.Helper()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(api, t.Name(), "127.0.0.1:0", r.address)
	if err := proxy.Start(); err != nil {
		t.Fatalf("proxy: %v", err)
	}
	w := &wire{t: t, proxy: proxy, fault: r.fault, settlement: r.settlement}
	wires.Store(proxy.Name, w)
	t.Cleanup(func() {
		wires.Delete(proxy.Name)
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.stopped {
			w.proxy.Stop()
		}
	})
	return r.connect(t, proxy.Listen, w, 2*time.Second), w
}

// linkCases are the cases about lost connections, of adapter and of worker, that show
// something under a fault.
func linkCases(f fault) []brokertest.Case {
	var cases []brokertest.Case
	for _, c := range append(brokertest.Cases(), workertest.Cases()...) {
		work := strings.HasPrefix(c.Name, "link-receive-") || strings.HasPrefix(c.Name, "link-worker-")
		if work || strings.HasPrefix(c.Name, "link-") && !f.mild {
			cases = append(cases, c)
		}
	}
	return cases
}

// connectNATS connects to the nats-server of a test.
func connectNATS(t brokertest.T, address string, _ *wire, patience time.Duration) broker.Broker {
	t.Helper()
	nc, err := nats.Connect("nats://"+address, nats.Token(token), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1),
		nats.ReconnectWait(20*time.Millisecond), nats.Timeout(5*time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	b, err := redrivenats.New(t.Context(), nc, redrivenats.Config{PublishTimeout: patience})
	if err != nil {
		nc.Close()
		t.Fatalf("new: %v", err)
	}
	closeAfter(t, b)
	t.Cleanup(nc.Close)
	return b
}

// closeAfter closes a client at the end of a case.
func closeAfter(t brokertest.T, b broker.Broker) {
	closer, ok := b.(interface {
		Close(ctx context.Context) error
	})
	if !ok {
		t.Fatalf("%T cannot be closed", b)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := closer.Close(ctx); err != nil {
			t.Logf("close: %v", err)
		}
	})
}

// TestFaultyNetworks runs every case about lost connections, of adapter and of
// worker, on every kind of network fault and in both directions.
func TestFaultyNetworks(t *testing.T) {
	t.Parallel()
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			server := natstest.Start(t, natstest.Options{})
			r := &rig{fault: f, address: strings.TrimPrefix(server.URL, "nats://"), connect: connectNATS, settlement: settlementNATS}
			h := brokertest.Harness{Open: r.open, Link: r.link, Lease: 1500 * time.Millisecond, Tolerance: 15 * time.Second, Timeout: 2 * time.Minute}
			brokertest.RunCases(t, h, linkCases(f))
		})
	}
}

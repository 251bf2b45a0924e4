package redrivenats_test

import (
	"context"
	"flag"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/internal/workertest"
	"github.com/redrive-dev/redrive/redrivenats"
)

// TestMain lets more cases run at once than there are processors: nearly all of
// their time is waiting for leases and delays.
func TestMain(m *testing.M) {
	flag.Parse()
	if fuzzing := flag.Lookup("test.fuzz"); fuzzing == nil || fuzzing.Value.String() == "" {
		if err := flag.Set("test.parallel", "32"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// rig is the suite's way to one real server.
type rig struct {
	t      *testing.T
	server *natstest.Server
	raw    *nats.Conn
	// user is how clients present themselves; the server's token if nil.
	user nats.Option

	mu    sync.Mutex
	conns map[broker.Broker]*nats.Conn
}

func newRig(t *testing.T, options natstest.Options) *rig {
	t.Helper()
	server := natstest.Start(t, options)
	return &rig{t: t, server: server, raw: server.Connect(), conns: map[broker.Broker]*nats.Conn{}}
}

func (r *rig) harness() brokertest.Harness {
	return brokertest.Harness{
		Open: func(t brokertest.T) broker.Broker { return r.open(t) },
		Restart: func(brokertest.T) {
			r.server.Kill()
			r.server.Restart()
		},
		Kill: func(_ brokertest.T, b broker.Broker) {
			r.mu.Lock()
			defer r.mu.Unlock()
			// Closing the connection says nothing about the subscriptions, as the end of
			// a process says nothing.
			r.conns[b].Close()
		},
		Refuse:     r.refuse,
		Link:       r.openLinked,
		PublishRaw: r.publishRaw,
		Lease:      1200 * time.Millisecond,
		Tolerance:  15 * time.Second, // Of a loaded machine: a good one needs a fraction of a second.
		Hostile: []broker.Header{
			{Name: "Nats-Msg-Id", Value: []byte("a producer's id")},
			{Name: "Nats-Sequence", Value: []byte("999999")},
			{Name: "Nats-Stream", Value: []byte("elsewhere")},
			{Name: "Nats-Subject", Value: []byte("elsewhere")},
			{Name: "Nats-Time-Stamp", Value: []byte("yesterday")},
			{Name: "Nats-Num-Pending", Value: []byte("many")},
		},
	}
}

func (r *rig) open(t brokertest.T) *redrivenats.Broker {
	t.Helper()
	return r.openWith(t, func(*config) {})
}

type config = redrivenats.Config

func (r *rig) openWith(t brokertest.T, edit func(*config), options ...nats.Option) *redrivenats.Broker {
	t.Helper()
	var c config
	edit(&c)
	user := r.user
	if user == nil {
		user = nats.Token(r.server.Token)
	}
	nc, err := nats.Connect(r.server.URL, append(options, user, nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))...)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	b, err := redrivenats.New(t.Context(), nc, c)
	if err != nil {
		nc.Close()
		t.Fatalf("new: %v", err)
	}
	r.mu.Lock()
	r.conns[b] = nc
	r.mu.Unlock()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Logf("close: %v", err)
		}
		nc.Close()
	})
	return b
}

// refuse takes the subjects away from the stream of letters.
func (r *rig) refuse(t brokertest.T, _ string) (heal func()) {
	t.Helper()
	js, err := jetstream.New(r.raw)
	if err != nil {
		t.Fatalf("jetstream: %v", err)
	}
	stream, err := js.Stream(t.Context(), "redrive_dlq")
	if err != nil {
		t.Fatalf("stream of letters: %v", err)
	}
	listen := func(ctx context.Context, subjects []string) {
		c := stream.CachedInfo().Config
		c.Subjects = subjects
		if _, err := js.UpdateStream(ctx, c); err != nil {
			t.Errorf("change the subjects of the stream of letters: %v", err)
		}
	}
	before := stream.CachedInfo().Config.Subjects
	listen(t.Context(), []string{"nothing.that.redrive.sends"})
	heal = sync.OnceFunc(func() { listen(context.WithoutCancel(t.Context()), before) })
	t.Cleanup(heal)
	return heal
}

func (r *rig) publishRaw(t brokertest.T, queue string, m broker.Message) {
	t.Helper()
	js, err := jetstream.New(r.raw)
	if err != nil {
		t.Fatalf("jetstream: %v", err)
	}
	msg := nats.NewMsg(queue)
	msg.Data = m.Body
	for _, list := range [][]broker.Header{m.Headers, m.Control} {
		for _, h := range list {
			msg.Header.Add(h.Name, string(h.Value))
		}
	}
	if _, err := js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatalf("publish with a plain client: %v", err)
	}
}

// TestConformance runs the suite on queues that redrive makes.
func TestConformance(t *testing.T) {
	brokertest.Run(t, newRig(t, natstest.Options{}).harness())
}

// TestConformanceOfWorkers runs workers on queues that redrive makes.
func TestConformanceOfWorkers(t *testing.T) {
	t.Parallel() // It has a server of its own.
	brokertest.RunCases(t, newRig(t, natstest.Options{}).harness(), workertest.Cases())
}

// TestConformanceOnUsersStreams runs the suite on streams that a user made and
// that allow every header which steers the server.
func TestConformanceOnUsersStreams(t *testing.T) {
	for name, retention := range map[string]jetstream.RetentionPolicy{
		"Limits": jetstream.LimitsPolicy, "Interest": jetstream.InterestPolicy,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, natstest.Options{})
			h := r.harness()
			h.Hostile = append(h.Hostile,
				broker.Header{Name: "Nats-Rollup", Value: []byte("sub")},
				broker.Header{Name: "Nats-TTL", Value: []byte("1s")})
			js, err := jetstream.New(r.raw)
			if err != nil {
				t.Fatal(err)
			}
			if retention == jetstream.LimitsPolicy {
				// A server that is killed forgets acknowledgements of the last tenth of a
				// second on such a stream, which Caps say.
				h.Restart = func(brokertest.T) {
					r.server.Stop()
					r.server.Restart()
				}
			}
			unique := brokertest.Harness{}.WithDefaults().Queue
			h.Queue = func(bt brokertest.T, name string) string {
				queue := unique(bt, name)
				_, err := js.CreateStream(bt.Context(), jetstream.StreamConfig{
					Name: "USER-" + queue[len(queue)-16:], Subjects: []string{queue}, Retention: retention,
					AllowRollup: true, AllowMsgTTL: true,
				})
				if err != nil {
					bt.Fatalf("create the user's stream: %v", err)
				}
				return queue
			}
			brokertest.RunCases(t, h, mostCases())
		})
	}
}

// mostCases leaves out, unless REDRIVE_FULL=1, what does not depend on how the
// queue is stored: lost connections, but for those that a retry meets.
func mostCases() []brokertest.Case {
	if os.Getenv("REDRIVE_FULL") == "1" {
		return brokertest.Cases()
	}
	return slices.DeleteFunc(brokertest.Cases(), func(c brokertest.Case) bool {
		return strings.HasPrefix(c.Name, "link-") && !strings.HasPrefix(c.Name, "link-settle-retry-")
	})
}

package redrivenats_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/idempotency/idempotencytest"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/redrivenats"
)

// clusterBench is one broker on a cluster of three servers.
type clusterBench struct {
	t       *testing.T
	cluster *natstest.Cluster
	b       *redrivenats.Broker
	js      jetstream.JetStream
}

func newClusterBench(t *testing.T) *clusterBench {
	t.Helper()
	cluster := natstest.StartCluster(t, 3, natstest.Options{SyncAlways: true})
	js, err := jetstream.New(cluster.Connect())
	if err != nil {
		t.Fatal(err)
	}
	c := &clusterBench{t: t, cluster: cluster, js: js}
	c.b = c.open()
	return c
}

func (c *clusterBench) open() *redrivenats.Broker {
	c.t.Helper()
	nc, err := nats.Connect(c.cluster.URL(), nats.Token(c.cluster.Token), nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := redrivenats.New(c.t.Context(), nc, redrivenats.Config{Replicas: 3, PublishTimeout: 2 * time.Second})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			c.t.Logf("close: %v", err)
		}
		nc.Close()
	})
	return b
}

// TestN15LeaderKilledInTheMiddleOfMoves kills the leaders of the streams and of
// the consumer of a cluster under load: of what was confirmed nothing is lost, and
// nothing is where it does not belong.
func TestN15LeaderKilledInTheMiddleOfMoves(t *testing.T) {
	full, rounds := os.Getenv("REDRIVE_FULL") == "1", 1
	if full {
		rounds = 8
	}
	c := newClusterBench(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(rounds)*time.Minute)
	defer cancel()
	s, err := c.b.Open(ctx, broker.Spec{Source: "orders", Lease: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	// The short run kills every other one.
	leaders := []func() *natstest.Server{
		func() *natstest.Server {
			return c.cluster.ConsumerLeader(ctx, c.js, "redrive_src_orders", "redrive_orders")
		},
		func() *natstest.Server { return c.cluster.StreamLeader(ctx, c.js, "redrive_retry") },
		func() *natstest.Server { return c.cluster.StreamLeader(ctx, c.js, "redrive_src_orders") },
		func() *natstest.Server { return c.cluster.StreamLeader(ctx, c.js, "redrive_dlq") },
	}
	l := &ledger{handled: map[string]bool{}, moved: make(chan struct{}, 1_000_000)}
	var workers sync.WaitGroup
	work, stopWork := context.WithCancel(ctx)
	defer stopWork()
	workers.Go(func() { l.work(work, s) })
	published := make(chan int, 1)
	load, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	publisher := c.open()
	go func() { published <- publishUntil(load, ctx, publisher) }()
	kills := 0
	for range rounds {
		for i, leader := range leaders {
			if !full && i%2 != 0 {
				continue
			}
			kills++
			moves(ctx, t, l, 60)
			victim := leader()
			victim.Kill()
			moves(ctx, t, l, 30)
			victim.Restart()
			c.cluster.AwaitCurrent(ctx, c.js)
		}
	}
	stopLoad()
	count := <-published
	awaitEmpty(ctx, t, c.b, "orders", "orders.retry")
	stopWork()
	workers.Wait()
	account(t, l, count, c.letters(ctx, "orders.dlq"))
	t.Logf("%d messages confirmed, %d leaders killed", count, kills)
}

// moves waits until that many messages have moved.
func moves(ctx context.Context, t *testing.T, l *ledger, n int) {
	t.Helper()
	for moved := range n {
		select {
		case <-l.moved:
		case <-ctx.Done():
			t.Fatalf("%d of %d messages moved, and then nothing", moved, n)
		}
	}
}

// publishUntil publishes numbered messages until load ends, each again and again
// until it is confirmed, and returns how many were.
func publishUntil(load, ctx context.Context, b *redrivenats.Broker) int {
	const perBatch = 5 // The load is steady and below what the machine can do.
	for n := 0; ; {
		batch := make([]broker.Outbound, perBatch)
		for i := range batch {
			batch[i] = broker.Outbound{Queue: "orders", ID: fmt.Sprint("pub:", n+i), Body: fmt.Append(nil, n+i)}
		}
		for len(batch) > 0 && ctx.Err() == nil {
			var again []broker.Outbound
			for i, err := range b.Publish(ctx, batch) {
				if err != nil {
					again = append(again, batch[i])
				}
			}
			if batch = again; len(batch) > 0 {
				idle(ctx)
			}
		}
		if n += perBatch; load.Err() != nil {
			return n
		}
		idle(load)
	}
}

// account compares what became of each message with what should have.
func account(t *testing.T, l *ledger, count int, letters map[string]int) {
	t.Helper()
	lost, unexpected := 0, 0
	for i := range count {
		body := strconv.Itoa(i)
		switch n := letters[body]; {
		case i%3 == 1 && n != 1:
			t.Errorf("message %d has %d letters, want one", i, n)
			lost++
		case i%3 != 1 && n != 0:
			t.Errorf("message %d has %d letters, want none", i, n)
			unexpected++
		case i%3 != 1 && !l.handled[body]:
			t.Errorf("message %d is lost", i)
			lost++
		}
		delete(letters, body)
	}
	if len(letters) > 0 {
		t.Errorf("letters %v belong to no message", letters)
	}
	t.Logf("lost %d of %d, unexpected %d", lost, count, unexpected)
}

func (c *clusterBench) letters(ctx context.Context, queue string) map[string]int {
	c.t.Helper()
	view, err := c.b.Letters(ctx, queue)
	if err != nil {
		c.t.Fatal(err)
	}
	all := map[string]int{}
	for cursor := broker.Cursor(""); ; {
		letters, next, err := view.Scan(ctx, cursor, 1000)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, letter := range letters {
			all[string(letter.Message.Body)]++
		}
		if len(letters) < 1000 {
			return all
		}
		cursor = next
	}
}

// TestStreamsHaveTheirReplicas: every stream that redrive makes, the inbox
// included, has as many as were asked for.
func TestStreamsHaveTheirReplicas(t *testing.T) {
	c := newClusterBench(t)
	if err := c.b.Topology().Ensure(t.Context(), broker.Spec{Source: "orders", Group: "audit"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.b.OpenInbox(t.Context(), redrivenats.InboxConfig{}); err != nil {
		t.Fatal(err)
	}
	seen := 0
	list := c.js.ListStreams(t.Context())
	for info := range list.Info() {
		seen++
		if info.Config.Replicas != 3 {
			t.Errorf("stream %s has %d replicas, want 3", info.Config.Name, info.Config.Replicas)
		}
	}
	if list.Err() != nil || seen < 5 {
		t.Errorf("%d streams, %v; want those of a subscription and the inbox", seen, list.Err())
	}
	t.Run("inbox", func(t *testing.T) {
		idempotencytest.Run(t, func(t *testing.T, now func() time.Time) idempotency.Store {
			t.Helper()
			return openInbox(t, c.b, now)
		})
	})
	t.Run("inbox with leaders killed", func(t *testing.T) {
		inbox, err := c.b.OpenInbox(t.Context(), redrivenats.InboxConfig{})
		if err != nil {
			t.Fatal(err)
		}
		proveInbox(t, inbox, 2, func() {
			victim := c.cluster.StreamLeader(t.Context(), c.js, "KV_redrive_inbox")
			victim.Kill()
			victim.Restart()
			c.cluster.AwaitCurrent(t.Context(), c.js)
		})
	})
}

// TestReplicasAreNotGuessed: a server that cannot keep as many copies, and streams
// that have fewer, are refused with what to do.
func TestReplicasAreNotGuessed(t *testing.T) {
	b := newBench(t, natstest.Options{})
	three := b.rig.openWith(t, func(c *config) { c.Replicas = 3 })
	_, err := three.Open(t.Context(), broker.Spec{Source: "orders"})
	if err == nil || !strings.Contains(err.Error(), "lower Replicas") {
		t.Errorf("3 replicas on one server: %v, want what to do", err)
	}
	if err := b.b.Topology().Ensure(t.Context(), broker.Spec{Source: "orders"}); err != nil {
		t.Fatal(err)
	}
	_, err = three.Open(t.Context(), broker.Spec{Source: "orders"})
	for _, stream := range []string{"redrive_retry", "redrive_dlq", "KV_redrive_marks"} {
		if want := stream + ": num_replicas is 1, and Replicas asks for 3"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

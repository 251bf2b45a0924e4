package redrivenats_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/redrivenats"
)

// window is the number of messages that are in flight at most, in the worker and
// in the raw loop.
const window = 256

// BenchmarkWorkerAgainstRawLoop drains a queue of 1 KiB messages by a worker with
// its full policy and by a plain loop over the client, turn by turn. Both wait for
// the server to confirm each acknowledgement and have the same number of messages
// in flight; neither does anything with them. Time runs from the first message to
// the end of the last acknowledgement. One turn is one operation. The ratio is the median over the turns, of which a figure needs several:
// -benchtime 7x.
func BenchmarkWorkerAgainstRawLoop(b *testing.B) {
	for name, c := range map[string]struct {
		options  natstest.Options
		messages int
	}{
		"sync=default": {natstest.Options{}, 20_000},
		"sync=always":  {natstest.Options{SyncAlways: true}, 6_000},
	} {
		b.Run(name, func(b *testing.B) {
			server := natstest.Start(b, c.options)
			var ratios, worker, raw []float64
			for n := 0; b.Loop(); n++ {
				w := drainByWorker(b, server, fmt.Sprint("orders", n), c.messages)
				r := drainByHand(b, server, fmt.Sprint("RAW", n), c.messages)
				worker, raw, ratios = append(worker, w), append(raw, r), append(ratios, w/r)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(worker), "worker-msg/s")
			b.ReportMetric(median(raw), "raw-msg/s")
			b.ReportMetric(median(ratios), "worker/raw")
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func connect(b *testing.B, server *natstest.Server) *nats.Conn {
	b.Helper()
	nc, err := nats.Connect(server.URL, nats.Token(server.Token), nats.ReconnectBufSize(-1))
	if err != nil {
		b.Fatal(err)
	}
	return nc
}

// drainByWorker returns messages per second.
func drainByWorker(b *testing.B, server *natstest.Server, queue string, messages int) float64 {
	b.Helper()
	nc := connect(b, server)
	defer nc.Close()
	adapter, err := redrivenats.New(b.Context(), nc, redrivenats.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = adapter.Close(b.Context()) }()
	if err := adapter.Topology().Ensure(b.Context(), broker.Spec{Source: queue}); err != nil {
		b.Fatal(err)
	}
	fillQueue(b, adapter, queue, messages)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var handled atomic.Int64
	var start time.Time
	w, err := redrive.NewWorker(adapter, func(context.Context, *redrive.Message) error {
		switch handled.Add(1) {
		case 1:
			start = time.Now()
		case int64(messages):
			cancel()
		}
		return nil
	}, redrive.Config{Source: queue, Concurrency: window / 4, MaxInFlight: window})
	if err != nil {
		b.Fatal(err)
	}
	if err := w.Run(ctx); err != nil {
		b.Fatal(err)
	}
	return float64(messages) / time.Since(start).Seconds()
}

// drainByHand returns messages per second.
func drainByHand(b *testing.B, server *natstest.Server, stream string, messages int) float64 {
	b.Helper()
	nc := connect(b, server)
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000))
	if err != nil {
		b.Fatal(err)
	}
	s, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{stream}, Retention: jetstream.WorkQueuePolicy})
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 1024)
	for n := range messages {
		if _, err := js.PublishAsync(stream, body, jetstream.WithMsgID(strconv.Itoa(n)), jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	consumer, err := s.CreateConsumer(b.Context(), jetstream.ConsumerConfig{Durable: "raw", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second, MaxAckPending: window})
	if err != nil {
		b.Fatal(err)
	}
	arrivals, err := consumer.Messages(jetstream.PullMaxMessages(window))
	if err != nil {
		b.Fatal(err)
	}
	defer arrivals.Stop()
	work := make(chan jetstream.Msg)
	var loops sync.WaitGroup
	for range window {
		loops.Go(func() {
			for m := range work {
				if err := m.DoubleAck(b.Context()); err != nil {
					b.Error(err)
				}
			}
		})
	}
	var start time.Time
	for n := range messages {
		m, err := arrivals.Next()
		if err != nil {
			b.Fatal(err)
		}
		if n == 0 {
			start = time.Now()
		}
		work <- m
	}
	close(work)
	loops.Wait()
	return float64(messages) / time.Since(start).Seconds()
}

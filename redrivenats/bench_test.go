package redrivenats_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/redrivenats"
)

// BenchmarkReceiveAndSettle handles messages of 1 KiB that are in the queue: what
// a worker does at most, handlers aside.
func BenchmarkReceiveAndSettle(b *testing.B) {
	for name, outcome := range map[string]func(d broker.Delivery) broker.Outcome{
		"Done": func(broker.Delivery) broker.Outcome { return broker.Done{} },
		"Retry": func(d broker.Delivery) broker.Outcome {
			return broker.Retry{At: time.Now().Add(time.Hour), Envelope: []byte("{}"), PublishID: d.Identity().String()}
		},
		"Dead": func(d broker.Delivery) broker.Outcome {
			return broker.Dead{Queue: "orders.dlq", Envelope: []byte("{}"), PublishID: "dl:" + d.Identity().String()}
		},
	} {
		b.Run(name, func(b *testing.B) { benchmarkSettle(b, outcome) })
	}
}

func benchmarkSettle(b *testing.B, outcome func(broker.Delivery) broker.Outcome) {
	b.Helper()
	server := natstest.Start(b, natstest.Options{})
	nc, err := nats.Connect(server.URL, nats.Token(server.Token), nats.ReconnectBufSize(-1))
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	adapter, err := redrivenats.New(b.Context(), nc, redrivenats.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = adapter.Close(b.Context()) }()
	const workers = 256
	s, err := adapter.Open(b.Context(), broker.Spec{Source: "orders", MaxInFlight: 2 * workers})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, adapter, b.N)
	deliveries := make(chan broker.Delivery, workers)
	var handlers sync.WaitGroup
	for range workers {
		handlers.Go(func() {
			for d := range deliveries {
				if _, err := d.Settle(b.Context(), outcome(d)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for got := 0; got < b.N; {
		batch, err := s.Receive(b.Context(), workers)
		if err != nil {
			b.Fatal(err)
		}
		got += len(batch)
		for _, d := range batch {
			deliveries <- d
		}
	}
	close(deliveries)
	handlers.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkPublish publishes messages of 1 KiB, many at a time.
func BenchmarkPublish(b *testing.B) {
	r := natstest.Start(b, natstest.Options{})
	adapter, err := redrivenats.Connect(b.Context(), redrivenats.Config{URL: r.URL, Token: r.Token})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = adapter.Close(b.Context()) }()
	if err := adapter.Topology().Ensure(b.Context(), broker.Spec{Source: "orders"}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	fill(b, adapter, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func fill(b *testing.B, adapter broker.Broker, n int) {
	b.Helper()
	fillQueue(b, adapter, "orders", n)
}

func fillQueue(b *testing.B, adapter broker.Broker, queue string, n int) {
	b.Helper()
	body := make([]byte, 1024)
	for start := 0; start < n; {
		batch := make([]broker.Outbound, min(1000, n-start))
		for i := range batch {
			batch[i] = broker.Outbound{Queue: queue, ID: fmt.Sprint("pub:", start+i), Body: body}
		}
		for _, err := range adapter.Publish(b.Context(), batch) {
			if err != nil {
				b.Fatal(err)
			}
		}
		start += len(batch)
	}
}

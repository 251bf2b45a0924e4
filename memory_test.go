package redrive_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redrive-dev/redrive"
)

// BenchmarkInFlight measures what handlers cost that wait for something: 4,096 of
// them run at once, each with the channel of its context in hand, and the heap and
// the stacks are read then. The messages are the broker's own and all the same.
func BenchmarkInFlight(b *testing.B) {
	const handlers = 4096
	for b.Loop() {
		grown := inFlight(b, handlers)
		b.ReportMetric(float64(grown)/(1<<20), "MiB")
		b.ReportMetric(float64(grown)/handlers, "B/handler")
	}
}

// 4,096 handlers in flight fit into 64 MiB.
func TestManyHandlersFitIntoMemory(t *testing.T) {
	if grown := inFlight(t, 4096); grown > 64<<20 {
		t.Errorf("4096 handlers in flight take %d MiB", grown>>20)
	}
}

// inFlight returns by how many bytes heap and stacks have grown when so many
// handlers run.
func inFlight(tb testing.TB, handlers int) uint64 {
	tb.Helper()
	src := &instant{}
	src.left.Store(int64(handlers))
	var running atomic.Int64
	all, done := make(chan struct{}), make(chan struct{})
	w, err := redrive.NewWorker(src, func(ctx context.Context, _ *redrive.Message) error {
		if running.Add(1) == int64(handlers) {
			close(all)
		}
		select {
		case <-ctx.Done():
		case <-done:
		}
		return nil
	}, redrive.Config{Source: source, Concurrency: handlers, MaxInFlight: handlers})
	if err != nil {
		tb.Fatal(err)
	}
	before := inUse()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- w.Run(ctx) }()
	select {
	case <-all:
	case <-ctx.Done():
		tb.Fatalf("%d of %d handlers run", running.Load(), handlers)
	}
	after := inUse()
	close(done)
	cancel()
	if err := <-stopped; err != nil {
		tb.Error(err)
	}
	return after - min(after, before)
}

func inUse() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapInuse + s.StackInuse
}

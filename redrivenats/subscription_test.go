package redrivenats

import (
	"sync"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// TestOneLockOrder begins to settle from many goroutines while Receive counts
// its room: taken in two orders, the locks of subscription and delivery meet.
func TestOneLockOrder(t *testing.T) {
	const deliveries, rounds = 4, 20_000
	s := &subscription{spec: broker.Spec{MaxInFlight: deliveries}, inflight: map[inflightKey]*delivery{}}
	l := &lane{}
	var goroutines sync.WaitGroup
	for i := range deliveries {
		d := &delivery{s: s, lane: l, deadline: time.Now().Add(time.Hour)}
		s.inflight[inflightKey{l, uint64(i)}] = d
		goroutines.Go(func() {
			for range rounds {
				if err := d.begin(broker.Release{}); err != nil {
					t.Error(err)
					return
				}
				d.mu.Lock()
				d.state = open
				d.mu.Unlock()
			}
		})
	}
	goroutines.Go(func() {
		for range rounds {
			if room, err := s.room(); room != 0 || err != nil {
				t.Errorf("room for %d, %v; want none", room, err)
				return
			}
		}
	})
	done := make(chan struct{})
	go func() {
		goroutines.Wait()
		close(done)
	}()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	select {
	case <-done:
	case <-deadline.C:
		t.Fatal("settling and receiving wait for each other")
	}
}

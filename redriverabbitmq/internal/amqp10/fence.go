package amqp10

import (
	"context"
	"sync"
)

// few is how many settlements the server surely passes on at once: half of what it
// allows, since it counts other commands as well.
const few = 16

// fence confirms everything that was sent before it was asked. Callers that ask while
// a round is under way share the next one. It is safe for concurrent use.
type fence struct {
	// drain returns nil when the queue has applied what was sent before.
	drain func() error

	mu sync.Mutex
	// running says that a round is under way.
	running bool
	// next is the round that begins after it, nil if nobody waits for one.
	next *round
	// sent counts settlements since the newest round began, and before the ones that
	// it covered were known to be applied.
	sent int
}

// round is one confirmation that several callers wait for.
type round struct {
	done chan struct{}
	err  error
}

// settled notes that a settlement was written.
func (f *fence) settled() {
	f.mu.Lock()
	f.sent++
	f.mu.Unlock()
}

// confirm returns nil when everything that was written before the call has been
// applied, else the context's error or that of the connection.
func (f *fence) confirm(ctx context.Context) error {
	f.mu.Lock()
	if f.next == nil {
		f.next = &round{done: make(chan struct{})}
	}
	r := f.next
	if !f.running {
		f.running = true
		go f.run()
	}
	f.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run makes rounds until nobody waits for one.
func (f *fence) run() {
	for {
		f.mu.Lock()
		r, sent := f.next, f.sent
		f.next = nil
		if r == nil {
			f.running = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		r.err = f.drain()
		if r.err == nil && sent > few {
			r.err = f.drain()
		}
		if r.err == nil {
			f.mu.Lock()
			f.sent -= sent
			f.mu.Unlock()
		}
		close(r.done)
	}
}

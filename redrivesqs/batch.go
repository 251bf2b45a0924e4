package redrivesqs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// linger is how long a batch that is not full waits for more while others are on
// their way. When none is, nothing waits.
const linger = 2 * time.Millisecond

// item is one entry of a batch and what became of it.
type item[E, R any] struct {
	entry E
	size  int
	done  chan struct{}
	// result and err are set before done is closed.
	result R
	err    error
	// sent says that the entry has left the queue of those that wait.
	sent bool
	// withdrawn says that its caller took it back before it was sent.
	withdrawn bool
}

func newItem[E, R any](entry E, size int) *item[E, R] {
	return &item[E, R]{entry: entry, size: size, done: make(chan struct{})}
}

// unread returns the item if it is on its way and its caller had no time for the
// answer, else nil. It is called after wait, by the same caller.
func (it *item[E, R]) unread(ctx context.Context, err error) *item[E, R] {
	if err == nil || ctx.Err() == nil || it.withdrawn {
		return nil
	}
	return it
}

// batcher collects entries of concurrent callers into requests of ten. An entry is
// sent at once if nothing is on its way; what comes meanwhile shares requests.
type batcher[E, R any] struct {
	// send makes one request and sets result or err of every item.
	send func(ctx context.Context, items []*item[E, R])
	// slots is the number of requests on their way at the same time. With one the
	// order of entries is kept.
	slots int
	// base ends with the broker.
	base context.Context //nolint:containedctx // requests are shared by callers and belong to none of them
	// running is waited for by Close.
	running *crew
	// full ends the wait of a batch that is not full.
	full chan struct{}

	mu      sync.Mutex
	waiting []*item[E, R]
	// flying counts the requests on their way or about to be made, and takers those
	// whose entries are not chosen yet.
	flying, takers int
	lingering      bool
}

// add puts items in line, in order.
func (b *batcher[E, R]) add(items ...*item[E, R]) {
	b.mu.Lock()
	b.waiting = append(b.waiting, items...)
	starts := 0
	for b.flying < b.slots && b.takers*maxBatch < len(b.waiting) {
		b.flying++
		b.takers++
		starts++
	}
	if b.lingering && len(b.waiting) >= maxBatch {
		select {
		case b.full <- struct{}{}:
		default:
		}
	}
	b.mu.Unlock()
	for range starts {
		b.running.Go(b.run)
	}
}

// run sends batches until nothing waits.
func (b *batcher[E, R]) run() {
	for first := true; ; first = false {
		batch := b.take(first)
		if batch == nil {
			return
		}
		b.send(b.base, batch)
		for _, it := range batch {
			close(it.done)
		}
	}
}

func (b *batcher[E, R]) take(first bool) []*item[E, R] {
	b.mu.Lock()
	defer b.mu.Unlock()
	if first {
		defer func() { b.takers-- }()
	}
	if n := len(b.waiting); n > 0 && n < maxBatch && b.flying > 1 && !b.lingering {
		b.lingering = true
		b.mu.Unlock()
		timer := time.NewTimer(linger)
		select {
		case <-timer.C:
		case <-b.full:
		}
		timer.Stop()
		b.mu.Lock()
		b.lingering = false
	}
	n, size := 0, 0
	for n < len(b.waiting) && n < maxBatch && (n == 0 || size+b.waiting[n].size <= maxMessage) {
		size += b.waiting[n].size
		b.waiting[n].sent = true
		n++
	}
	if n == 0 {
		b.flying--
		return nil
	}
	batch := append([]*item[E, R](nil), b.waiting[:n]...)
	rest := copy(b.waiting, b.waiting[n:])
	clear(b.waiting[rest:])
	b.waiting = b.waiting[:rest]
	return batch
}

// wait waits for an item. If the context ends first, the entry is taken back if it
// has not been sent; otherwise its outcome is unknown.
func (b *batcher[E, R]) wait(ctx context.Context, it *item[E, R]) (R, error) {
	select {
	case <-it.done:
		return it.result, it.err
	default:
	}
	select {
	case <-it.done:
		return it.result, it.err
	case <-ctx.Done():
	}
	var none R
	if b.takeBack(it) {
		return none, fmt.Errorf("%w: %w", errNotSent, cause(ctx))
	}
	return none, fmt.Errorf("%w: %w", broker.ErrUnknown, cause(ctx))
}

func (b *batcher[E, R]) takeBack(it *item[E, R]) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if it.sent {
		return false
	}
	for i, other := range b.waiting {
		if other == it {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			it.withdrawn = true
			return true
		}
	}
	return false
}

// do is add and wait for one entry.
func (b *batcher[E, R]) do(ctx context.Context, entry E, size int) (R, error) {
	if ctx.Err() != nil {
		var none R
		return none, fmt.Errorf("%w: %w", errNotSent, cause(ctx))
	}
	it := newItem[E, R](entry, size)
	b.add(it)
	return b.wait(ctx, it)
}

// crew counts goroutines, of which new ones may begin while somebody waits for none.
type crew struct {
	mu   sync.Mutex
	n    int
	none chan struct{}
}

// Go runs f in a goroutine of its own.
func (c *crew) Go(f func()) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	go func() {
		defer c.done()
		f()
	}()
}

func (c *crew) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 && c.none != nil {
		close(c.none)
		c.none = nil
	}
}

// idle is closed as soon as no goroutine runs.
func (c *crew) idle() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.none == nil {
		c.none = make(chan struct{})
	}
	none := c.none
	if c.n == 0 {
		close(none)
		c.none = nil
	}
	return none
}

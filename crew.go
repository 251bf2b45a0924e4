package redrive

import (
	"sync"
	"time"

	"github.com/redrive-dev/redrive/internal/engine"
)

// job is a run of a handler that is to be made, and when the machine started it.
type job struct {
	item  *engine.Item
	began time.Time
}

// crew are the goroutines that have run a handler and wait for the next one. A
// goroutine that ran a handler has grown its stack, which is worth keeping; the
// one that came back last is called first, and the others' stacks shrink. There
// are never more than handlers and settlements at one time. The zero crew keeps
// nobody.
type crew struct {
	mu   sync.Mutex
	keep bool
	idle []*runner
}

// runner is a goroutine of the crew. A job without an item ends it.
type runner struct{ next chan job }

// open makes the crew keep those who wait.
func (c *crew) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep = true
}

// wait puts a runner among the idle. It reports false if there will be no job for
// it.
func (c *crew) wait(r *runner) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keep {
		c.idle = append(c.idle, r)
	}
	return c.keep
}

// call takes an idle runner, nil if there is none.
func (c *crew) call() *runner {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.idle)
	if n == 0 {
		return nil
	}
	r := c.idle[n-1]
	c.idle[n-1] = nil
	c.idle = c.idle[:n-1]
	return r
}

// close sends the idle home, and everybody else when they are done.
func (c *crew) close() {
	c.mu.Lock()
	idle := c.idle
	c.keep, c.idle = false, nil
	c.mu.Unlock()
	for _, r := range idle {
		r.next <- job{}
	}
}

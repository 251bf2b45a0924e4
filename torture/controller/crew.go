package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/torture/worker"
)

// workers is how many run at once.
const workers = 2

// maxDeaths is how many workers may end by themselves before a run is given up.
const maxDeaths = 20

// crew are the workers. It is used by one goroutine.
type crew struct {
	run     *run
	members [workers]*member
	started int
	deaths  int // of workers that nobody killed
}

type member struct {
	*process
	journal string
	since   time.Time
}

// working says that the worker has started to handle messages.
func (m *member) working() bool {
	info, err := os.Stat(m.journal)
	return err == nil && info.Size() > 0
}

// hire starts a worker in every place that has none.
func (c *crew) hire() error {
	for i, m := range c.members {
		if m != nil {
			select {
			case <-m.done:
				c.deaths++
				if c.deaths > maxDeaths {
					return fmt.Errorf("%d workers ended by themselves, the last with: %w; their last words: %s", c.deaths, m.err, c.lastWords())
				}
			default:
				continue
			}
		}
		m, err := c.start(i)
		if err != nil {
			return err
		}
		c.members[i] = m
	}
	return nil
}

// start starts a worker in a place, counted from 0.
func (c *crew) start(place int) (*member, error) {
	c.started++
	r, group := c.run, place%c.run.config.Groups
	to := r.site.connection()
	to.Options = maps.Clone(to.Options)
	to.Options[worker.OptionMember] = fmt.Sprintf("place-%d", place)
	config := worker.Config{
		Broker: to, KeyHeader: r.keyHeader(), Source: r.names(group).Source, Group: groups[group], Budget: r.config.Budget, Lease: r.config.Lease,
		Scenario: r.scenario, Mutant: r.config.Mutant, Outage: r.outage(),
		Journal: filepath.Join(r.journals(group), fmt.Sprintf("%06d", c.started)),
		Name:    fmt.Sprintf("worker-%d", c.started),
	}
	if r.restarts() {
		config.Patience = patience
	}
	if r.config.Inbox {
		config.Inbox = r.inbox()
	}
	variable, err := config.Environment()
	if err != nil {
		return nil, err
	}
	p, err := r.launcher.start(r.workerLog(), variable, r.config.Worker)
	if err != nil {
		return nil, err
	}
	return &member{process: p, journal: config.Journal, since: time.Now()}, nil
}

// patience is how long a worker waits for a broker that was killed.
const patience = time.Minute

// groups are the names of the consumer groups.
var groups = [workers]string{broker.DefaultGroup, "second"} //nolint:gochecknoglobals // a constant in all but name

// pick takes out a worker that has begun to work, nil if there is none.
func (c *crew) pick(random *rand.Rand) *member {
	first := random.IntN(workers)
	for i := range workers {
		place := (first + i) % workers
		if m := c.members[place]; m != nil && (m.working() || time.Since(m.since) > kindOf(c.run.config.Broker).idle) {
			c.members[place] = nil
			return m
		}
	}
	return nil
}

// killOne kills a worker that has begun to work, if there is one. It tells
// whether it did.
func (c *crew) killOne(random *rand.Rand) bool {
	m := c.pick(random)
	if m != nil {
		m.kill()
	}
	return m != nil
}

// stopTimeout is how long a worker may take to stop.
const stopTimeout = 15 * time.Second

// deployOne stops a worker as killOne kills one.
func (c *crew) deployOne(ctx context.Context, random *rand.Rand) (bool, error) {
	m := c.pick(random)
	if m == nil {
		return false, nil
	}
	return true, m.stop(ctx, stopTimeout)
}

// stop lets all workers finish.
func (c *crew) stop(ctx context.Context) error {
	var errs []error
	for i, m := range c.members {
		if m != nil {
			errs = append(errs, m.stop(ctx, stopTimeout))
			c.members[i] = nil
		}
	}
	return errors.Join(errs...)
}

// kill ends all workers.
func (c *crew) kill() {
	for i, m := range c.members {
		if m != nil {
			m.kill()
			c.members[i] = nil
		}
	}
}

// lastWords is the end of what workers printed.
func (c *crew) lastWords() string {
	raw, err := os.ReadFile(c.run.workerLog())
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(raw[max(0, len(raw)-2000):]))
}

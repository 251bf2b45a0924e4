package controller

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/scenario"
)

// producers is how many take turns, and batch how many messages one publishes at
// a time.
const (
	producers = 4
	batch     = 50
)

// producer publishes and keeps the books. It is safe for concurrent use.
type producer struct {
	scenario scenario.Scenario
	broker   broker.Broker
	queue    string
	// persistent says that what is not confirmed is published again, until it is.
	persistent bool

	mu      sync.Mutex
	file    *os.File
	books   *checker.Books
	next    [producers + 1]uint32
	turn    uint16
	sent    int
	trouble error // the first publication that was not confirmed
}

func newProducer(s scenario.Scenario, b broker.Broker, queue string, path string) (*producer, error) {
	f, err := os.Create(path) //nolint:gosec // in our own folder
	if err != nil {
		return nil, fmt.Errorf("books: %w", err)
	}
	return &producer{scenario: s, broker: b, queue: queue, file: f, books: checker.NewBooks(f)}, nil
}

// publish publishes n messages in batches, each by the next producer.
func (p *producer) publish(ctx context.Context, n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n > 0 {
		size := min(n, batch)
		if err := p.publishAs(ctx, 1+p.turn%producers, size); err != nil {
			return err
		}
		p.turn++
		p.sent += size
		n -= size
	}
	return nil
}

// beacons publishes n messages that succeed.
func (p *producer) beacons(ctx context.Context, n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.publishAs(ctx, scenario.Beacon, n)
}

func (p *producer) publishAs(ctx context.Context, as uint16, n int) error {
	ids := make([]checker.ID, n)
	out := make([]broker.Outbound, n)
	for i := range ids {
		ids[i] = checker.ID{Producer: as, Counter: p.next[as]}
		p.next[as]++
		body, headers := p.scenario.Message(ids[i])
		out[i] = broker.Outbound{Queue: p.queue, ID: "pub:" + ids[i].String(), Body: body, Headers: headers}
		p.books.Attempt(ids[i], scenario.Sum(body, headers))
	}
	if err := p.books.Flush(); err != nil {
		return err
	}
	for {
		ids, out = p.publishOnce(ctx, ids, out)
		if err := p.books.Flush(); err != nil || len(out) == 0 || !p.persistent {
			return err
		}
		again := time.NewTimer(100 * time.Millisecond)
		select {
		case <-ctx.Done():
			again.Stop()
			return context.Cause(ctx)
		case <-again.C:
		}
	}
}

// publishOnce publishes, enters how that ended, and returns what was not
// confirmed. A repeat has the id that the first try had.
func (p *producer) publishOnce(ctx context.Context, ids []checker.ID, out []broker.Outbound) (restIDs []checker.ID, rest []broker.Outbound) {
	for i, err := range p.broker.Publish(ctx, out) {
		state := checker.Confirmed
		if err != nil {
			state = checker.Refused
			if errors.Is(err, broker.ErrUnknown) {
				state = checker.Unknown
			}
			if p.trouble == nil {
				p.trouble = err
			}
			restIDs, rest = append(restIDs, ids[i]), append(rest, out[i])
		}
		p.books.End(ids[i], state)
	}
	return restIDs, rest
}

func (p *producer) close() error { return errors.Join(p.books.Flush(), p.file.Close()) }

package redrivetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/redrive-dev/redrive/broker"
)

// Link is the connection between one client and its broker, which a test can
// damage. While it is damaged, calls fail as they do on a network: silently, so
// that a call ends with its context or with the connection, or at once. Heal ends
// every damage and, as a reconnect does, the calls that wait. It is safe for
// concurrent use.
type Link struct {
	requests, answers, settlements, cut atomic.Bool

	mu   sync.Mutex
	heal chan struct{} // closed by the next Heal
}

// WithLink wraps a client so that its connection can be damaged.
func WithLink(b broker.Broker) (broker.Broker, *Link) {
	l := &Link{heal: make(chan struct{})}
	const all = opPublish | opReceive | opSettle | opExtend | opMark | opStats | opLetters
	during := func(o op, on *atomic.Bool) *Fault {
		f := newFault(o, nil)
		f.link, f.on = l, on
		return f
	}
	faulty := Inject(b,
		during(all, &l.cut).With(errCut()),
		during(all, &l.requests).Hang(),
		during(opSettle, &l.settlements).Hang(),
		during(all, &l.answers).ApplyThenLose(),
	)
	return &linked{Broker: faulty, link: l}, l
}

func errCut() error { return fmt.Errorf("connection cut: %w", broker.ErrUnknown) }

// DropRequests swallows what the client sends: nothing takes effect, and nobody
// says so.
func (l *Link) DropRequests() { l.requests.Store(true) }

// DropAnswers swallows what the broker sends: calls take effect, and the client
// does not learn of it.
func (l *Link) DropAnswers() { l.answers.Store(true) }

// DropSettlements swallows settlements. The moves of the in-memory broker are
// one step, so that nothing of them takes effect.
func (l *Link) DropSettlements() { l.settlements.Store(true) }

// Cut ends the connection: calls fail at once.
func (l *Link) Cut() { l.cut.Store(true) }

// Heal ends every damage.
func (l *Link) Heal() {
	for _, damage := range []*atomic.Bool{&l.requests, &l.answers, &l.settlements, &l.cut} {
		damage.Store(false)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.heal)
	l.heal = make(chan struct{})
}

// healed is closed by the next Heal. A fault without a link has none.
func (l *Link) healed() <-chan struct{} {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heal
}

// linked are the calls that Inject knows no faults of.
type linked struct {
	broker.Broker
	link *Link
}

func (b *linked) damaged(ctx context.Context) error {
	switch {
	case b.link.cut.Load():
		return errCut()
	case b.link.requests.Load(), b.link.answers.Load():
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w: %w", broker.ErrUnknown, ctx.Err())
		case <-b.link.healed():
			return errCut()
		}
	}
	return nil
}

func (b *linked) Caps(ctx context.Context, queue string) (broker.Caps, error) {
	if err := b.damaged(ctx); err != nil {
		return broker.Caps{}, err
	}
	return b.Broker.Caps(ctx, queue)
}

func (b *linked) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	if err := b.damaged(ctx); err != nil {
		return nil, err
	}
	return b.Broker.Open(ctx, spec)
}

func (b *linked) Letters(ctx context.Context, queue string) (broker.Letters, error) {
	if err := b.damaged(ctx); err != nil {
		return nil, err
	}
	return b.Broker.Letters(ctx, queue)
}

package redrivetest

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

// Letters implements broker.Broker. A queue that does not exist is empty.
func (b *Broker) Letters(ctx context.Context, queue string) (broker.Letters, error) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	if err := b.usable(ctx); err != nil {
		return nil, fmt.Errorf("open letters of %s: %w", queue, err)
	}
	return &letters{client: b, queue: queue}, nil
}

type letters struct {
	client *Broker
	queue  string
}

func (l *letters) Mode() broker.Mode { return l.client.server.cfg.caps.LettersMode }

// Scan sees copies in every state, also those that are in flight or delayed.
func (l *letters) Scan(ctx context.Context, from broker.Cursor, n int) ([]broker.Letter, broker.Cursor, error) {
	if l.Mode() == broker.DrainOnly {
		return nil, from, fmt.Errorf("scan %s: %w", l.queue, broker.ErrUnsupported)
	}
	var first uint64
	if from != "" {
		var err error
		if first, err = strconv.ParseUint(string(from), 10, 64); err != nil {
			return nil, from, fmt.Errorf("scan %s: cursor %q is not one of this broker", l.queue, from)
		}
	}
	got, err := l.read(ctx, first, n)
	if err != nil {
		return nil, from, fmt.Errorf("scan %s: %w", l.queue, err)
	}
	if len(got) > 0 {
		last, _ := strconv.ParseUint(got[len(got)-1].Position, 10, 64)
		from = broker.Cursor(position(last + 1))
	}
	return got, from, nil
}

func (l *letters) read(ctx context.Context, first uint64, n int) ([]broker.Letter, error) {
	srv := l.client.server
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if err := l.client.usable(ctx); err != nil {
		return nil, err
	}
	q := srv.queues[l.queue]
	if q == nil {
		return nil, nil
	}
	var out []broker.Letter
	for _, e := range q.from(first, n) {
		out = append(out, srv.letter(q, e))
	}
	return out, nil
}

func (s *server) letter(q *queue, e *entry) broker.Letter {
	out := broker.Letter{Message: e.msg.Clone(), Position: position(e.seq), StoredAt: e.stored}
	if s.cfg.caps.StableIdentity {
		out.Identity = s.incarnation(q, e)
	}
	return out
}

func (l *letters) Drain(ctx context.Context, batch int, sink func(context.Context, []broker.Letter) error) error {
	if batch < 1 {
		return fmt.Errorf("drain %s: batch is %d: ask for at least one letter", l.queue, batch)
	}
	for {
		got, err := l.read(ctx, 0, batch)
		if err == nil && len(got) > 0 {
			err = sink(ctx, got)
		}
		if err != nil {
			return fmt.Errorf("drain %s: %w", l.queue, err)
		}
		if len(got) == 0 {
			return nil
		}
		for _, letter := range got {
			if err := l.remove(ctx, letter.Position); err != nil {
				return fmt.Errorf("drain %s: remove %s after it was kept: %w", l.queue, letter.Position, err)
			}
		}
	}
}

func (l *letters) Get(ctx context.Context, pos string) (broker.Letter, error) {
	seq, err := l.sequence(pos)
	if err != nil {
		return broker.Letter{}, fmt.Errorf("get letter of %s: %w", l.queue, err)
	}
	got, err := l.read(ctx, seq, 1)
	if err == nil && (len(got) == 0 || got[0].Position != pos) {
		err = broker.ErrGone
	}
	if err != nil {
		return broker.Letter{}, fmt.Errorf("get letter %s of %s: %w", pos, l.queue, err)
	}
	return got[0], nil
}

// Remove takes a letter away from every consumer group; whoever holds it has
// lost its lease.
func (l *letters) Remove(ctx context.Context, pos string) error {
	if _, err := l.sequence(pos); err != nil {
		return fmt.Errorf("remove letter of %s: %w", l.queue, err)
	}
	if err := l.remove(ctx, pos); err != nil {
		return fmt.Errorf("remove letter %s of %s: %w", pos, l.queue, err)
	}
	return nil
}

func (l *letters) sequence(pos string) (uint64, error) {
	if l.Mode() != broker.Observe {
		return 0, broker.ErrUnsupported
	}
	seq, err := strconv.ParseUint(pos, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("position %q is not one of this broker", pos)
	}
	return seq, nil
}

func (l *letters) remove(ctx context.Context, pos string) error {
	srv := l.client.server
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if err := l.client.usable(ctx); err != nil {
		return err
	}
	seq, err := strconv.ParseUint(pos, 10, 64)
	if err != nil {
		return fmt.Errorf("position %q is not one of this broker", pos)
	}
	if q := srv.queues[l.queue]; q != nil {
		if e := q.live[seq]; e != nil {
			q.remove(e)
		}
	}
	return nil
}

// Topology implements broker.Broker.
func (b *Broker) Topology() broker.Topology { return topology{b} }

type topology struct{ client *Broker }

func (t topology) Queues(ctx context.Context) ([]broker.Queue, error) {
	t.client.server.mu.Lock()
	defer t.client.server.mu.Unlock()
	if err := t.client.usable(ctx); err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	var out []broker.Queue
	for _, q := range t.client.server.queues {
		out = append(out, broker.Queue{Name: q.name, Kind: q.kind, Groups: q.groups()})
	}
	slices.SortFunc(out, func(a, b broker.Queue) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
	return out, nil
}

func (t topology) Ensure(ctx context.Context, spec broker.Spec) error {
	t.client.server.mu.Lock()
	defer t.client.server.mu.Unlock()
	err := t.client.usable(ctx)
	if err == nil {
		err = t.client.server.consumable(spec)
	}
	if err != nil {
		return fmt.Errorf("ensure %s: %w", spec.Source, err)
	}
	t.client.server.declare(spec.WithDefaults())
	return nil
}

func quarantines(n broker.Names) []string {
	var out []string
	for _, c := range failure.Categories() {
		out = append(out, n.Quarantine(c))
	}
	return out
}

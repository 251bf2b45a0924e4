package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

// queues are the queues of a run, the source first.
func queues(n broker.Names) []string {
	out := []string{n.Source, n.Retry, n.DeadLetter}
	for _, c := range failure.Categories() {
		out = append(out, n.Quarantine(c))
	}
	return out
}

// audit reads the ledger, the effect log and the queues, and balances them.
func audit(ctx context.Context, b broker.Broker, dir string, base Books) (_ Account, err error) {
	if base.Published, base.Confirmed, err = readLedger(dir); err != nil {
		return Account{}, err
	}
	log, err := contents(dir, effectsFile)
	if err != nil {
		return Account{}, fmt.Errorf("effect log: %w", err)
	}
	if _, err := readEffects(bytes.NewReader(log), func(e Effect) { base.Effects = append(base.Effects, e) }); err != nil {
		return Account{}, err
	}
	taken := &taken{dir: dir}
	defer func() { err = errors.Join(err, taken.close()) }()
	for _, queue := range queues(broker.NamesFor(base.Source, "")) {
		copies, unseen, err := readQueue(ctx, b, queue, taken)
		if err != nil {
			return Account{}, err
		}
		base.Copies, base.Unseen = append(base.Copies, copies...), base.Unseen+unseen
	}
	a := Balance(base)
	events, err := contents(dir, eventsFile)
	if err != nil {
		return Account{}, fmt.Errorf("events: %w", err)
	}
	a.BreakerOpenings = breakerOpenings(events)
	return a, nil
}

// readQueue reads every message of a queue: without an effect on it, where the
// broker can, else by taking it. Of a queue that can be read in neither way it
// tells the number of messages, which nobody has seen.
func readQueue(ctx context.Context, b broker.Broker, queue string, taken *taken) (copies []Copy, unseen int, err error) {
	letters, err := b.Letters(ctx, queue)
	if err == nil && letters.Mode() == broker.Observe {
		copies, err = look(ctx, letters, queue)
	} else if err == nil {
		copies, err = take(ctx, letters, queue, taken)
	}
	if errors.Is(err, broker.ErrUnsupported) || errors.Is(err, broker.ErrUnroutable) {
		stats, err := b.Stats(ctx, queue)
		if errors.Is(err, broker.ErrUnroutable) {
			return nil, 0, nil // There never was anything to put there.
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", queue, err)
		}
		return nil, int(stats.Depth()), nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", queue, err)
	}
	return copies, 0, nil
}

func look(ctx context.Context, letters broker.Letters, queue string) ([]Copy, error) {
	const page = 500
	var out []Copy
	for cursor := broker.Cursor(""); ; {
		read, next, err := letters.Scan(ctx, cursor, page)
		if err != nil {
			return nil, err
		}
		for i := range read {
			out = append(out, found(queue, &read[i].Message))
		}
		if len(read) < page {
			return out, nil
		}
		cursor = next
	}
}

// take empties a queue. The run's own file has its messages from then on.
func take(ctx context.Context, letters broker.Letters, queue string, taken *taken) ([]Copy, error) {
	const batch = 100
	var out []Copy
	err := letters.Drain(ctx, batch, func(_ context.Context, read []broker.Letter) error {
		if err := taken.keep(queue, read); err != nil {
			return err
		}
		for i := range read {
			out = append(out, found(queue, &read[i].Message))
		}
		return nil
	})
	return out, err
}

// found describes a message as it lies in a queue.
func found(queue string, m *broker.Message) Copy {
	id, _ := orderID(m.Header(headerOrder))
	c := Copy{ID: id, Queue: queue, Kind: broker.KindOf(queue), Body: sha256.Sum256(m.Body)}
	if m.Envelope == nil {
		return c
	}
	e, err := envelope.Decode(m.Envelope)
	if err != nil {
		c.KeyChanged = true
		return c
	}
	c.Category, c.Reason, c.Attempts, c.Uncounted = e.Category, e.Reason, e.Count, e.Uncounted
	c.KeyChanged = e.Key != strconv.FormatUint(id, 10)
	return c
}

// breakerOpenings counts the openings that the workers wrote down.
func breakerOpenings(events []byte) (n int) {
	for line := range bytes.Lines(events) {
		var e event
		// A killed worker may leave half a line behind, which is no event.
		if json.Unmarshal(line, &e) == nil && e.Kind == eventBreaker && e.State == "open" {
			n++
		}
	}
	return n
}

package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

// queues are the queues of the demo, the source first.
func queues() []string {
	n := broker.NamesFor(Source, "")
	out := []string{n.Source, n.Retry, n.DeadLetter}
	for _, c := range failure.Categories() {
		out = append(out, n.Quarantine(c))
	}
	return out
}

// audit reads the ledger, the effect log and the queues, and balances them.
func audit(ctx context.Context, b broker.Broker, dir string, base Books) (Account, error) {
	var err error
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
	for _, queue := range queues() {
		copies, err := readQueue(ctx, b, queue)
		if err != nil {
			return Account{}, err
		}
		base.Copies = append(base.Copies, copies...)
	}
	a := Balance(base)
	events, err := contents(dir, eventsFile)
	if err != nil {
		return Account{}, fmt.Errorf("events: %w", err)
	}
	a.BreakerOpenings = breakerOpenings(events)
	return a, nil
}

// readQueue reads every message of a queue without an effect on it.
func readQueue(ctx context.Context, b broker.Broker, queue string) ([]Copy, error) {
	letters, err := b.Letters(ctx, queue)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", queue, err)
	}
	const page = 500
	var out []Copy
	for cursor := broker.Cursor(""); ; {
		read, next, err := letters.Scan(ctx, cursor, page)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", queue, err)
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

package redriverabbitmq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/redrive-dev/redrive/broker"
)

// markID names a stored copy for the store of marks: by the publish id of a copy
// that redrive made, else by the producer's message id, together with the queue
// and the body, since ids are copied onto other messages. It is empty for a
// message without an id: then nothing tells it from another one.
func (b *Broker) markID(queue string, d *decoded) string {
	id := d.id
	if id == "" {
		id = d.base.MessageId
	}
	if b.config.Marks == nil || id == "" {
		return ""
	}
	if d.base10 > 0 {
		id += "#" + strconv.FormatInt(d.base10, 10) // A retry that waits in its place is another copy.
	}
	body := sha256.Sum256(d.message.Body)
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%q %q %q %q ", b.cluster, b.vhost, queue, id) // A hash takes everything.
	h.Write(body[:])
	return "rabbitmq:" + hex.EncodeToString(h.Sum(nil)[:20])
}

// countOf tells how often the stored copy was handed over before.
func countOf(d *decoded, kind broker.CountKind) broker.Deliveries {
	out := broker.Deliveries{Kind: kind}
	switch {
	case kind == broker.CountFlag:
		if d.redelivered {
			out.Earlier = 1
		}
	case d.acquired >= 0:
		// From 4.3 on the other count is that of failures alone.
		out.Earlier = int(d.acquired)
	case d.delivered >= 0:
		out.Earlier = int(d.delivered)
	}
	return out
}

// loadMark reads the note of a message that was delivered before.
func (d *delivery) loadMark(ctx context.Context) error {
	if d.markID == "" && d.decoded.note != nil {
		d.counted.Mark = *d.decoded.note
		return nil
	}
	if d.markID == "" || d.counted.Earlier == 0 && !d.decoded.redelivered {
		return nil
	}
	mark, err := d.s.b.config.Marks.LoadMark(ctx, d.markID)
	if err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counted.Mark, d.marked = mark, !mark.IsZero()
	return nil
}

// suspicion is how many unexplained deliveries make a suspect, at the least.
const suspicion = 2

// explain notes that a message goes back that no handler saw, if that makes a
// difference: one delivery without an explanation does none.
func (d *delivery) explain(ctx context.Context) {
	if d.markID == "" {
		return
	}
	if d.loadMark(ctx) != nil {
		return // It is run alone once too often.
	}
	mark := d.counted.Mark
	if d.counted.Earlier+1-mark.Explained < suspicion {
		return
	}
	mark.Explained++
	_ = d.note(ctx, mark) // Likewise.
}

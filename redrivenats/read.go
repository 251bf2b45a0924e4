package redrivenats

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

// getRequest asks for stored messages. Reading has no effect.
type getRequest struct {
	Seq     uint64 `json:"seq,omitempty"`
	LastFor string `json:"last_by_subj,omitempty"`
	NextFor string `json:"next_by_subj,omitempty"`
	Batch   int    `json:"batch,omitempty"`
	// MaxBytes bounds a batch.
	MaxBytes int `json:"max_bytes,omitempty"`
}

// found is a stored message that was read.
type found struct {
	sequence uint64
	subject  string
	header   nats.Header
	body     []byte
	time     time.Time
}

// getMessage reads one message from the stream's leader, which knows every
// write that was confirmed. ErrGone if there is none.
func (b *Broker) getMessage(ctx context.Context, stream string, ask getRequest) (found, error) {
	var answer struct {
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	err := b.req.api(ctx, "STREAM.MSG.GET."+stream, ask, &answer)
	if hasCode(err, codeNoMessage, codeSequenceNotFound) {
		return found{}, fmt.Errorf("stream %s: %w", stream, broker.ErrGone)
	}
	if err != nil {
		return found{}, fmt.Errorf("read stream %s: %w", stream, err)
	}
	m := answer.Message
	return found{
		sequence: m.Sequence, subject: m.Subject, header: parseHeaderBlock(m.Header), body: m.Data, time: m.Time,
	}, nil
}

// batch is the result of one read of several messages.
type batch struct {
	messages []found
	// pending is the number of messages after the last one.
	pending uint64
	// unreadable says that reading stopped at a message that this protocol cannot
	// carry; getMessage can.
	unreadable bool
}

// getBatch reads messages in one request. The stream needs allow_direct.
func (b *Broker) getBatch(ctx context.Context, stream string, ask getRequest) (batch, error) {
	inbox := b.nc.NewInbox()
	// The server sends at most what was asked for, and an end.
	answers := make(chan *nats.Msg, ask.Batch+2)
	sub, err := b.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return batch{}, fmt.Errorf("read stream %s: %w", stream, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // Fails only when the connection is gone.
	request, err := json.Marshal(ask)
	if err != nil {
		return batch{}, err
	}
	if err := b.nc.PublishRequest(apiPrefix+"DIRECT.GET."+stream, inbox, request); err != nil {
		return batch{}, fmt.Errorf("read stream %s: %w", stream, err)
	}
	timer := time.NewTimer(b.config.PublishTimeout)
	defer timer.Stop()
	var out batch
	for {
		select {
		case m := <-answers:
			if end, err := out.add(m); end || err != nil {
				return out, err
			}
			timer.Reset(b.config.PublishTimeout)
		case <-ctx.Done():
			return batch{}, context.Cause(ctx)
		case <-timer.C:
			return batch{}, fmt.Errorf("read stream %s: no answer within %v", stream, b.config.PublishTimeout)
		}
	}
}

// add takes one answer. It reports the end of the batch.
func (t *batch) add(m *nats.Msg) (end bool, err error) {
	// Only stored messages have a sequence, whatever headers their producers
	// chose.
	sequence, ok := popLast(m.Header, jetstream.SequenceHeader)
	if !ok {
		switch status := m.Header.Get("Status"); {
		case m.Header == nil:
			t.unreadable = true
			return true, nil
		case status == "503":
			return true, errNoResponders
		case status == "204":
			// The count beside each message includes it on some servers and not on
			// others; that of the end is what is left after the batch on all of them.
			return true, t.readPending(m.Header)
		case status == "404":
			return true, nil
		default:
			return true, fmt.Errorf("read: nats answers %s %s", status, m.Header.Get("Description"))
		}
	}
	f := found{header: m.Header, body: m.Data}
	f.sequence, err = strconv.ParseUint(sequence, 10, 64)
	if err != nil {
		return true, fmt.Errorf("read: sequence %q: %w", sequence, err)
	}
	f.subject, _ = popLast(m.Header, jetstream.SubjectHeader)
	stamp, _ := popLast(m.Header, jetstream.TimeStampHeaer)
	f.time, err = time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return true, fmt.Errorf("read: time %q: %w", stamp, err)
	}
	_, _ = popLast(m.Header, jetstream.StreamHeader)
	_, _ = popLast(m.Header, jetstream.LastSequenceHeader)
	if err := t.readPending(m.Header); err != nil {
		return true, err
	}
	t.messages = append(t.messages, f)
	return false, nil
}

func (t *batch) readPending(h nats.Header) error {
	pending, ok := popLast(h, "Nats-Num-Pending")
	if !ok {
		return nil
	}
	var err error
	if t.pending, err = strconv.ParseUint(pending, 10, 64); err != nil {
		return fmt.Errorf("read: pending %q: %w", pending, err)
	}
	return nil
}

// popLast takes the value that the server added, which comes after those of a
// producer who used the same name.
func popLast(h nats.Header, name string) (string, bool) {
	values := h[name]
	if len(values) == 0 {
		return "", false
	}
	last := values[len(values)-1]
	if len(values) == 1 {
		delete(h, name)
	} else {
		h[name] = values[:len(values)-1]
	}
	return last, true
}

package redrivenats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

// view is what Letters sees of one queue: one or two subjects of a stream.
type view struct {
	b       *Broker
	queue   string
	stream  string
	created time.Time
	// filters are read one after the other.
	filters []string
	// direct says that the stream can be read in batches.
	direct bool
	// ours says that the stream holds redrive's copies, and known that the subject
	// follows from the queue's name.
	ours, known bool
}

// Letters gives access to a dead-letter queue or quarantine, a retry queue or a
// source. Looking has no effect on any of them.
func (b *Broker) Letters(ctx context.Context, queue string) (broker.Letters, error) {
	if !b.nc.IsConnected() {
		return nil, b.req.notConnected()
	}
	v, err := b.view(ctx, queue)
	if err != nil {
		return nil, fmt.Errorf("letters of queue %q: %w", queue, err)
	}
	return v, nil
}

func (b *Broker) view(ctx context.Context, queue string) (*view, error) {
	switch broker.KindOf(queue) {
	case broker.KindDeadLetter, broker.KindQuarantine:
		return b.letterView(ctx, queue)
	case broker.KindRetry, broker.KindReplay:
		info, err := b.ensureStream(ctx, b.retryConfig())
		if err != nil {
			return nil, err
		}
		return &view{
			b: b, queue: queue, stream: info.Config.Name, created: info.Created, direct: b.readsBatches(info.Config), ours: true, known: true,
			filters: []string{b.layout.scheduleSubjects(queue), b.layout.retrySubject(queue)},
		}, nil
	case broker.KindOutcomes:
		return b.sharedView(ctx, queue, b.outcomeConfig(), b.layout.outcomeSubject())
	case broker.KindHeartbeats:
		return b.sharedView(ctx, queue, b.heartbeatConfig(), b.layout.heartbeatSubjects())
	case broker.KindSource:
	}
	owned, err := b.ownedStreams(ctx, queue)
	if err != nil {
		return nil, err
	}
	if len(owned) > 0 {
		info, err := b.streamInfo(ctx, owned[0].stream)
		if err != nil {
			return nil, err
		}
		return &view{
			b: b, queue: queue, stream: info.Config.Name, created: info.Created, direct: b.readsBatches(info.Config),
			filters: []string{owned[0].subject}, known: true,
		}, nil
	}
	src, err := b.foreignSource(ctx, queue)
	if errors.Is(err, broker.ErrUnroutable) {
		return b.letterView(ctx, queue)
	}
	if err != nil {
		return nil, err
	}
	return &view{
		b: b, queue: queue, stream: src.stream, created: src.created, direct: src.direct && b.level >= levelBatches,
		filters: []string{orAll(src.filter)}, known: src.subject != "",
	}, nil
}

func (b *Broker) letterView(ctx context.Context, queue string) (*view, error) {
	return b.sharedView(ctx, queue, b.dlqConfig(), b.layout.dlqSubject(queue))
}

// sharedView looks at one subject of a stream that all subscriptions share.
func (b *Broker) sharedView(ctx context.Context, queue string, config jetstream.StreamConfig, subject string) (*view, error) {
	info, err := b.ensureStream(ctx, config)
	if err != nil {
		return nil, err
	}
	return &view{
		b: b, queue: queue, stream: info.Config.Name, created: info.Created, direct: b.readsBatches(info.Config),
		filters: []string{subject}, ours: true, known: true,
	}, nil
}

// readsBatches reports whether the stream can be read in batches.
func (b *Broker) readsBatches(c jetstream.StreamConfig) bool {
	return c.AllowDirect && b.level >= levelBatches
}

// Mode returns Observe.
func (v *view) Mode() broker.Mode { return broker.Observe }

// maxBatch bounds one request for letters in number and bytes.
const (
	maxBatch      = 500
	maxBatchBytes = 8 << 20
)

// Scan reads letters from the cursor on.
func (v *view) Scan(ctx context.Context, from broker.Cursor, n int) ([]broker.Letter, broker.Cursor, error) {
	filter, next, err := parseCursor(from, len(v.filters))
	if err != nil {
		return nil, from, fmt.Errorf("letters of queue %q: %w", v.queue, err)
	}
	var out []broker.Letter
	for filter < len(v.filters) && len(out) < n {
		messages, err := v.read(ctx, v.filters[filter], next, min(n-len(out), maxBatch))
		if err != nil {
			return nil, from, fmt.Errorf("letters of queue %q: %w", v.queue, err)
		}
		for _, m := range messages {
			out = append(out, v.letter(m))
			next = m.sequence + 1
		}
		if len(messages) == 0 && filter+1 < len(v.filters) {
			filter, next = filter+1, 1
		} else if len(messages) == 0 {
			break
		}
	}
	return out, formatCursor(filter, next), nil
}

// read returns at least one message unless there is none.
func (v *view) read(ctx context.Context, filter string, next uint64, n int) ([]found, error) {
	if v.direct {
		read, err := v.b.getBatch(ctx, v.stream, getRequest{Seq: next, NextFor: filter, Batch: n, MaxBytes: maxBatchBytes})
		if err == nil && !read.unreadable || len(read.messages) > 0 {
			return read.messages, nil
		}
		if err != nil && !errors.Is(err, errNoResponders) {
			return nil, err
		}
	}
	var out []found
	for len(out) < n {
		m, err := v.b.getMessage(ctx, v.stream, getRequest{Seq: next, NextFor: filter})
		if errors.Is(err, broker.ErrGone) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, m)
		if v.direct {
			return out, nil // Only the one that a batch could not carry.
		}
		next = m.sequence + 1
	}
	return out, nil
}

func (v *view) letter(m found) broker.Letter {
	d := decode(stored{
		subject: m.subject, header: m.header, body: m.body, time: m.time,
		ours: v.ours, subjectKnown: v.known,
	})
	return broker.Letter{
		Message: d.message,
		Identity: broker.Incarnation{
			Cluster: v.b.cluster, Queue: streamIdentity(v.stream, v.created), Position: strconv.FormatUint(m.sequence, 10),
		},
		Position: v.position(m.sequence),
		StoredAt: m.time,
	}
}

// Drain hands letters to sink and removes them after it returned nil.
func (v *view) Drain(ctx context.Context, size int, sink func(context.Context, []broker.Letter) error) error {
	size = max(size, 1)
	for cursor := broker.Cursor(""); ; {
		letters, next, err := v.Scan(ctx, cursor, size)
		if err != nil || len(letters) == 0 {
			return err
		}
		if err := sink(ctx, letters); err != nil {
			return err
		}
		for _, letter := range letters {
			if err := v.Remove(ctx, letter.Position); err != nil {
				return err
			}
		}
		cursor = next
	}
}

// Get reads one letter.
func (v *view) Get(ctx context.Context, position string) (broker.Letter, error) {
	sequence, err := v.sequence(position)
	if err != nil {
		return broker.Letter{}, err
	}
	m, err := v.b.getMessage(ctx, v.stream, getRequest{Seq: sequence})
	if err != nil {
		return broker.Letter{}, fmt.Errorf("letter %s of queue %q: %w", position, v.queue, err)
	}
	return v.letter(m), nil
}

// Remove deletes one letter.
func (v *view) Remove(ctx context.Context, position string) error {
	sequence, err := v.sequence(position)
	if errors.Is(err, broker.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	var answer struct{}
	err = v.b.req.api(ctx, "STREAM.MSG.DELETE."+v.stream, map[string]any{"seq": sequence, "no_erase": true}, &answer)
	if err != nil && !hasCode(err, codeSequenceNotFound, codeNoMessage) {
		return fmt.Errorf("remove letter %s of queue %q: %w", position, v.queue, err)
	}
	return nil
}

// position names a letter of this queue in this incarnation of its stream, so
// that no other queue's letter can be removed with it.
func (v *view) position(sequence uint64) string {
	return token(v.queue) + "/" + strconv.FormatInt(v.created.UnixNano(), 36) + "/" + strconv.FormatUint(sequence, 10)
}

// sequence reads a position. ErrGone for one of a stream that was recreated.
func (v *view) sequence(position string) (uint64, error) {
	bad := fmt.Errorf("position %q is not one of queue %q", position, v.queue)
	parts := strings.Split(position, "/")
	if len(parts) != 3 || parts[0] != token(v.queue) {
		return 0, bad
	}
	sequence, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil || sequence == 0 {
		return 0, bad
	}
	if parts[1] != strconv.FormatInt(v.created.UnixNano(), 36) {
		return 0, fmt.Errorf("letter %s of queue %q: the stream was recreated: %w", position, v.queue, broker.ErrGone)
	}
	return sequence, nil
}

func formatCursor(filter int, next uint64) broker.Cursor {
	return broker.Cursor(strconv.Itoa(filter) + ":" + strconv.FormatUint(next, 10))
}

func parseCursor(c broker.Cursor, filters int) (filter int, next uint64, err error) {
	if c == "" {
		return 0, 1, nil
	}
	head, tail, _ := strings.Cut(string(c), ":")
	filter, err1 := strconv.Atoi(head)
	next, err2 := strconv.ParseUint(tail, 10, 64)
	if err1 != nil || err2 != nil || filter < 0 || filter >= filters {
		return 0, 0, fmt.Errorf("cursor %q is not one of this queue", c)
	}
	return filter, next, nil
}

package redrivenats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

// Marks lie in a key-value bucket, one row for a stored copy. The adapter reads
// and deletes by sequence on the bucket's stream: a read has to see the newest
// write, which a read from a replica need not, and a deleted row should leave
// nothing behind, where the bucket's own delete leaves a marker.

// markKey names a stored copy. The time of creation keeps a recreated stream
// from finding the rows of the old one.
func markKey(stream string, created time.Time, sequence uint64) string {
	return markPrefix(stream, created) + strconv.FormatUint(sequence, 10)
}

func markPrefix(stream string, created time.Time) string {
	return escape(stream) + "." + strconv.FormatInt(created.UnixNano(), 36) + "."
}

// markRow is a note as it is stored. It carries the number of deliveries as well:
// the server writes its own count to disk some ten times a second, so that a
// crash can take the newest ones back.
type markRow struct {
	Mark       broker.Mark `json:"mark"`
	Deliveries int         `json:"deliveries"`
	// Waited is the server's count at the newest delivery of a copy that was not
	// due: no handler saw that one or any before it.
	Waited int `json:"waited,omitempty"`
}

// putMark stores a note and returns its revision.
func (b *Broker) putMark(ctx context.Context, key string, row markRow) (uint64, error) {
	raw, err := json.Marshal(row)
	if err != nil {
		return 0, fmt.Errorf("mark: %w", err)
	}
	m := &nats.Msg{Subject: b.layout.markSubject(key), Data: raw}
	if err := b.checkSize(m); err != nil {
		return 0, fmt.Errorf("mark: %w", err)
	}
	ack, err := b.req.publish(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("mark: %w", err)
	}
	return ack.Sequence, nil
}

// mark reads the newest note and its revision, zero if there is none.
func (b *Broker) mark(ctx context.Context, key string) (markRow, uint64, error) {
	stored, err := b.getMessage(ctx, b.layout.markStream(), getRequest{LastFor: b.layout.markSubject(key)})
	if errors.Is(err, broker.ErrGone) {
		return markRow{}, 0, nil
	}
	if err != nil {
		return markRow{}, 0, fmt.Errorf("mark: %w", err)
	}
	var row markRow
	if json.Unmarshal(stored.body, &row) != nil {
		row = markRow{} // A row that cannot be read explains nothing.
	}
	return row, stored.sequence, nil
}

// markedSequences lists the messages of a stream that have a note.
func (b *Broker) markedSequences(ctx context.Context, stream string, created time.Time) (map[uint64]bool, error) {
	bucket, err := b.js.Stream(ctx, b.layout.markStream())
	if err != nil {
		return nil, fmt.Errorf("marks: %w", err)
	}
	head := b.layout.markSubject(markPrefix(stream, created))
	info, err := bucket.Info(ctx, jetstream.WithSubjectFilter(head+"*"))
	if err != nil {
		return nil, fmt.Errorf("marks: %w", err)
	}
	out := map[uint64]bool{}
	for subject := range info.State.Subjects {
		if sequence, err := strconv.ParseUint(strings.TrimPrefix(subject, head), 10, 64); err == nil {
			out[sequence] = true
		}
	}
	return out, nil
}

// dropMark deletes a note. What is left behind for any reason ends by its age.
func (b *Broker) dropMark(ctx context.Context, revision uint64) {
	var answer struct{}
	_ = b.req.api(ctx, "STREAM.MSG.DELETE."+b.layout.markStream(), map[string]any{"seq": revision, "no_erase": true}, &answer)
}

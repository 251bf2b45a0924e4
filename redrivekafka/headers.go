package redrivekafka

import (
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/broker"
)

// HeaderTime is the header of a copy that tells when its original was stored, in Unix
// milliseconds. It is public: changing it breaks readers.
const HeaderTime = "redrive-time"

// copyHeaders are what the adapter sends along besides the producer's headers.
type copyHeaders struct {
	envelope  []byte
	expiresAt time.Time
	time, due time.Time
}

// encodeHeaders makes the headers of a record to send: those of the producer, in
// order, but for the names that are ours, and then ours.
func encodeHeaders(headers []broker.Header, own copyHeaders) []kgo.RecordHeader {
	out := make([]kgo.RecordHeader, 0, len(headers)+4)
	for _, h := range headers {
		if !reserved(h.Name) {
			out = append(out, kgo.RecordHeader{Key: h.Name, Value: h.Value})
		}
	}
	add := func(name string, value []byte) {
		out = append(out, kgo.RecordHeader{Key: name, Value: value})
	}
	if own.envelope != nil {
		add(broker.HeaderEnvelope, own.envelope)
	}
	if !own.expiresAt.IsZero() {
		add(broker.HeaderExpiresAt, own.expiresAt.AppendFormat(nil, time.RFC3339Nano))
	}
	if !own.time.IsZero() {
		add(HeaderTime, strconv.AppendInt(nil, own.time.UnixMilli(), 10))
	}
	if !own.due.IsZero() {
		add(broker.HeaderDue, strconv.AppendInt(nil, ceilMillis(own.due), 10))
	}
	return out
}

// ceilMillis rounds up: a retry is never early.
func ceilMillis(t time.Time) int64 {
	earliest, latest := time.UnixMilli(0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	switch {
	case t.Before(earliest):
		return 0
	case t.After(latest):
		return latest.UnixMilli()
	}
	return t.Add(time.Millisecond - time.Nanosecond).UnixMilli()
}

func reserved(name string) bool {
	switch name {
	case broker.HeaderEnvelope, broker.HeaderExpiresAt, broker.HeaderDue, HeaderTime:
		return true
	}
	return false
}

// decoded is a record as the port shows it, and when it is due.
type decoded struct {
	message broker.Message
	due     time.Time
}

// decode reads a record. ours says that the topic is one of redrive's, where only
// redrive writes; elsewhere the names that tell of copies are those of a copy that
// somebody made of one of ours, and worth nothing.
func decode(r *kgo.Record, ours bool) decoded {
	d := decoded{message: broker.Message{Key: r.Key, Body: r.Value, Time: r.Timestamp}}
	m := &d.message
	if n := len(r.Headers); n > 0 {
		m.Headers = make([]broker.Header, 0, n)
	}
	for _, h := range r.Headers {
		switch h.Key {
		case broker.HeaderEnvelope:
			// The last one is that of the newest copy.
			m.Envelope = h.Value
		case broker.HeaderExpiresAt:
			if at, err := time.Parse(time.RFC3339Nano, string(h.Value)); err == nil {
				m.ExpiresAt = at
			}
		case HeaderTime:
			if at, ok := millis(h.Value); ok && ours {
				m.Time = at
			}
		case broker.HeaderDue:
			if at, ok := millis(h.Value); ok && ours {
				d.due = at
			}
		default:
			m.Headers = append(m.Headers, broker.Header{Name: h.Key, Value: h.Value})
		}
	}
	return d
}

func millis(value []byte) (time.Time, bool) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, false
	}
	return time.UnixMilli(n), true
}

// Sizes of what Kafka puts around a record, rounded up: the batch, the record's own
// fields, and the lengths of a header.
const (
	recordOverhead = 128
	headerOverhead = 10
)

// recordSize is the most that a record takes in a batch of its own.
func recordSize(r *kgo.Record) int {
	size := recordOverhead + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		size += headerOverhead + len(h.Key) + len(h.Value)
	}
	return size
}

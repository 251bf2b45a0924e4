package broker

import (
	"bytes"
	"strings"
	"time"
)

// Header is one header of a message. Order and repeats are kept.
type Header struct {
	Name  string
	Value []byte
}

// Message is a message as the broker holds it.
type Message struct {
	// ID is the id that the producer gave, else the broker's; empty if neither.
	ID string
	// Key is the partition, routing or group key, nil if there is none.
	Key []byte
	// Body is the payload. It is opaque.
	Body []byte
	// Headers are the producer's own headers, in order.
	Headers []Header
	// Control are the producer's headers that steer the broker. They are data:
	// never sent again.
	Control []Header
	// Envelope is the raw value of redrive's own header, nil if there is none.
	Envelope []byte
	// Time is when the broker stored the original, or when the producer made it
	// if the broker does not tell.
	Time time.Time
	// ExpiresAt ends the message's own time to live, zero if it has none. Read
	// from the header redrive-expires-at or the broker's own field.
	ExpiresAt time.Time
}

// Header returns the first header with the name, exactly as spelt.
func (m *Message) Header(name string) ([]byte, bool) {
	for i := range m.Headers {
		if m.Headers[i].Name == name {
			return m.Headers[i].Value, true
		}
	}
	return nil, false
}

// Clone returns a copy that shares no memory with m. Nil stays nil and empty
// stays empty.
func (m *Message) Clone() Message {
	c := *m
	c.Key = bytes.Clone(m.Key)
	c.Body = bytes.Clone(m.Body)
	c.Envelope = bytes.Clone(m.Envelope)
	c.Headers = CloneHeaders(m.Headers)
	c.Control = CloneHeaders(m.Control)
	return c
}

// CloneHeaders returns a copy that shares no memory with headers, nil for nil.
func CloneHeaders(headers []Header) []Header {
	if headers == nil {
		return nil
	}
	out := make([]Header, len(headers))
	for i, h := range headers {
		out[i] = Header{Name: h.Name, Value: bytes.Clone(h.Value)}
	}
	return out
}

// Names of the headers that redrive puts on messages. They are public: changing
// one breaks readers.
const (
	// HeaderEnvelope carries the envelope.
	HeaderEnvelope = "redrive"
	// HeaderExpiresAt carries the end of a message's own time to live, RFC 3339.
	HeaderExpiresAt = "redrive-expires-at"
	// HeaderDue carries the due time of a copy on a retry tier, in Unix
	// milliseconds.
	HeaderDue = "redrive-due"
)

// Outbound is a message to publish.
type Outbound struct {
	// Queue is the logical name of the target.
	Queue string
	// ID identifies this publication: "pub:" and an id that the caller fixes
	// before the first try. Where the broker can, a repeat is dropped.
	ID string
	// Key, Body and Headers are the message. In QueueHeartbeats the message takes
	// the place of an earlier one with the same key.
	Key     []byte
	Body    []byte
	Headers []Header
	// Envelope is the encoded envelope to send along, nil for none.
	Envelope []byte
	// ExpiresAt is sent as HeaderExpiresAt unless zero.
	ExpiresAt time.Time
}

// Incarnation names one stored copy of a message: reading it twice gives the
// same value, storing the message again gives another one.
type Incarnation struct {
	// Cluster names the broker cluster.
	Cluster string
	// Queue is the native queue, topic or stream with whatever tells it from a
	// recreated one of the same name, such as a creation time or topic id.
	Queue string
	// Position is the native position in it.
	Position string
}

// IsZero reports whether the broker gave no identity.
func (i Incarnation) IsZero() bool { return i == Incarnation{} }

// String joins the parts with '/', escaping '/' and '%' in each, so that two
// different incarnations never print the same.
func (i Incarnation) String() string {
	if i.IsZero() {
		return ""
	}
	var space [128]byte
	return string(i.Append(space[:0]))
}

// Append adds what String returns to b.
func (i Incarnation) Append(b []byte) []byte {
	if i.IsZero() {
		return b
	}
	b = appendPart(b, i.Cluster)
	b = appendPart(append(b, '/'), i.Queue)
	return appendPart(append(b, '/'), i.Position)
}

func appendPart(b []byte, s string) []byte {
	if strings.IndexByte(s, '/') < 0 && strings.IndexByte(s, '%') < 0 {
		return append(b, s...)
	}
	for i := range len(s) {
		switch s[i] {
		case '/':
			b = append(b, "%2F"...)
		case '%':
			b = append(b, "%25"...)
		default:
			b = append(b, s[i])
		}
	}
	return b
}

// Deliveries tells how often a stored copy was handed over before this
// delivery.
type Deliveries struct {
	// Earlier is the number of earlier deliveries, 0 on the first.
	Earlier int
	// Kind says how far Earlier can be trusted.
	Kind CountKind
	// Mark is the note of the newest Mark or Release, zero if there is none.
	Mark Mark
}

// CountKind says how a broker counts deliveries.
type CountKind uint8

const (
	// CountNone: the broker does not count; Earlier is always 0.
	CountNone CountKind = iota
	// CountFlag: the broker only tells that there was an earlier delivery.
	CountFlag
	// CountApproximate: the number also rises by looks, or may be off.
	CountApproximate
	// CountExact: the number is exact.
	CountExact
)

// Mark is a note about one stored copy that the next delivery of it sees.
type Mark struct {
	// Explained is the number of earlier deliveries that ended in a way that we
	// know: a release, a hold that was given back.
	Explained int `json:"explained,omitempty"`
	// StartedAlone is the number of times that the message was started alone,
	// including the one that is about to begin.
	StartedAlone int `json:"started_alone,omitempty"`
	// Pending is the move that was decided and could not be made yet. The next
	// delivery repeats the move and never the handler.
	Pending *Pending `json:"pending,omitempty"`
}

// IsZero reports whether the mark says nothing.
func (m Mark) IsZero() bool { return m == Mark{} }

// Pending is a decided move that has not been made.
type Pending struct {
	// Retry is true for a move to the retry queue, false for a dead-lettering.
	Retry bool `json:"retry,omitempty"`
	// Queue is the target of a dead-lettering.
	Queue string `json:"queue,omitempty"`
	// At is when a retry is due.
	At time.Time `json:"at,omitzero"`
	// Envelope and PublishID are those of the outcome.
	Envelope  []byte `json:"envelope,omitempty"`
	PublishID string `json:"publish_id,omitempty"`
	// Counted is that of the retry.
	Counted bool `json:"counted,omitempty"`
}

// Caps is what a broker can do for one queue.
type Caps struct {
	// Server is the server's name and version, for people.
	Server string
	// Marks says that Delivery.Mark works. Without it crash detection is off.
	Marks bool
	// Count is how deliveries are counted.
	Count CountKind
	// StableIdentity says that Delivery.Identity is never zero.
	StableIdentity bool
	// MaxDelay is the longest delay of one Retry, zero if unbounded.
	MaxDelay time.Duration
	// MaxRelease is the longest delay of a Release, zero if releases come back at
	// once.
	MaxRelease time.Duration
	// MaxHold is how long a delivery can be held with extensions, zero if
	// unbounded.
	MaxHold time.Duration
	// MaxMessage is the largest message in bytes, headers included, zero if
	// unknown.
	MaxMessage int
	// MaxBinary is the largest message whose body is not text of the broker's
	// character set, for brokers that have to encode such a body. Zero means
	// MaxMessage.
	MaxBinary int
	// MaxEnvelope is the largest envelope in bytes, zero for the default of 8 KiB.
	MaxEnvelope int
	// DedupeWindow is how long the broker drops a repeated publish id, zero if it
	// does not.
	DedupeWindow time.Duration
	// OneGroup says that a queue has one consumer group: Open and Ensure refuse any
	// but DefaultGroup, with ErrUnsupported and what to do instead.
	OneGroup bool
	// Ordered says that messages with one key are delivered in order.
	Ordered bool
	// Partitioned says that the queue consists of shares, each of which one consumer
	// of a group has at a time: it keeps its shares while it is paused or has its hands
	// full, and other consumers do not get what lies in them.
	Partitioned bool
	// LettersMode is how dead-letter queues can be looked at.
	LettersMode Mode
	// Notes are consequences for the user, one sentence each.
	Notes []string
}

// Stats is the state of a queue.
type Stats struct {
	// Ready, InFlight and Delayed are message counts.
	Ready, InFlight, Delayed int64
	// Oldest is when the oldest message was stored, zero if the queue is empty or
	// the broker cannot tell.
	Oldest time.Time
	// AsOf is when the figures were read.
	AsOf time.Time
	// Exact says that the counts are exact and not estimates.
	Exact bool
}

// Depth is the number of messages in the queue in any state.
func (s Stats) Depth() int64 { return s.Ready + s.InFlight + s.Delayed }

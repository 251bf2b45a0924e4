package redrivenats

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

// Headers that the adapter adds to messages. They are public: changing one
// breaks readers.
const (
	// HeaderKey carries Message.Key: the bytes themselves, or "base64:" and their
	// standard base64 where a header cannot hold them.
	HeaderKey = "redrive-key"
	// HeaderExtra carries the producer's headers that NATS cannot, and the order of
	// all of them where it is not by name. It is a JSON list of the headers in
	// order: a string names a header of the message, a pair is a name and a
	// value in standard base64.
	HeaderExtra = "redrive-headers"
	// HeaderTime carries, on copies, when the original was stored, in Unix
	// nanoseconds.
	HeaderTime = "redrive-time"
	// HeaderQueue carries, on a letter, the logical name of its queue where the
	// subject cannot tell it because the name was too long.
	HeaderQueue = "redrive-queue"
)

const (
	base64Mark = "base64:"
	// maxHeaderBlock is JetStream's limit of 65,535 bytes less what the server
	// itself adds when a schedule fires.
	maxHeaderBlock = 65_535 - 1024
	// ControlSubject is the control header that tells the subject on which a
	// message was published, where that is not the name of its queue.
	controlSubject = jetstream.SubjectHeader
)

// copyHeaders are what the adapter sends along besides the producer's headers.
type copyHeaders struct {
	envelope  []byte
	key       []byte
	expiresAt string
	time      time.Time
	queue     string
	// due is when a copy that waits without a schedule is due, zero for none.
	due time.Time
	// veiled says that the envelope must not name a header of the server's. Servers
	// before 2.11 find a header by the first place where its name stands, in whatever
	// value, and then see none: a dead letter would lose its protection from repeats.
	veiled bool
}

// encodeHeaders makes the headers of a message to send: those of the producer,
// each in a form that arrives unchanged, and ours. Names that steer NATS or that
// are ours travel as data in HeaderExtra.
func encodeHeaders(headers []broker.Header, own copyHeaders) nats.Header {
	out := make(nats.Header, len(headers)+4)
	exact := true
	previous := ""
	for _, h := range headers {
		if !plain(h) {
			exact = false
			continue
		}
		if h.Name < previous {
			exact = false
		}
		previous = h.Name
		out[h.Name] = append(out[h.Name], string(h.Value))
	}
	if !exact {
		out[HeaderExtra] = []string{encodeExtra(headers)}
	}
	if own.envelope != nil {
		out[broker.HeaderEnvelope] = []string{encodeValue(own.envelope)}
		if own.veiled && bytes.Contains(own.envelope, []byte("Nats-")) {
			out[broker.HeaderEnvelope] = []string{base64Mark + base64.StdEncoding.EncodeToString(own.envelope)}
		}
	}
	if own.key != nil {
		out[HeaderKey] = []string{encodeValue(own.key)}
	}
	if own.expiresAt != "" {
		out[broker.HeaderExpiresAt] = []string{own.expiresAt}
	}
	if !own.time.IsZero() {
		out[HeaderTime] = []string{strconv.FormatInt(own.time.UnixNano(), 10)}
	}
	if !own.due.IsZero() {
		// Rounded up: a retry is never early.
		millis := own.due.Add(time.Millisecond - time.Nanosecond).UnixMilli()
		out[broker.HeaderDue] = []string{strconv.FormatInt(millis, 10)}
	}
	if own.queue != "" {
		out[HeaderQueue] = []string{encodeValue([]byte(own.queue))}
	}
	return out
}

func encodeExtra(headers []broker.Header) string {
	list := make([]any, len(headers))
	for i, h := range headers {
		if plain(h) {
			list[i] = h.Name
			continue
		}
		encode := base64.StdEncoding.EncodeToString
		list[i] = [2]string{encode([]byte(h.Name)), encode(h.Value)}
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return "" // Strings and pairs of strings always marshal.
	}
	return string(raw)
}

// plain reports whether a header of the producer can be sent as it is.
func plain(h broker.Header) bool {
	return validName(h.Name) && !steers(h.Name) && !reserved(h.Name) && validValue(h.Value)
}

// steers reports whether a header gives orders to the server. Any spelling
// counts, lest a server become less strict about case than today's.
func steers(name string) bool {
	return len(name) >= 5 && strings.EqualFold(name[:5], "nats-")
}

func reserved(name string) bool {
	switch name {
	case broker.HeaderEnvelope, broker.HeaderExpiresAt, broker.HeaderDue, HeaderKey, HeaderExtra, HeaderTime, HeaderQueue:
		return true
	}
	return false
}

// validName follows the rule of NATS clients: visible ASCII without separators.
func validName(name string) bool {
	if name == "" {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"()/,:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return true
}

// validValue reports whether a value survives a header line: clients trim white
// space and replace line ends.
func validValue(value []byte) bool {
	return bytes.IndexByte(value, '\r') < 0 && bytes.IndexByte(value, '\n') < 0 &&
		len(bytes.Trim(value, " \t")) == len(value)
}

func encodeValue(value []byte) string {
	if validValue(value) && !bytes.HasPrefix(value, []byte(base64Mark)) {
		return string(value)
	}
	return base64Mark + base64.StdEncoding.EncodeToString(value)
}

func decodeValue(value string) []byte {
	if rest, ok := strings.CutPrefix(value, base64Mark); ok {
		if raw, err := base64.StdEncoding.DecodeString(rest); err == nil {
			return raw
		}
	}
	return []byte(value)
}

// stored is a message as the server holds it.
type stored struct {
	subject string
	header  nats.Header
	body    []byte
	time    time.Time
	// subjectKnown says that the subject follows from the queue's name.
	subjectKnown bool
	// ours says that the message lies in the retry or dead-letter stream, where the
	// only Nats-* headers are those that the adapter or the server put there.
	ours bool
}

// decoded is a message together with what a copy of it has to carry on.
type decoded struct {
	message broker.Message
	// expiresAt is the text of HeaderExpiresAt to send on copies.
	expiresAt string
	// queue is the value of HeaderQueue.
	queue string
	// due is when a copy that waits without a schedule may be handled.
	due time.Time
}

// decode makes a port message of a stored one.
func decode(s stored) decoded {
	d := decoded{message: broker.Message{Body: s.body, Time: s.time}}
	m := &d.message
	header := s.header
	if v := header[broker.HeaderEnvelope]; len(v) > 0 {
		m.Envelope = decodeValue(v[0])
	}
	if v := header[HeaderKey]; len(v) > 0 {
		m.Key = decodeValue(v[0])
	}
	if v := header[HeaderQueue]; s.ours && len(v) > 0 {
		d.queue = string(decodeValue(v[0]))
	}
	if v := header[HeaderTime]; s.ours && len(v) > 0 {
		if nanos, err := strconv.ParseInt(v[0], 10, 64); err == nil {
			m.Time = time.Unix(0, nanos)
		}
	}
	if v := header[broker.HeaderDue]; s.ours && len(v) > 0 {
		if millis, err := strconv.ParseInt(v[0], 10, 64); err == nil {
			d.due = time.UnixMilli(millis)
		}
	}
	if !s.ours {
		m.ID = header.Get(jetstream.MsgIDHeader)
	}
	keepExpiry := d.decodeExpiry(header, m.Time)
	m.Headers, m.Control = decodeProducer(header, s.ours, keepExpiry)
	if !s.subjectKnown && s.subject != "" {
		m.Control = append(m.Control, broker.Header{Name: controlSubject, Value: []byte(s.subject)})
	}
	return d
}

// decodeExpiry reads the message's own time to live. It reports whether the
// header is to be kept as the producer's because it cannot be read.
func (d *decoded) decodeExpiry(header nats.Header, storedAt time.Time) (unreadable bool) {
	if v := header[broker.HeaderExpiresAt]; len(v) > 0 {
		at, err := time.Parse(time.RFC3339Nano, v[0])
		if err != nil {
			return true
		}
		d.message.ExpiresAt, d.expiresAt = at, v[0]
		return false
	}
	value := header.Get(jetstream.MsgTTLHeader)
	if value == "" {
		return false
	}
	ttl, ok := parseTTL(value)
	if ok && !storedAt.IsZero() {
		d.message.ExpiresAt = storedAt.Add(ttl)
		d.expiresAt = formatExpiry(d.message.ExpiresAt)
	}
	return false
}

func formatExpiry(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

// parseTTL reads Nats-TTL: whole seconds or a Go duration; "never" is none.
func parseTTL(value string) (time.Duration, bool) {
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second, true
	}
	ttl, err := time.ParseDuration(value)
	return ttl, err == nil && ttl > 0
}

// decodeProducer separates the producer's headers from those that steer the
// server. Headers that NATS carried come in order of their names, unless
// HeaderExtra tells the order.
func decodeProducer(header nats.Header, ours, keepExpiry bool) (headers, control []broker.Header) {
	if len(header) == 0 {
		return nil, nil
	}
	names := make([]string, 0, len(header))
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if steers(name) {
			if !ours {
				control = appendValues(control, name, header[name])
			}
			continue
		}
		theirs := keepExpiry && name == broker.HeaderExpiresAt || !ours && name == broker.HeaderDue
		if !reserved(name) || theirs {
			headers = appendValues(headers, name, header[name])
		}
	}
	if extra := header[HeaderExtra]; len(extra) > 0 {
		var hidden []broker.Header
		headers, hidden = mergeExtra(extra[0], headers)
		control = append(control, hidden...)
	}
	return headers, control
}

func appendValues(to []broker.Header, name string, values []string) []broker.Header {
	for _, v := range values {
		to = append(to, broker.Header{Name: name, Value: []byte(v)})
	}
	return to
}

// mergeExtra puts the headers that NATS carried and those in HeaderExtra in
// order. Services copy headers and add their own, so the list may not fit:
// headers that it does not know come last, and names that are not there are
// passed over. A list that cannot be read is kept as a header.
func mergeExtra(extra string, carried []broker.Header) (headers, control []broker.Header) {
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(extra), &list); err != nil {
		return append(carried, broker.Header{Name: HeaderExtra, Value: []byte(extra)}), nil
	}
	taken := make([]bool, len(carried))
	take := func(name string) (broker.Header, bool) {
		for i := range carried {
			if !taken[i] && carried[i].Name == name {
				taken[i] = true
				return carried[i], true
			}
		}
		return broker.Header{}, false
	}
	for _, raw := range list {
		var name string
		var pair [2][]byte
		if json.Unmarshal(raw, &name) == nil {
			if h, ok := take(name); ok {
				headers = append(headers, h)
			}
		} else if json.Unmarshal(raw, &pair) == nil {
			h := broker.Header{Name: string(pair[0]), Value: pair[1]}
			if steers(h.Name) {
				control = append(control, h)
			} else {
				headers = append(headers, h)
			}
		}
	}
	for i, done := range taken {
		if !done {
			headers = append(headers, carried[i])
		}
	}
	return headers, control
}

// headerSize is the number of bytes that the headers take on the wire.
func headerSize(header nats.Header) int {
	if len(header) == 0 {
		return 0
	}
	size := len("NATS/1.0\r\n") + len("\r\n")
	for name, values := range header {
		for _, v := range values {
			size += len(name) + len(": ") + len(v) + len("\r\n")
		}
	}
	return size
}

// parseHeaderBlock reads a header block as the server stores it. Lines that are
// no header, which the client library refuses together with all others, come
// back as headers without a name.
func parseHeaderBlock(block []byte) nats.Header {
	header := nats.Header{}
	lines := strings.Split(string(block), "\n")
	for _, line := range lines[min(1, len(lines)):] {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			header[""] = append(header[""], line)
			continue
		}
		header[name] = append(header[name], strings.TrimLeft(value, " \t"))
	}
	return header
}

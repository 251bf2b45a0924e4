package redriverabbitmq

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

// Headers that the adapter adds to messages. They are public: changing one
// breaks readers.
const (
	// HeaderKey carries Message.Key.
	HeaderKey = "redrive-key"
	// HeaderExtra carries the producer's headers that a field table cannot, such as
	// repeated ones, and the order of all of them where it is not by name. It is a
	// JSON list of the headers in order: a string names a header of the message, a
	// pair is a name and a value in standard base64.
	HeaderExtra = "redrive-headers"
	// HeaderID carries the publish id of the newest publication by redrive.
	HeaderID = "redrive-id"
	// HeaderTime carries, on messages that redrive published first, when that was, in
	// Unix milliseconds. The timestamp property beside it is redrive's then.
	HeaderTime = "redrive-time"
	// HeaderStoredAt carries, on copies, when the copy was sent, in Unix
	// milliseconds.
	HeaderStoredAt = "redrive-stored-at"
	// HeaderTypes is among the headers of a message that it was received with, and
	// never on the wire: it holds what the others cannot say. It is a JSON object
	// from the name of a header to the type of its AMQP field, where that is not a
	// string: one of the letters of RabbitMQ's field types. A header whose name is
	// that of a property is the property, and with a type it is a field; "p" before
	// the type says that there are both, the property first.
	HeaderTypes = "redrive-types"
)

// The properties of AMQP 0-9-1 that are a producer's to set and steer nothing.
// They are among the headers of a message under these names, in this order, before
// all others. The property user-id and expiration are in Control.
const (
	propContentType     = "content-type"
	propContentEncoding = "content-encoding"
	propCorrelationID   = "correlation-id"
	propReplyTo         = "reply-to"
	propMessageID       = "message-id"
	propTimestamp       = "timestamp"
	propType            = "type"
	propAppID           = "app-id"
	propPriority        = "priority"

	controlExpiration = "expiration"
	controlUserID     = "user-id"
	controlExchange   = "x-exchange"
	controlRoutingKey = "x-routing-key"
)

func propertyNames() [9]string {
	return [9]string{
		propContentType, propContentEncoding, propCorrelationID, propReplyTo, propMessageID,
		propTimestamp, propType, propAppID, propPriority,
	}
}

// maxShort is the length of AMQP's short strings: names of fields, and most
// properties.
const maxShort = 255

// property returns a property as text, and whether the message has it. The
// client library does not tell an empty one from none.
func property(p *amqp.Publishing, name string) (string, bool) {
	var v string
	switch name {
	case propContentType:
		v = p.ContentType
	case propContentEncoding:
		v = p.ContentEncoding
	case propCorrelationID:
		v = p.CorrelationId
	case propReplyTo:
		v = p.ReplyTo
	case propMessageID:
		v = p.MessageId
	case propType:
		v = p.Type
	case propAppID:
		v = p.AppId
	case propTimestamp:
		if p.Timestamp.Unix() <= 0 {
			return "", false
		}
		return timeText(p.Timestamp), true
	case propPriority:
		if p.Priority == 0 {
			return "", false
		}
		return strconv.Itoa(int(p.Priority)), true
	}
	return v, v != ""
}

// setProperty sets a property from its text. It reports false for a name that is
// no property, a value that the property cannot hold, and one that would not come
// back as it is.
func setProperty(p *amqp.Publishing, name, value string) bool {
	if value == "" || len(value) > maxShort {
		return false
	}
	switch name {
	case propContentType:
		p.ContentType = value
	case propContentEncoding:
		p.ContentEncoding = value
	case propCorrelationID:
		p.CorrelationId = value
	case propReplyTo:
		p.ReplyTo = value
	case propMessageID:
		p.MessageId = value
	case propType:
		p.Type = value
	case propAppID:
		p.AppId = value
	case propTimestamp:
		t, err := parseTime(value)
		if err != nil || t.Unix() <= 0 || timeText(t) != value {
			return false
		}
		p.Timestamp = t
	case propPriority:
		n, err := strconv.ParseUint(value, 10, 8)
		if err != nil || n == 0 || strconv.Itoa(int(n)) != value {
			return false
		}
		p.Priority = uint8(n)
	default:
		return false
	}
	return true
}

func isProperty(name string) bool {
	names := propertyNames()
	return slices.Contains(names[:], name)
}

// steers reports whether a header gives orders to the broker or is its own note.
// Copied, CC and BCC send a message elsewhere too, expiration deletes it, a wrong
// user-id closes the channel, x-delay delays it, and x-death makes RabbitMQ 3
// drop it as if it ran in a circle.
func steers(name string) bool {
	switch strings.ToLower(name) {
	case "cc", "bcc", controlExpiration, controlUserID, "x-delay", controlExchange, controlRoutingKey:
		return true
	}
	return isDeath(name)
}

// isDeath reports whether the broker's dead-lettering writes the header.
func isDeath(name string) bool {
	lower := strings.ToLower(name)
	return lower == headerDeath || strings.HasPrefix(lower, "x-first-death-") || strings.HasPrefix(lower, "x-last-death-")
}

const (
	headerDeath     = "x-death"
	headerDelivered = "x-delivery-count"
	headerAcquired  = "x-acquired-count"
)

// counts reports whether the broker writes the header on delivery.
func counts(name string) bool { return name == headerDelivered || name == headerAcquired }

func reserved(name string) bool {
	switch name {
	case broker.HeaderEnvelope, broker.HeaderExpiresAt, broker.HeaderDue, HeaderKey, HeaderExtra, HeaderID, HeaderTime, HeaderStoredAt, HeaderTypes:
		return true
	}
	return counts(name) || annotates(name)
}

// own is what the adapter sends along besides what is the producer's.
type own struct {
	id        string
	envelope  []byte
	key       []byte
	expiresAt string
	time      time.Time
	stored    time.Time
	due       time.Time
}

// add puts the adapter's headers into a table.
func (o *own) add(to amqp.Table) {
	if o.id != "" {
		to[HeaderID] = o.id
	}
	if o.envelope != nil {
		to[broker.HeaderEnvelope] = string(o.envelope)
	}
	if o.key != nil {
		to[HeaderKey] = string(o.key)
	}
	if o.expiresAt != "" {
		to[broker.HeaderExpiresAt] = o.expiresAt
	}
	if !o.time.IsZero() {
		to[HeaderTime] = o.time.UnixMilli()
	}
	if !o.stored.IsZero() {
		to[HeaderStoredAt] = o.stored.UnixMilli()
	}
	if !o.due.IsZero() {
		// Rounded up: a retry is never early.
		to[broker.HeaderDue] = strconv.FormatInt(o.due.Add(time.Millisecond-time.Nanosecond).UnixMilli(), 10)
	}
}

// encode makes the properties and fields of a message of its headers.
func encode(headers []broker.Header, o own) amqp.Publishing {
	p := amqp.Publishing{DeliveryMode: amqp.Persistent, Headers: make(amqp.Table, len(headers)+6)}
	types, typed := typesOf(headers)
	var list []any
	var carried []string
	exact := true
	for _, h := range headers {
		if typed && h.Name == HeaderTypes {
			continue
		}
		if place(&p, h, types[h.Name]) {
			list, carried = append(list, encodeName(h.Name)), append(carried, h.Name)
			continue
		}
		exact = false
		b64 := base64.StdEncoding.EncodeToString
		list = append(list, [2]string{b64([]byte(h.Name)), b64(h.Value)})
	}
	if !exact || !slices.Equal(carried, naturalOrder(&p)) {
		if raw, err := json.Marshal(list); err == nil { // Strings always marshal.
			p.Headers[HeaderExtra] = string(raw)
		}
	}
	if !o.time.IsZero() && p.Timestamp.IsZero() {
		p.Timestamp = time.Unix(o.time.Unix(), 0)
	} else {
		o.time = time.Time{}
	}
	o.add(p.Headers)
	return p
}

// place puts a header where it belongs, and reports false if it has to travel in
// HeaderExtra.
func place(p *amqp.Publishing, h broker.Header, code string) bool {
	if steers(h.Name) || reserved(h.Name) || h.Name == "" || len(h.Name) > maxShort {
		return false
	}
	if isProperty(h.Name) {
		both := strings.HasPrefix(code, "p")
		if _, taken := property(p, h.Name); (code == "" || both) && !taken {
			return setProperty(p, h.Name, string(h.Value))
		}
		if code = strings.TrimPrefix(code, "p"); code == "" {
			return false
		}
	}
	if _, taken := p.Headers[h.Name]; taken {
		return false
	}
	v, err := valueOf(h.Value, code)
	if err != nil {
		v = string(h.Value) // Somebody edited it: it is a text now.
	}
	p.Headers[h.Name] = v
	return true
}

// naturalOrder is that in which decode finds the headers by itself.
func naturalOrder(p *amqp.Publishing) []string {
	var names []string
	for _, name := range propertyNames() {
		if _, ok := property(p, name); ok {
			names = append(names, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Headers)) {
		if !reserved(name) {
			names = append(names, name)
		}
	}
	return names
}

// typesOf reads HeaderTypes among the headers.
func typesOf(headers []broker.Header) (types map[string]string, ok bool) {
	for _, h := range headers {
		if h.Name != HeaderTypes {
			continue
		}
		var raw map[string]string
		if json.Unmarshal(h.Value, &raw) != nil {
			return nil, false
		}
		types = make(map[string]string, len(raw))
		for name, code := range raw {
			types[decodeName(name)] = code
		}
		return types, true
	}
	return nil, false
}

// decoded is a message together with what a copy of it carries on.
type decoded struct {
	message broker.Message
	// base is what a copy takes over: body, properties and fields of the producer.
	base amqp.Publishing
	// expiresAt is the text of HeaderExpiresAt to send on copies.
	expiresAt string
	// id is the publish id that the copy came with.
	id string
	// due is when a waiting copy may be handled, stored when it was sent.
	due, stored time.Time
	// delivered and acquired are the broker's counts of returns, -1 without one.
	delivered, acquired int64
	redelivered         bool
	// handed is how often the broker has handed the message over before, and base what
	// it was when a retry that waits in its place was decided.
	handed, base10 int64
	// moved says that the broker itself dead-lettered the message, by our settlement.
	moved bool
	// note is that of the newest release over AMQP 1.0, nil without one.
	note *broker.Mark
}

// decode makes a port message of a delivery. The delivery's table is not changed.
// Traces of the tiers of the queue itself are left out of Control.
func decode(d *amqp.Delivery, retry string) *decoded {
	out := &decoded{delivered: -1, acquired: -1, redelivered: d.Redelivered, base: amqp.Publishing{
		ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: amqp.Persistent, Priority: d.Priority,
		CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, MessageId: d.MessageId, Timestamp: d.Timestamp,
		Type: d.Type, AppId: d.AppId, Body: d.Body, Headers: make(amqp.Table, len(d.Headers)),
	}}
	m := &out.message
	m.Body, m.ID = d.Body, d.MessageId
	if m.Body == nil {
		m.Body = []byte{}
	}
	out.readOwn(d)
	extra, listed := textField(d.Headers, HeaderExtra)
	out.readProducer(d, retry)
	if listed {
		out.mergeExtra(extra)
	}
	if out.moved {
		// A letter that is no copy still has what steers. It is in the envelope, with
		// RabbitMQ's own note of the move beside it.
		m.Control = nil
	}
	if m.ID == "" && strings.HasPrefix(out.id, "pub:") {
		m.ID = out.id
	}
	return out
}

func textField(t amqp.Table, name string) (string, bool) {
	switch v := t[name].(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	}
	return "", false
}

func millisField(t amqp.Table, name string) (time.Time, bool) {
	n, ok := intField(t, name)
	if s, text := t[name].(string); text {
		parsed, err := strconv.ParseInt(s, 10, 64)
		n, ok = parsed, err == nil
	}
	if !ok {
		return time.Time{}, false
	}
	return time.UnixMilli(n), true
}

func intField(t amqp.Table, name string) (int64, bool) {
	switch v := t[name].(type) {
	case int64:
		return v, true
	case int32:
		return int64(v), true
	case int16:
		return int64(v), true
	case int8:
		return int64(v), true
	case uint32:
		return int64(v), true
	case uint16:
		return int64(v), true
	case byte:
		return int64(v), true
	}
	return 0, false
}

// readOwn reads the adapter's headers and the broker's counts.
func (out *decoded) readOwn(d *amqp.Delivery) {
	m, t := &out.message, d.Headers
	if v, ok := textField(t, broker.HeaderEnvelope); ok {
		m.Envelope = []byte(v)
	}
	if v, ok := textField(t, HeaderKey); ok {
		m.Key = []byte(v)
	} else if d.Exchange != "" && d.RoutingKey != "" {
		m.Key = []byte(d.RoutingKey)
	}
	out.id, _ = textField(t, HeaderID)
	out.due, _ = millisField(t, broker.HeaderDue)
	out.stored, _ = millisField(t, HeaderStoredAt)
	if n, ok := intField(t, headerDelivered); ok {
		out.delivered = n
	}
	if n, ok := intField(t, headerAcquired); ok {
		out.acquired = n
	}
	out.readAnnotations(t)
	if at, ok := millisField(t, HeaderTime); ok && at.Unix() == d.Timestamp.Unix() {
		m.Time = at
		out.base.Headers[HeaderTime] = t[HeaderTime]
	} else if d.Timestamp.Unix() > 0 {
		m.Time = d.Timestamp
	}
	if v, ok := textField(t, broker.HeaderExpiresAt); ok {
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			m.ExpiresAt, out.expiresAt = at, v
		}
	} else if ms, err := strconv.ParseInt(d.Expiration, 10, 64); err == nil && !m.Time.IsZero() {
		m.ExpiresAt = m.Time.Add(time.Duration(ms) * time.Millisecond)
		out.expiresAt = formatExpiry(m.ExpiresAt)
	}
}

func formatExpiry(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

// readProducer separates the producer's headers from those that steer the broker.
func (out *decoded) readProducer(d *amqp.Delivery, retry string) {
	m := &out.message
	types := map[string]string{}
	_, ourTime := out.base.Headers[HeaderTime]
	for _, name := range propertyNames() {
		if v, ok := property(&out.base, name); ok && (name != propTimestamp || !ourTime) {
			m.Headers = append(m.Headers, broker.Header{Name: name, Value: []byte(v)})
		}
	}
	properties := len(m.Headers)
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		v := d.Headers[name]
		if steers(name) {
			out.readControl(name, v, d.Headers, retry)
			continue
		}
		if unreadable := name == broker.HeaderExpiresAt && out.expiresAt == ""; reserved(name) && !unreadable {
			continue
		}
		out.base.Headers[name] = v
		text, code := textOf(v)
		if isProperty(name) {
			if code == "" {
				code = codeString
			}
			if slices.ContainsFunc(m.Headers[:properties], func(h broker.Header) bool { return h.Name == name }) {
				code = "p" + code
			}
		}
		if code != "" {
			types[encodeName(name)] = code
		}
		m.Headers = append(m.Headers, broker.Header{Name: name, Value: text})
	}
	out.addControl(controlExpiration, d.Expiration)
	out.addControl(controlUserID, d.UserId)
	if d.Exchange != "" {
		out.addControl(controlExchange, d.Exchange)
		out.addControl(controlRoutingKey, d.RoutingKey)
	}
	if len(types) > 0 {
		if raw, err := json.Marshal(types); err == nil { // Strings always marshal.
			m.Headers = append(m.Headers, broker.Header{Name: HeaderTypes, Value: raw})
		}
	}
}

func (out *decoded) addControl(name, value string) {
	if value != "" {
		out.message.Control = append(out.message.Control, broker.Header{Name: name, Value: []byte(value)})
	}
}

// readControl keeps a header that steers the broker as data, unless it only says
// that a copy has waited in one of our tiers.
func (out *decoded) readControl(name string, v any, all amqp.Table, retry string) {
	if isDeath(name) {
		deaths := foreignDeaths(all[headerDeath], retry)
		if deaths == nil {
			return
		}
		if strings.EqualFold(name, headerDeath) {
			v = deaths
		}
	}
	text, _ := textOf(v)
	out.message.Control = append(out.message.Control, broker.Header{Name: name, Value: text})
}

// foreignDeaths leaves out what happened in our own tiers. What is no list is the
// producer's and kept as it is.
func foreignDeaths(v any, retry string) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	var kept []any
	for _, entry := range list {
		if t, ok := entry.(amqp.Table); ok {
			if queue, ok := t["queue"].(string); ok && isTier(queue, retry) {
				continue
			}
		}
		kept = append(kept, entry)
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// mergeExtra puts the headers that the table carried and those in HeaderExtra in
// order. Services copy headers and add their own, so the list may not fit:
// headers that it does not know come last, and names that are not there are
// passed over. What of it steers goes to Control, and copies do without it.
func (out *decoded) mergeExtra(extra string) {
	m := &out.message
	var list []json.RawMessage
	if json.Unmarshal([]byte(extra), &list) != nil {
		m.Headers = append(m.Headers, broker.Header{Name: HeaderExtra, Value: []byte(extra)})
		return
	}
	carried, taken := m.Headers, make([]bool, len(m.Headers))
	take := func(name string) bool {
		for i := range carried {
			if !taken[i] && carried[i].Name == name && name != HeaderTypes {
				taken[i] = true
				m.Headers = append(m.Headers, carried[i])
				return true
			}
		}
		return false
	}
	m.Headers = make([]broker.Header, 0, len(carried)+len(list))
	kept := make([]json.RawMessage, 0, len(list))
	for _, raw := range list {
		var name string
		var pair [2][]byte
		if json.Unmarshal(raw, &name) == nil {
			if take(decodeName(name)) {
				kept = append(kept, raw)
			}
		} else if json.Unmarshal(raw, &pair) == nil {
			h := broker.Header{Name: string(pair[0]), Value: pair[1]}
			if steers(h.Name) {
				m.Control = append(m.Control, h)
				continue
			}
			kept = append(kept, raw)
			m.Headers = append(m.Headers, h)
		}
	}
	for i, done := range taken {
		if !done {
			m.Headers = append(m.Headers, carried[i])
		}
	}
	if raw, err := json.Marshal(kept); err == nil {
		out.base.Headers[HeaderExtra] = string(raw)
	}
}

// copy makes the publication of a copy: body, properties and fields of the
// producer as they came, never what steers, and persistent whatever the original
// was.
func (out *decoded) copy(o own) amqp.Publishing {
	p := out.base
	p.Headers = make(amqp.Table, len(out.base.Headers)+6)
	maps.Copy(p.Headers, out.base.Headers)
	o.key, o.expiresAt, o.time = out.message.Key, out.expiresAt, time.Time{}
	o.add(p.Headers)
	return p
}

// headerSize is the number of bytes of the content header, which has to fit into
// one frame.
func headerSize(p *amqp.Publishing) int {
	size := 14 + 4 + tableSize(p.Headers) + 1 + 1 + 8
	for _, s := range []string{p.ContentType, p.ContentEncoding, p.CorrelationId, p.ReplyTo, p.Expiration, p.MessageId, p.Type, p.UserId, p.AppId} {
		if s != "" {
			size += 1 + len(s)
		}
	}
	return size
}

func tableSize(t amqp.Table) int {
	size := 0
	for name, v := range t {
		size += 1 + len(name) + fieldSize(v)
	}
	return size
}

// fieldSize is never less than what a field takes.
func fieldSize(v any) int {
	switch v := v.(type) {
	case string:
		return 5 + len(v)
	case []byte:
		return 5 + len(v)
	case []any:
		size := 5
		for i := range v {
			size += fieldSize(v[i])
		}
		return size
	case amqp.Table:
		return 5 + tableSize(v)
	}
	return 9
}

// sameCopy reports whether a message that came back as unroutable is this
// publication.
func sameCopy(r *amqp.Return, p *amqp.Publishing, queue string) bool {
	return r.RoutingKey == queue && r.Headers[HeaderID] == p.Headers[HeaderID] && bytes.Equal(r.Body, p.Body)
}

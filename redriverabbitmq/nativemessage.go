package redriverabbitmq

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	amqp10 "github.com/Azure/go-amqp"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

// The annotations that settlements over AMQP 1.0 add to a message. Over AMQP 0-9-1
// they are headers. They are public: changing one breaks readers.
const (
	// annotationEnvelope carries the newest envelope, and takes precedence over the
	// header; empty for none.
	annotationEnvelope = "x-opt-redrive"
	// annotationMark carries the note of the newest release, as JSON; empty for none.
	annotationMark = "x-opt-redrive-mark"
	// annotationBase is the broker's count of deliveries when the newest retry was
	// decided: a message that waits in its place keeps its count.
	annotationBase = "x-opt-redrive-base"
	// annotationStored is when a message was dead-lettered, in Unix milliseconds, and
	// annotationID the publish id of that.
	annotationStored = "x-opt-redrive-stored-at"
	annotationID     = "x-opt-redrive-id"
	// annotationDelivery is RabbitMQ's: when to deliver, in Unix milliseconds.
	annotationDelivery = "x-opt-delivery-time"
)

// annotates reports whether settlements over AMQP 1.0 write the header.
func annotates(name string) bool {
	return name == annotationEnvelope || name == annotationDelivery || strings.HasPrefix(name, annotationEnvelope+"-")
}

// readAnnotations reads what settlements over AMQP 1.0 have added to a message.
func (out *decoded) readAnnotations(t amqp.Table) {
	m := &out.message
	if v, ok := textField(t, annotationEnvelope); ok {
		m.Envelope = nil
		if v != "" {
			m.Envelope = []byte(v)
		}
	}
	if v, ok := textField(t, annotationMark); ok && v != "" {
		var note broker.Mark
		if json.Unmarshal([]byte(v), &note) == nil { // One that cannot be read explains nothing.
			out.note = &note
		}
	}
	if at, ok := millisField(t, annotationStored); ok {
		out.stored, out.moved = at, true
	}
	if v, ok := textField(t, annotationID); ok {
		out.id = v
	}
	out.handed = max(out.acquired, 0)
	if out.acquired < 0 {
		out.handed = max(out.delivered, 0)
	}
	if base, ok := intField(t, annotationBase); ok && base > 0 && out.acquired >= 0 {
		out.base10 = base
		out.acquired = max(out.acquired-base, 0)
	}
}

func markText(m broker.Mark) (string, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("mark: %w", err)
	}
	if len(raw) > maxAnnotations {
		return "", fmt.Errorf("mark: %w", &broker.TooLargeError{Size: len(raw), Limit: maxAnnotations})
	}
	return string(raw), nil
}

func annotationSize(annotations map[string]any) int {
	size := 0
	for name, v := range annotations {
		text, _ := v.(string)
		size += len(name) + len(text) + 10
	}
	return size
}

// decode10 makes a port message of what came over AMQP 1.0. It is first turned into
// what a consumer over AMQP 0-9-1 would have got, by the rules of RabbitMQ's own
// conversion, so that both read and copy alike.
func decode10(m *amqp10.Message, retry string) *decoded {
	d := &amqp.Delivery{Headers: amqp.Table{}}
	readSections(d, m)
	for name, v := range m.ApplicationProperties {
		if len(name) <= maxShort {
			d.Headers[name] = fieldOf(v)
		}
	}
	for key, v := range m.Annotations {
		name, ok := key.(string)
		if !ok || !strings.HasPrefix(name, "x-") || len(name) > maxShort {
			continue
		}
		readAnnotation(d, name, v)
	}
	return decode(d, retry)
}

// readSections reads body, header and properties.
func readSections(d *amqp.Delivery, m *amqp10.Message) {
	d.Body = []byte{}
	for _, part := range m.Data {
		d.Body = append(d.Body, part...)
	}
	if m.Value != nil || len(m.Sequence) > 0 {
		// RabbitMQ hands a body that is a value to consumers over AMQP 0-9-1 as it is
		// encoded, and says so by this type.
		body := amqp10.Message{Value: m.Value, Sequence: m.Sequence}
		if raw, err := body.MarshalBinary(); err == nil {
			d.Body, d.Type = raw, "amqp-1.0"
		}
	}
	if h := m.Header; h != nil {
		// The library does not tell the default of AMQP 1.0 from none.
		const none = 4
		if h.Priority != none {
			d.Priority = h.Priority
		}
		d.Redelivered = !h.FirstAcquirer
		if h.TTL > 0 {
			d.Expiration = strconv.FormatInt(h.TTL.Milliseconds(), 10)
		}
	}
	p := m.Properties
	if p == nil {
		return
	}
	d.MessageId = idText(p.MessageID, "x-message-id", d.Headers)
	d.CorrelationId = idText(p.CorrelationID, "x-correlation-id", d.Headers)
	d.UserId = string(p.UserID)
	d.ReplyTo = replyTo(text(p.ReplyTo))
	d.ContentType, d.ContentEncoding, d.AppId = text(p.ContentType), text(p.ContentEncoding), text(p.GroupID)
	if p.CreationTime != nil {
		d.Timestamp = time.Unix(p.CreationTime.Unix(), 0)
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// replyTo turns the address of a queue into its name.
func replyTo(address string) string {
	queue, ok := strings.CutPrefix(address, "/queues/")
	if !ok {
		return address
	}
	if name, err := url.PathUnescape(queue); err == nil {
		return name
	}
	return address
}

// idText is an id as text. What AMQP 0-9-1 cannot carry in the property is a header.
func idText(id any, header string, headers amqp.Table) string {
	switch id := id.(type) {
	case string:
		if len(id) <= maxShort {
			return id
		}
		headers[header] = id
	case uint64:
		return strconv.FormatUint(id, 10)
	case amqp10.UUID:
		return "urn:uuid:" + id.String()
	case []byte:
		headers[header] = id
	}
	return ""
}

// readAnnotation puts an annotation where a consumer over AMQP 0-9-1 finds it.
func readAnnotation(d *amqp.Delivery, name string, v any) {
	switch name {
	case "x-exchange":
		d.Exchange, _ = v.(string)
	case "x-routing-key":
		d.RoutingKey, _ = v.(string)
	case "x-basic-type":
		if kind, ok := v.(string); ok && d.Type == "" {
			d.Type = kind
		}
	case "x-cc":
		d.Headers["CC"] = fieldOf(v)
	case "x-opt-deaths":
		if deaths, ok := fieldOf(v).([]any); ok {
			d.Headers[headerDeath] = deaths
		}
	case "x-opt-rabbitmq-received-time":
		if at, ok := v.(time.Time); ok {
			d.Headers["timestamp_in_ms"] = at.UnixMilli()
		}
	default:
		d.Headers[name] = fieldOf(v)
	}
}

// fieldOf turns a value of AMQP 1.0 into one of AMQP 0-9-1.
func fieldOf(v any) any {
	switch v := v.(type) {
	case uint64:
		if int64(v) >= 0 {
			return int64(v)
		}
		return strconv.FormatUint(v, 10)
	case []byte:
		if !utf8.Valid(v) {
			// RabbitMQ makes this of a string that is no UTF-8, of which there are more than
			// of binary fields.
			return string(v)
		}
		return v
	case amqp10.Symbol:
		return string(v)
	case amqp10.UUID:
		return "urn:uuid:" + v.String()
	case map[string]any:
		out := make(amqp.Table, len(v))
		for name, value := range v {
			out[name] = fieldOf(value)
		}
		return out
	case map[any]any:
		out := make(amqp.Table, len(v))
		for name, value := range v {
			out[keyText(name)] = fieldOf(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = fieldOf(v[i])
		}
		return out
	case []map[string]any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = fieldOf(v[i])
		}
		return out
	case []string:
		out := make([]any, len(v))
		for i := range v {
			out[i] = v[i]
		}
		return out
	case []amqp10.Symbol:
		out := make([]any, len(v))
		for i := range v {
			out[i] = string(v[i])
		}
		return out
	case nil, bool, string, int8, uint8, int16, uint16, int32, uint32, int64, float32, float64, time.Time:
		return v
	}
	return fmt.Sprint(v)
}

func keyText(key any) string {
	switch key := key.(type) {
	case string:
		return key
	case amqp10.Symbol:
		return string(key)
	case []byte:
		return base64.StdEncoding.EncodeToString(key)
	}
	return fmt.Sprint(key)
}

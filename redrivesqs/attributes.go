package redrivesqs

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/redrive-dev/redrive/broker"
)

// Names that the adapter adds. They are public: changing one breaks readers.
const (
	// AttributeDetails is a message attribute with one JSON object: what SQS has no
	// place for. See the package documentation.
	AttributeDetails = "redrive-sqs"
	// HeaderTypes is a header of received messages, the data types of attributes
	// that are not a plain String, as one JSON object by name. Publish sends
	// attributes back under these types.
	HeaderTypes = "redrive-sqs-types"
)

const (
	typeString = "String"
	typeNumber = "Number"
	typeBinary = "Binary"

	bodyEmpty  = "empty"
	bodyBase64 = "base64"
	// emptyBody stands for an empty body, which SQS refuses.
	emptyBody = "-"
)

// outgoing is a message to be sent.
type outgoing struct {
	body      []byte
	headers   []broker.Header
	envelope  []byte
	key       []byte
	id        string
	publishID string
	expiresAt time.Time
	// time is when the original was stored, zero for an original.
	time time.Time
	// due is when a copy may be delivered, zero for at once.
	due time.Time
}

// sealed is a message as SQS takes it.
type sealed struct {
	body       string
	attributes map[string]types.MessageAttributeValue
	group      string
	dedupe     string
	// size is what SQS counts.
	size int
}

// details is the content of AttributeDetails.
type details struct {
	// ID is the producer's message id.
	ID string `json:"id,omitempty"`
	// Time is when the original was stored, in Unix milliseconds.
	Time int64 `json:"time,omitempty"`
	// Key is the message key where the group id is not it.
	Key []byte `json:"key,omitempty"`
	// NoKey says that there is no key, and that the group id is made up.
	NoKey bool `json:"no_key,omitempty"`
	// Body is "base64" or "empty" where the body itself is not what was published.
	Body string `json:"body,omitempty"`
	// Headers are all headers in order: a string names an attribute, a list is a
	// name, a value, and "v" if the value or "nv" if name and value are in base64.
	Headers []packed `json:"headers,omitempty"`
	// Types are the data types of headers in Headers that are not a plain String.
	Types map[string]string `json:"types,omitempty"`
}

// packed is a header that is no attribute, or a reference to one that is.
type packed struct {
	name, value []byte
	attribute   bool
}

// MarshalJSON implements json.Marshaler.
func (p packed) MarshalJSON() ([]byte, error) {
	if p.attribute {
		return marshal(string(p.name))
	}
	plain := func(b []byte) bool { return len(b) == 0 || textual(b) }
	b64 := base64.StdEncoding.EncodeToString
	switch {
	case !plain(p.name):
		return marshal([]string{b64(p.name), b64(p.value), "nv"})
	case !plain(p.value):
		return marshal([]string{string(p.name), b64(p.value), "v"})
	}
	return marshal([]string{string(p.name), string(p.value)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *packed) UnmarshalJSON(raw []byte) error {
	var name string
	if json.Unmarshal(raw, &name) == nil {
		*p = packed{name: []byte(name), attribute: true}
		return nil
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	if len(list) < 2 {
		return fmt.Errorf("header of %d parts, want a name and a value", len(list))
	}
	p.name, p.value = []byte(list[0]), []byte(list[1])
	if len(list) < 3 {
		return nil
	}
	var err error
	if p.value, err = base64.StdEncoding.DecodeString(list[1]); err == nil && list[2] == "nv" {
		p.name, err = base64.StdEncoding.DecodeString(list[0])
	}
	return err
}

// marshal is json.Marshal without escapes for HTML, which would only cost room.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// seal makes a message into what SQS takes. fifo says that the target needs a group
// and a deduplication id.
func seal(m outgoing, fifo bool) (sealed, error) {
	s := sealed{attributes: map[string]types.MessageAttributeValue{}}
	var d details
	s.body, d.Body = sealBody(m.body)
	if m.id != "" {
		d.ID = m.id
	}
	if !m.time.IsZero() {
		d.Time = m.time.UnixMilli()
	}
	sealKey(&s, &d, m, fifo)
	if len(m.envelope) > 0 {
		s.attributes[broker.HeaderEnvelope] = textOrBinary(m.envelope)
	}
	if !m.due.IsZero() {
		// Rounded up: never early.
		s.attributes[broker.HeaderDue] = text(strconv.FormatInt(m.due.Add(time.Millisecond-1).UnixMilli(), 10))
	}
	if !m.expiresAt.IsZero() {
		s.attributes[broker.HeaderExpiresAt] = text(m.expiresAt.UTC().Format(time.RFC3339Nano))
	}
	if err := sealHeaders(&s, &d, m.headers); err != nil {
		return sealed{}, err
	}
	if !d.isZero() {
		raw, err := marshal(d)
		if err != nil {
			return sealed{}, fmt.Errorf("encode attribute %s: %w", AttributeDetails, err)
		}
		s.attributes[AttributeDetails] = textOrBinary(raw)
	}
	s.size = len(s.body)
	for name, a := range s.attributes {
		s.size += len(name) + len(*a.DataType) + len(aws.ToString(a.StringValue)) + len(a.BinaryValue)
	}
	return s, nil
}

func (d *details) isZero() bool {
	return d.ID == "" && d.Time == 0 && d.Key == nil && !d.NoKey && d.Body == "" && d.Headers == nil && d.Types == nil
}

func sealBody(body []byte) (sealed, how string) {
	switch {
	case len(body) == 0:
		return emptyBody, bodyEmpty
	case textual(body):
		return string(body), ""
	}
	return base64.StdEncoding.EncodeToString(body), bodyBase64
}

// sealKey puts the key into the group id, which both kinds of queues have: in a FIFO
// queue it orders, in a standard one it keeps a busy key from starving others.
func sealKey(s *sealed, d *details, m outgoing, fifo bool) {
	switch {
	case len(m.key) > 0 && tokenLegal(string(m.key)):
		s.group = string(m.key)
	case len(m.key) > 0:
		d.Key = m.key
		if fifo {
			s.group = "key-" + digest(string(m.key))
		}
	case fifo:
		// A group of its own: a message without a key waits for no other.
		d.NoKey = true
		s.group = "one-" + digest(m.publishID)
	}
	if fifo {
		s.dedupe = dedupeID(m.publishID)
	}
}

func text(value string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String(typeString), StringValue: aws.String(value)}
}

func textOrBinary(value []byte) types.MessageAttributeValue {
	if textual(value) {
		return text(string(value))
	}
	return types.MessageAttributeValue{DataType: aws.String(typeBinary), BinaryValue: value}
}

// sealHeaders sends headers as attributes, as long as SQS can: each name once and a
// legal one, a value, and no more than ten. The rest, and an order that is not by
// name, go into the details.
func sealHeaders(s *sealed, d *details, headers []broker.Header) error {
	headers, kinds := cutTypes(headers)
	if len(headers) == 0 {
		return nil
	}
	room := maxAttributes - len(s.attributes)
	native := make([]bool, len(headers))
	count, seen := 0, map[string]bool{}
	for i, h := range headers {
		native[i] = attributeLegal(h.Name) && !seen[h.Name] && valueLegal(kinds[h.Name], h.Value)
		seen[h.Name] = true
		if native[i] {
			count++
		}
	}
	sorted := slices.IsSortedFunc(headers, func(a, b broker.Header) int { return strings.Compare(a.Name, b.Name) })
	if count < len(headers) || !sorted || count > room || count == room && !d.isZero() {
		room-- // For the details.
		d.Headers = make([]packed, len(headers))
		for i, h := range headers {
			if native[i] && room > 0 {
				room--
				d.Headers[i] = packed{name: []byte(h.Name), attribute: true}
				continue
			}
			native[i] = false
			d.Headers[i] = packed{name: []byte(h.Name), value: h.Value}
			if kind := kinds[h.Name]; kind != "" {
				if d.Types == nil {
					d.Types = map[string]string{}
				}
				d.Types[h.Name] = kind
			}
		}
	}
	for i, h := range headers {
		if native[i] {
			s.attributes[h.Name] = attribute(kinds[h.Name], h.Value)
		}
	}
	if len(s.attributes) > maxAttributes {
		return fmt.Errorf("%d attributes, SQS takes %d", len(s.attributes), maxAttributes)
	}
	return nil
}

// cutTypes takes the data types out of the headers.
func cutTypes(headers []broker.Header) ([]broker.Header, map[string]string) {
	i := slices.IndexFunc(headers, func(h broker.Header) bool { return h.Name == HeaderTypes })
	if i < 0 {
		return headers, nil
	}
	var kinds map[string]string
	if json.Unmarshal(headers[i].Value, &kinds) != nil {
		return headers, nil // Somebody else's header of that name.
	}
	return slices.Delete(slices.Clone(headers), i, i+1), kinds
}

func attribute(kind string, value []byte) types.MessageAttributeValue {
	if kind == "" {
		return text(string(value))
	}
	a := types.MessageAttributeValue{DataType: aws.String(kind)}
	if strings.HasPrefix(kind, typeBinary) {
		a.BinaryValue = value
	} else {
		a.StringValue = aws.String(string(value))
	}
	return a
}

// attributeLegal reports whether a message attribute can have the name.
func attributeLegal(name string) bool {
	switch name {
	case "", broker.HeaderEnvelope, broker.HeaderDue, broker.HeaderExpiresAt, AttributeDetails, HeaderTypes:
		return false
	}
	if len(name) > 256 || name[0] == '.' || name[len(name)-1] == '.' || strings.Contains(name, "..") {
		return false
	}
	for i := range len(name) {
		if !nameByte(name[i]) && name[i] != '.' {
			return false
		}
	}
	lower := strings.ToLower(name)
	return !strings.HasPrefix(lower, "aws.") && !strings.HasPrefix(lower, "amazon.")
}

func valueLegal(kind string, value []byte) bool {
	if strings.HasPrefix(kind, typeBinary) {
		return len(value) > 0
	}
	return textual(value)
}

// received is a message as a receiver sees it.
type received struct {
	message   broker.Message
	messageID string
	receipt   string
	// count is the number of receives, this one included.
	count int
	sent  time.Time
	due   time.Time
}

// open reads what SQS delivered. It never fails: what cannot be read is kept as it
// came.
func open(m types.Message) received {
	r := received{messageID: aws.ToString(m.MessageId), receipt: aws.ToString(m.ReceiptHandle), count: 1}
	if n, err := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)]); err == nil {
		r.count = n
	}
	if ms, err := strconv.ParseInt(m.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64); err == nil {
		r.sent = time.UnixMilli(ms)
	}
	var d details
	raw, own := m.MessageAttributes[AttributeDetails]
	if own {
		own = json.Unmarshal(value(raw), &d) == nil
	}
	msg := &r.message
	msg.ID, msg.Time = r.messageID, r.sent
	if d.ID != "" {
		msg.ID = d.ID
	}
	if d.Time != 0 {
		msg.Time = time.UnixMilli(d.Time)
	}
	msg.Body = openBody(aws.ToString(m.Body), d.Body)
	msg.Key = d.Key
	if group := m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]; msg.Key == nil && !d.NoKey && group != "" {
		msg.Key = []byte(group)
	}
	if a, ok := m.MessageAttributes[broker.HeaderEnvelope]; ok {
		msg.Envelope = value(a)
	}
	if ms, err := strconv.ParseInt(string(value(m.MessageAttributes[broker.HeaderDue])), 10, 64); err == nil {
		r.due = time.UnixMilli(ms)
	}
	if at, err := time.Parse(time.RFC3339Nano, string(value(m.MessageAttributes[broker.HeaderExpiresAt]))); err == nil {
		msg.ExpiresAt = at
	}
	msg.Headers = openHeaders(m.MessageAttributes, d, own)
	msg.Control = control(m.Attributes)
	return r
}

// control are the system attributes that a producer or SQS gave, and that are not
// sent again.
func control(system map[string]string) []broker.Header {
	var out []broker.Header
	for _, name := range []types.MessageSystemAttributeName{
		types.MessageSystemAttributeNameAWSTraceHeader,
		types.MessageSystemAttributeNameDeadLetterQueueSourceArn,
	} {
		if v := system[string(name)]; v != "" {
			out = append(out, broker.Header{Name: string(name), Value: []byte(v)})
		}
	}
	return out
}

func openBody(body, how string) []byte {
	switch how {
	case bodyEmpty:
		if body == emptyBody {
			return []byte{}
		}
	case bodyBase64:
		if raw, err := base64.StdEncoding.DecodeString(body); err == nil {
			return raw
		}
	}
	return []byte(body)
}

func value(a types.MessageAttributeValue) []byte {
	if a.BinaryValue != nil {
		return a.BinaryValue
	}
	return []byte(aws.ToString(a.StringValue))
}

func openHeaders(attributes map[string]types.MessageAttributeValue, d details, own bool) []broker.Header {
	kinds := d.Types
	plain := map[string][]byte{}
	names := make([]string, 0, len(attributes))
	for name, a := range attributes {
		switch {
		case name == broker.HeaderEnvelope, name == broker.HeaderDue, name == broker.HeaderExpiresAt, name == AttributeDetails && own:
			continue
		}
		names = append(names, name)
		plain[name] = value(a)
		if kind := aws.ToString(a.DataType); kind != typeString {
			if kinds == nil {
				kinds = map[string]string{}
			}
			kinds[name] = kind
		}
	}
	slices.Sort(names)
	var out []broker.Header
	for _, p := range d.Headers {
		name := string(p.name)
		if !p.attribute {
			out = append(out, broker.Header{Name: name, Value: p.value})
			continue
		}
		if v, ok := plain[name]; ok {
			out = append(out, broker.Header{Name: name, Value: v})
			delete(plain, name)
		}
	}
	for _, name := range names {
		if v, ok := plain[name]; ok {
			out = append(out, broker.Header{Name: name, Value: v})
		}
	}
	if len(kinds) > 0 {
		if raw, err := marshal(kinds); err == nil {
			out = append(out, broker.Header{Name: HeaderTypes, Value: raw})
		}
	}
	return out
}

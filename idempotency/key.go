package idempotency

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/redrive-dev/redrive/broker"
)

// KeySource says where the idempotency keys of a subscription come from.
type KeySource struct {
	// Header names the producer's header that holds the key, exactly as spelt.
	// Default: none; the key is the native position of the message.
	Header string
}

// Key is [Key] with the header of the source.
func (s KeySource) Key(m *broker.Message, id broker.Incarnation) (key string, ok bool) {
	return Key(s.Header, m, id)
}

// MaxKey is the length of the longest key that Key returns, in bytes. A longer
// one is replaced by its digest.
const MaxKey = 256

// The prefixes of derived keys. A header value that begins with one of them is
// itself given a prefix, so that no producer can state the key of a position.
const (
	prefixHeader    = "h:"
	prefixPosition  = "i:"
	prefixMessageID = "m:"
	prefixPublish   = "pub:"
	prefixDigest    = "sha256:"
)

// Key derives the idempotency key of a message that carries no envelope of its
// own. The first of these that there is decides:
//
//   - the value of the named header, as it is if it is short printable ASCII
//     (so that handlers can pass it on), else escaped and marked with "h:";
//   - a message id that [PublishID] made, which is the same on every stored copy of
//     one publication;
//   - the native position, id, marked with "i:";
//   - the producer's message id, marked with "m:".
//
// ok is false if there is none of them: RabbitMQ without a message id. Such a
// message has no key that is the same on its next delivery. An empty header
// counts as none; headers that steer a broker are looked at last.
//
// The key holds neither the consumer group nor the body. It is the same on each
// delivery of a stored copy, and at most MaxKey bytes long.
func Key(header string, m *broker.Message, id broker.Incarnation) (key string, ok bool) {
	if value := headerValue(header, m); value != "" {
		return bound(headerKey(value)), true
	}
	if strings.HasPrefix(m.ID, prefixPublish) {
		return bound(prefixPublish + escape(m.ID[len(prefixPublish):], "")), true
	}
	if !id.IsZero() {
		// String has escaped '%' in the parts, which keeps the result apart from
		// what is escaped here.
		var space [128]byte
		return bound(escapeUnprintable(string(id.Append(append(space[:0], prefixPosition...))))), true
	}
	if m.ID != "" {
		return bound(prefixMessageID + escape(m.ID, "")), true
	}
	return "", false
}

func headerValue(name string, m *broker.Message) string {
	if name == "" {
		return ""
	}
	if value, ok := m.Header(name); ok && len(value) > 0 {
		return string(value)
	}
	for i := range m.Control {
		if m.Control[i].Name == name {
			return string(m.Control[i].Value)
		}
	}
	return ""
}

func headerKey(value string) string {
	for _, reserved := range [...]string{prefixHeader, prefixPosition, prefixMessageID, prefixPublish, prefixDigest} {
		if strings.HasPrefix(value, reserved) {
			return prefixHeader + escape(value, "")
		}
	}
	for i := range len(value) {
		if !printable(value[i]) {
			return prefixHeader + escape(value, "")
		}
	}
	return value
}

// Bound returns an id as it is, or its digest, marked with "sha256:", if it is
// longer than MaxKey bytes: what travels with a message must stay small whatever
// a producer sends.
func Bound(id string) string { return bound(id) }

// bound replaces a key that is too long by its digest.
func bound(key string) string {
	if len(key) <= MaxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return prefixDigest + hex.EncodeToString(sum[:])
}

func printable(c byte) bool { return 0x20 < c && c < 0x7f }

// escape writes '%', the bytes in also and everything but printable ASCII as '%'
// and two hexadecimal digits. It is injective.
func escape(s, also string) string {
	return escapeIf(s, func(c byte) bool {
		return c == '%' || !printable(c) || strings.IndexByte(also, c) >= 0
	})
}

// escapeUnprintable leaves '%' alone.
func escapeUnprintable(s string) string {
	plain := true
	for i := range len(s) {
		plain = plain && printable(s[i])
	}
	if plain {
		return s // Every message comes here.
	}
	return escapeIf(s, func(c byte) bool { return !printable(c) })
}

func escapeIf(s string, special func(byte) bool) string {
	const digits = "0123456789ABCDEF"
	var out []byte
	start := 0
	for i := range len(s) {
		if c := s[i]; special(c) {
			out = append(out, s[start:i]...)
			out = append(out, '%', digits[c>>4], digits[c&15])
			start = i + 1
		}
	}
	if out == nil {
		return s
	}
	return string(append(out, s[start:]...))
}

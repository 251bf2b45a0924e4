package redrivesqs

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/redrive-dev/redrive/broker"
)

const (
	// maxName is the longest name of a queue, the suffix of FIFO queues included.
	maxName = 80
	// fifoSuffix ends the names of FIFO queues, and of no others.
	fifoSuffix = ".fifo"
	// A shortened name is shortHead bytes, shortMark and shortHash bytes.
	shortHead, shortHash = 40, 10

	dotMark        = "_2e"
	underscoreMark = "_5f"
	byteMark       = underscoreMark + "x"
	shortMark      = underscoreMark + "h"
	// groupEnd ends the logical name of the queue of a consumer group that is not the
	// default one.
	groupEnd = ".group"

	hexDigits = "0123456789abcdef"
)

// A queue's native name is made of its logical one, so that no two queues meet:
//
//   - a source whose name SQS allows is that queue. Only a name that holds "_2e" or
//     "_5f" is not, since those are what redrive writes;
//   - any other name has "_2e" for a dot, "_5f" for an underscore that "2e" or "5f"
//     follows, and "_5fx" and two hexadecimal digits for any other byte that SQS does
//     not allow;
//   - what belongs to a FIFO source is a FIFO queue: its ".fifo" stands at the end,
//     where SQS wants it;
//   - a name of more than 80 characters is its first 40, "_5fh", and 10 characters of
//     the SHA-256 of the logical name in base32.

// layout names the queues of one installation.
type layout struct{ prefix string }

// native returns the native name of a logical one.
func (l layout) native(name string) string {
	switch broker.KindOf(name) {
	case broker.KindOutcomes:
		return escape(l.prefix + ".outcomes")
	case broker.KindHeartbeats:
		return escape(l.prefix + ".heartbeats")
	case broker.KindSource:
		if legal(name) && !marked(name) {
			return name
		}
		return nativeSource(name)
	case broker.KindRetry:
		return l.entry(strings.TrimSuffix(name, ".retry"))
	case broker.KindReplay:
		return l.entry(strings.TrimSuffix(name, ".replay"))
	case broker.KindDeadLetter, broker.KindQuarantine:
	}
	return derived(name)
}

// group returns the native name of the queue that a consumer group consumes: the
// source itself for the default group.
func (l layout) group(source, group string) string {
	if group == "" || group == broker.DefaultGroup {
		return l.native(source)
	}
	return derived(subscriptionName(source, group) + groupEnd)
}

// groupPrefix begins the names of the queues of all further groups of a source. It
// may begin other names too.
func (l layout) groupPrefix(source string) string {
	base, _ := strings.CutSuffix(subscriptionName(source, broker.DefaultGroup), fifoSuffix)
	return clipName(escape(base+"--"), shortHead)
}

// subscriptionName is the base of a subscription's logical names.
func subscriptionName(source, group string) string {
	return strings.TrimSuffix(broker.NamesFor(source, group).Retry, ".retry")
}

// entry returns the native name of the queue that a subscription consumes, which is
// where its retries and replays go. base is the subscription's name as NamesFor
// escapes it.
func (l layout) entry(base string) string {
	source, group, ok := subscriptionOf(base)
	if !ok {
		return derived(base + groupEnd)
	}
	return l.group(source, group)
}

// subscriptionOf splits and unescapes the base of a subscription's names.
func subscriptionOf(base string) (source, group string, ok bool) {
	i := separator(base)
	source, ok = unescapeName(base[:i])
	if !ok || i == len(base) {
		return source, broker.DefaultGroup, ok
	}
	group, ok = unescapeName(base[i+2:])
	return source, group, ok
}

// unescapeName is the inverse of broker.EscapeName.
func unescapeName(name string) (string, bool) {
	s := strings.NewReplacer("_2d", "-", "_5f", "_").Replace(name)
	return s, broker.EscapeName(s) == name
}

// nativeSource names a source whose own name SQS does not allow.
func nativeSource(name string) string {
	end := ""
	if strings.HasSuffix(name, fifoSuffix) {
		end = fifoSuffix
	}
	return shorten(escape(broker.EscapeName(name)), end, name)
}

// derived names what belongs to a subscription.
func derived(name string) string {
	body, fifo := cutFIFO(name)
	end := ""
	if fifo {
		end = fifoSuffix
	}
	return shorten(escape(body), end, name)
}

// cutFIFO takes ".fifo" from the end of the source in the name of a queue that
// belongs to a subscription.
func cutFIFO(name string) (string, bool) {
	source, group, end := parts(name)
	base, fifo := strings.CutSuffix(source, fifoSuffix)
	return base + group + end, fifo
}

// insertFIFO is the inverse of cutFIFO.
func insertFIFO(name string) string {
	source, group, end := parts(name)
	return source + fifoSuffix + group + end
}

// parts splits the name of a queue that belongs to a subscription: source, dashes
// with the group, and what the queue is for.
func parts(name string) (source, group, end string) {
	base := name
	if head, _, ok := strings.Cut(name, ".dlq.quarantine."); ok && broker.KindOf(name) == broker.KindQuarantine {
		base = head
	} else {
		for _, suffix := range []string{".retry", ".replay", ".dlq", groupEnd} {
			if head, ok := strings.CutSuffix(name, suffix); ok {
				base = head
				break
			}
		}
	}
	i := separator(base)
	return base[:i], base[i:], name[len(base):]
}

// separator returns where the dashes between source and group begin, the length if
// there are none. Of a longer row of dashes the last two are it, since no group
// begins with one.
func separator(base string) int {
	i := strings.Index(base, "--")
	if i < 0 {
		return len(base)
	}
	for i+2 < len(base) && base[i+2] == '-' {
		i++
	}
	return i
}

func shorten(escaped, end, name string) string {
	if len(escaped)+len(end) <= maxName {
		return escaped + end
	}
	return clipName(escaped, shortHead) + shortMark + digest(name)[:shortHash] + end
}

func clipName(s string, most int) string { return s[:min(len(s), most)] }

// legal reports whether SQS allows the name.
func legal(name string) bool {
	base := strings.TrimSuffix(name, fifoSuffix)
	if base == "" || len(name) > maxName {
		return false
	}
	for i := range len(base) {
		if !nameByte(base[i]) {
			return false
		}
	}
	return true
}

// marked reports whether a name holds what escape writes.
func marked(name string) bool {
	return strings.Contains(name, dotMark) || strings.Contains(name, underscoreMark)
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			b.WriteString(dotMark)
		case c == '_' && (strings.HasPrefix(name[i:], dotMark) || strings.HasPrefix(name[i:], underscoreMark)):
			b.WriteString(underscoreMark)
		case nameByte(c):
			b.WriteByte(c)
		default:
			b.WriteString(byteMark)
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&0xf])
		}
	}
	return b.String()
}

// unescape is the inverse of escape. It reports false for what escape did not write,
// such as a shortened name.
func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); {
		rest := s[i:]
		switch {
		case strings.HasPrefix(rest, dotMark):
			b.WriteByte('.')
			i += len(dotMark)
		case strings.HasPrefix(rest, byteMark):
			if len(rest) < len(byteMark)+2 || !isHex(rest[len(byteMark)]) || !isHex(rest[len(byteMark)+1]) {
				return "", false
			}
			b.WriteByte(unhex(rest[len(byteMark)])<<4 | unhex(rest[len(byteMark)+1]))
			i += len(byteMark) + 2
		case strings.HasPrefix(rest, underscoreMark):
			b.WriteByte('_')
			// What follows stands for itself.
			after := rest[len(underscoreMark):]
			if !strings.HasPrefix(after, dotMark[1:]) && !strings.HasPrefix(after, underscoreMark[1:]) {
				return "", false
			}
			b.WriteString(after[:2])
			i += len(underscoreMark) + 2
		default:
			b.WriteByte(rest[0])
			i++
		}
	}
	return b.String(), true
}

// logical returns the logical name of a native one, or false if it cannot be told:
// the name was shortened.
func (l layout) logical(native string) (string, bool) {
	switch native {
	case l.native(broker.QueueOutcomes):
		return broker.QueueOutcomes, true
	case l.native(broker.QueueHeartbeats):
		return broker.QueueHeartbeats, true
	}
	if !marked(native) {
		return native, true
	}
	body, fifo := strings.CutSuffix(native, fifoSuffix)
	name, ok := unescape(body)
	if !ok {
		return "", false
	}
	if source, ok := unescapeName(name); ok && broker.KindOf(source) == broker.KindSource && l.native(source) == native {
		return source, true
	}
	if fifo {
		name = insertFIFO(name)
	}
	if derived(name) != native {
		return "", false
	}
	return name, true
}

// digest is the SHA-256 of s in base32, 52 lower-case letters and digits.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}

package redrivenats

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/redrive-dev/redrive/broker"
)

const (
	// maxToken is far below the server's 255 bytes for a stream or consumer name,
	// so that prefixes fit.
	maxToken = 120
	// A shortened token is shortHead bytes, '_' and shortHash bytes.
	shortHead, shortHash = 40, 10
	hexDigits            = "0123456789abcdef"
)

// token makes a logical name into one subject token that is also a legal stream
// and consumer name. It is injective up to the strength of 50 bits of SHA-256
// for names that are too long.
func token(name string) string {
	escaped := escape(name)
	if len(escaped) <= maxToken && !looksShortened(escaped) {
		return escaped
	}
	// A name that happens to look like a shortened one is shortened too, else it
	// could be chosen to meet that of a long one.
	head := escaped[:min(shortHead, len(escaped))]
	return head + "_" + digest(name)[:shortHash]
}

// escape replaces every byte that a token cannot hold by '_' and two hexadecimal
// digits. An underscore stays as it is unless two such digits follow.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case isAlphanumeric(c), c == '-':
			b.WriteByte(c)
		case c == '_' && !(i+2 < len(name) && isHex(name[i+1]) && isHex(name[i+2])):
			b.WriteByte(c)
		default:
			b.WriteByte('_')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&0xf])
		}
	}
	return b.String()
}

// unescape is the inverse of escape. It reports false for a shortened token,
// whose name cannot be known.
func unescape(tok string) (string, bool) {
	if looksShortened(tok) {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(tok); i++ {
		if tok[i] == '_' && i+2 < len(tok) && isHex(tok[i+1]) && isHex(tok[i+2]) {
			b.WriteByte(unhex(tok[i+1])<<4 | unhex(tok[i+2]))
			i += 2
			continue
		}
		b.WriteByte(tok[i])
	}
	return b.String(), true
}

func looksShortened(tok string) bool {
	if len(tok) != shortHead+1+shortHash || tok[shortHead] != '_' {
		return false
	}
	for _, c := range []byte(tok[shortHead+1:]) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// digest is the SHA-256 of s in base32, 52 lower-case letters and digits.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}

// layout names everything that redrive keeps on a server.
type layout struct{ prefix string }

func (l layout) retryStream() string { return l.prefix + "_retry" }
func (l layout) dlqStream() string   { return l.prefix + "_dlq" }
func (l layout) markBucket() string  { return l.prefix + "_marks" }
func (l layout) inboxBucket() string { return l.prefix + "_inbox" }
func (l layout) markStream() string  { return "KV_" + l.markBucket() }

func (l layout) outcomeStream() string     { return l.prefix + "_outcomes" }
func (l layout) outcomeSubject() string    { return l.prefix + ".outcomes" }
func (l layout) heartbeatStream() string   { return l.prefix + "_heartbeats" }
func (l layout) heartbeatSubjects() string { return l.prefix + ".heartbeats.*" }

// heartbeatSubject is one subject for each key, of which the stream keeps the
// newest message.
func (l layout) heartbeatSubject(key []byte) string {
	return l.prefix + ".heartbeats." + token(string(key))
}

func (l layout) markSubject(key string) string { return "$KV." + l.markBucket() + "." + key }

func (l layout) sourceStream(queue string) string { return l.prefix + "_src_" + token(queue) }

func (l layout) groupStream(queue, group string) string {
	return l.prefix + "_grp_" + token(subscriptionName(queue, group))
}

// groupSubjects matches the subjects of all group streams of a queue.
func (l layout) groupSubjects(queue string) string { return l.prefix + ".grp." + token(queue) + ".*" }

func (l layout) groupSubject(queue, group string) string {
	return l.prefix + ".grp." + token(queue) + "." + token(group)
}

// sourceSubject is the queue's own name where NATS allows it, so that plain
// clients can publish to it.
func (l layout) sourceSubject(queue string) string {
	if publishable(queue) && !l.owns(queue) {
		return queue
	}
	return l.prefix + ".src." + token(queue)
}

// owns reports whether a subject is in the part of the subject space where
// redrive's own streams listen.
func (l layout) owns(subject string) bool {
	return subject == l.prefix || strings.HasPrefix(subject, l.prefix+".")
}

func (l layout) dlqSubject(queue string) string { return l.prefix + ".dlq." + token(queue) }

// retryToken takes the logical name of a retry queue or a replay entry: both
// lead to the same consumer.
func retryToken(queue string) string {
	if broker.KindOf(queue) == broker.KindReplay {
		queue = strings.TrimSuffix(queue, ".replay") + ".retry"
	}
	return token(queue)
}

func (l layout) retrySubject(queue string) string { return l.prefix + ".retry." + retryToken(queue) }

// scheduleSubjects matches the pending schedules of a retry queue.
func (l layout) scheduleSubjects(queue string) string {
	return l.prefix + ".sched." + retryToken(queue) + ".*"
}

// scheduleSubject is unique to a publish id: publishing a schedule again on its
// subject replaces it.
func (l layout) scheduleSubject(queue, publishID string) string {
	return l.prefix + ".sched." + retryToken(queue) + "." + digest(publishID)[:40]
}

// subscriptionName is the base of a subscription's logical names.
func subscriptionName(source, group string) string {
	return strings.TrimSuffix(broker.NamesFor(source, group).Retry, ".retry")
}

func (l layout) durable(source, group string) string {
	return l.prefix + "_" + token(subscriptionName(source, group))
}

// publishable reports whether a name is a subject that a client can publish to:
// no wildcard, no empty token, no white space or control character, and not in
// the server's own space.
func publishable(name string) bool {
	if name == "" || name[0] == '$' || strings.HasPrefix(name, "_INBOX") {
		return false
	}
	for part := range strings.SplitSeq(name, ".") {
		if part == "" || strings.ContainsAny(part, "*>") {
			return false
		}
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// legalName reports whether a stream or consumer can have the name.
func legalName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(".*>/\\", c) >= 0 {
			return false
		}
	}
	return name != "" && len(name) <= 255
}

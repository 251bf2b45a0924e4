package redriverabbitmq

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"unicode/utf8"

	"github.com/redrive-dev/redrive/broker"
)

// maxQueueName is AMQP's limit for the name of a queue, in bytes.
const maxQueueName = 255

// hashedPrefix begins the native name of every queue whose logical name RabbitMQ
// does not allow.
const hashedPrefix = "redrive~"

// nativeName maps the logical name of a queue to the name that it has on the
// broker: itself where RabbitMQ allows it, since users own the names of their
// queues, else a digest. Names that look like a digest are digested too, so that
// no two names become one.
func nativeName(queue string) string {
	if legalName(queue) {
		return queue
	}
	sum := sha256.Sum256([]byte(queue))
	digest := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
	return hashedPrefix + head(queue, 40) + "_" + digest[:26]
}

func legalName(queue string) bool {
	return queue != "" && len(queue) <= maxQueueName && utf8.ValidString(queue) &&
		!strings.HasPrefix(queue, "amq.") && !strings.HasPrefix(queue, hashedPrefix)
}

// head returns the first n characters that are safe everywhere, for people.
func head(s string, n int) string {
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < n; i++ {
		switch c := s[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '.':
			b.WriteByte(c)
		default:
			b.WriteByte('_')
		}
	}
	return b.String()
}

// queueOf returns the native name of the queue that a logical name leads to. A
// replay entry is the queue of due retries, so that a replay neither waits behind
// the source nor reaches a consumer that knows nothing of redrive.
func queueOf(queue string) string {
	if broker.KindOf(queue) == broker.KindReplay {
		queue = strings.TrimSuffix(queue, ".replay") + ".retry"
	}
	return nativeName(queue)
}

// tierQueue is the native name of a delay tier of a retry queue.
func tierQueue(retry string, t tier) string { return nativeName(retry + "." + t.name) }

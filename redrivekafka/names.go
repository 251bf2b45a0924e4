package redrivekafka

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/redrive-dev/redrive/broker"
)

const (
	// maxTopic is Kafka's limit for the name of a topic, in bytes.
	maxTopic = 249
	// escapedHead and shortHead start the topics of queues whose own names Kafka does
	// not take: the name with escapes, or what is left of one that is too long.
	escapedHead, shortHead = "redrive-x.", "redrive-s."
	// keptBytes of a name that is too long stay readable, and hashBytes tell it from
	// others, 50 bits of SHA-256.
	keptBytes, hashBytes = 40, 10
	hexDigits            = "0123456789abcdef"
)

// topicName makes the name of a queue into that of its topic. It is injective, up to
// the strength of 50 bits of SHA-256 for names that are too long. A name that Kafka
// takes is its own topic, so that topics which exist can be consumed.
func topicName(queue string) string {
	if legalTopic(queue) && !strings.HasPrefix(queue, escapedHead) && !strings.HasPrefix(queue, shortHead) {
		return queue
	}
	escaped := escape(queue)
	if len(escapedHead)+len(escaped) <= maxTopic {
		return escapedHead + escaped
	}
	sum := sha256.Sum256([]byte(queue))
	hash := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
	return shortHead + escaped[:keptBytes] + "_" + hash[:hashBytes]
}

// queueName is the inverse of topicName. It reports false for a name that was too
// long, which cannot be known.
func queueName(topic string) (string, bool) {
	switch {
	case strings.HasPrefix(topic, shortHead):
		return "", false
	case strings.HasPrefix(topic, escapedHead):
		return unescape(topic[len(escapedHead):]), true
	}
	return topic, true
}

// legalTopic says whether Kafka takes a name.
func legalTopic(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > maxTopic {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isAlphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// escape replaces every byte that a topic cannot have by '_' and two hexadecimal
// digits. An underscore stays as it is unless two such digits follow.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		ambiguous := c == '_' && i+2 < len(name) && isHex(name[i+1]) && isHex(name[i+2])
		if (isAlphanumeric(c) || c == '.' || c == '-' || c == '_') && !ambiguous {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('_')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&0xf])
	}
	return b.String()
}

func unescape(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '_' && i+2 < len(name) && isHex(name[i+1]) && isHex(name[i+2]) {
			b.WriteByte(unhex(name[i+1])<<4 | unhex(name[i+2]))
			i += 2
			continue
		}
		b.WriteByte(name[i])
	}
	return b.String()
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

// ownGroups starts the group ids that redrive makes.
const ownGroups = "redrive."

// groupID is the Kafka consumer group of a subscription's source: the group's own
// name, so that one which exists goes on where it stopped, and one made of the source
// for the default group.
func groupID(source, group string) string {
	if group == broker.DefaultGroup {
		return ownGroups + broker.EscapeName(source)
	}
	return group
}

// retryGroupID is the consumer group of a subscription's retry tiers and replay
// topic.
func retryGroupID(names broker.Names) string { return ownGroups + names.Retry }

// topics are the topics of one subscription.
type topics struct {
	source, replay, deadLetter string
	retry                      [len(tiers)]string
}

func topicsOf(names broker.Names) topics {
	t := topics{source: topicName(names.Source), replay: topicName(names.Replay), deadLetter: topicName(names.DeadLetter)}
	for i := range tiers {
		t.retry[i] = retryTopic(names.Retry, i)
	}
	return t
}

func retryTopic(queue string, tier int) string {
	return topicName(queue + "." + tiers[tier].name)
}

// tierOf tells the retry queue that a topic is a tier of, false for any other topic.
func tierOf(queue string) (retry string, ok bool) {
	for _, t := range tiers {
		if head, found := strings.CutSuffix(queue, "."+t.name); found && broker.KindOf(head) == broker.KindRetry {
			return head, true
		}
	}
	return "", false
}

package broker

import (
	"strings"

	"github.com/redrive-dev/redrive/failure"
)

// Names are the logical names of the queues of one subscription. An adapter
// maps them to what its broker allows with a function of its own.
type Names struct {
	Source, Group string
	// Retry, DeadLetter and Replay are the subscription's queues.
	Retry, DeadLetter, Replay string
}

// The names of the two queues through which workers tell the server what it
// cannot see: one of each on a broker, for all subscriptions. Both are written
// with Publish and read with Letters and Stats. Topology.Ensure creates them,
// and Open refuses to consume them.
const (
	// QueueOutcomes keeps every record until it is removed: what became of a
	// replayed message. An adapter owes it what it owes a dead-letter queue: no
	// time to live, no limit of any kind, nothing dropped to make room. It is as
	// long as the replays are many whose outcomes nobody has read yet.
	QueueOutcomes = "redrive.outcomes"
	// QueueHeartbeats keeps the newest record of each Outbound.Key: the state of
	// one worker on one subscription. Records without a key are refused. Letters
	// shows the newest of each key alone, also where the broker itself removes
	// older ones only now and then. A record that is a day old may be forgotten,
	// since there is no end to names of workers.
	QueueHeartbeats = "redrive.heartbeats"
)

// NamesFor returns the names of a subscription: <source>.retry, <source>.dlq and
// <source>.replay for the default group, <source>--<group>.retry and so on for
// any other. A "--" inside source or group is escaped, so no two
// subscriptions share a name.
func NamesFor(source, group string) Names {
	if group == "" {
		group = DefaultGroup
	}
	base := EscapeName(source)
	if group != DefaultGroup {
		base += "--" + EscapeName(group)
	}
	return Names{
		Source: source, Group: group,
		Retry:      base + ".retry",
		DeadLetter: base + ".dlq",
		Replay:     base + ".replay",
	}
}

// Quarantine returns the name of the quarantine of a category,
// <source>.dlq.quarantine.<category>.
func (n Names) Quarantine(c failure.Category) string {
	return n.DeadLetter + ".quarantine." + c.String()
}

// KindOf tells from a logical name what a queue is for: ".retry", ".dlq",
// ".replay" and ".dlq.quarantine.<category>" at the end of a name mean what
// [NamesFor] means by them, [QueueOutcomes] and [QueueHeartbeats] are themselves,
// every other name is a source.
func KindOf(queue string) QueueKind {
	switch queue {
	case QueueOutcomes:
		return KindOutcomes
	case QueueHeartbeats:
		return KindHeartbeats
	}
	if head, category, ok := strings.Cut(queue, ".dlq.quarantine."); ok && head != "" {
		if c, err := failure.ParseCategory(category); err == nil && c != failure.None {
			return KindQuarantine
		}
	}
	switch {
	case strings.HasSuffix(queue, ".retry"):
		return KindRetry
	case strings.HasSuffix(queue, ".dlq"):
		return KindDeadLetter
	case strings.HasSuffix(queue, ".replay"):
		return KindReplay
	}
	return KindSource
}

// EscapeName makes a source or group safe to be joined with "--": a dash that
// touches another dash or an end of the name becomes "_2d", and an underscore
// that two hexadecimal digits follow becomes "_5f". It is injective.
func EscapeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c == '-' && (i == 0 || i == len(name)-1 || name[i-1] == '-' || name[i+1] == '-'):
			b.WriteString("_2d")
		case c == '_' && i+2 < len(name) && isHex(name[i+1]) && isHex(name[i+2]):
			b.WriteString("_5f")
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

package redriverabbitmq

import (
	"strings"
	"time"
)

// tier is a queue in which messages wait for a fixed time.
type tier struct {
	name  string
	delay time.Duration
}

// tiers returns the delay tiers of every subscription, longest first. Any delay
// is made of them: a message goes to the longest that ends before it is due, comes
// back, and goes on. RabbitMQ's time to live for single messages would not do: a
// message leaves a queue only at its head, so that one long delay would hold up
// every shorter one behind it.
func tiers() [6]tier {
	return [6]tier{
		{"1h", time.Hour},
		{"10m", 10 * time.Minute},
		{"2m", 2 * time.Minute},
		{"30s", 30 * time.Second},
		{"5s", 5 * time.Second},
		{"1s", time.Second},
	}
}

// tierFor returns the longest tier that ends before the rest of a delay is over.
// There is none for less than a second: such a message waits in the consumer.
func tierFor(rest time.Duration) (tier, bool) {
	for _, t := range tiers() {
		if t.delay <= rest {
			return t, true
		}
	}
	return tier{}, false
}

// isTier reports whether a queue is a delay tier of the retry queue.
func isTier(queue, retry string) bool {
	for _, t := range tiers() {
		if queue == tierQueue(retry, t) {
			return true
		}
	}
	return false
}

// retryOfTier returns the logical name of the retry queue to which a queue that
// is named like a tier belongs.
func retryOfTier(queue string) (string, bool) {
	for _, t := range tiers() {
		if retry, ok := strings.CutSuffix(queue, "."+t.name); ok && strings.HasSuffix(retry, ".retry") {
			return retry, true
		}
	}
	return "", false
}

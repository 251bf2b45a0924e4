package redrivekafka

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redrive-dev/redrive/broker"
)

// The rules of topics on which a message could be lost, as broker.Spec.Accept takes
// them.
const (
	// RuleLetterRetention: a topic of letters or outcomes deletes records by age or
	// size.
	RuleLetterRetention = "kafka-dlq-retention"
	// RuleLetterCompacted: a topic of letters or outcomes is compacted: a later record
	// of a key deletes the letters of that key.
	RuleLetterCompacted = "kafka-dlq-compacted"
	// RuleLetterSize: a topic of letters takes only smaller records than the source, so
	// that a large one could never be dead-lettered.
	RuleLetterSize = "kafka-dlq-max-message"
	// RuleRetryRetention: a retry or replay topic deletes records that wait.
	RuleRetryRetention = "kafka-retry-retention"
	// RuleRetryCompacted: a retry or replay topic is compacted.
	RuleRetryCompacted = "kafka-retry-compacted"
	// RuleRetrySize: a retry or replay topic takes only smaller records than the source.
	RuleRetrySize = "kafka-retry-max-message"
	// RuleHeartbeats: the topic of heartbeats is not compacted, so that it does not
	// keep the last one of each worker.
	RuleHeartbeats = "kafka-heartbeats-not-compacted"
)

// minRetryRetention is how long a retry topic has to keep records at least, in
// milliseconds: a week, in which the longest delay and a long outage fit.
const minRetryRetention = 7 * 24 * 60 * 60 * 1000

// problems lists what is wrong with the topics of a subscription, by topic.
func problems(found map[string]topicInfo, ts topics, _ broker.Names) []broker.Problem {
	limit := found[ts.source].limit
	var out []broker.Problem
	for _, name := range slices.Sorted(maps.Keys(found)) {
		info := found[name]
		switch {
		case name == ts.source:
		case name == broker.QueueHeartbeats:
			if !strings.Contains(info.config["cleanup.policy"], "compact") {
				out = append(out, broker.Problem{Rule: RuleHeartbeats, Queue: name, What: "it is not compacted and does not keep the newest heartbeat of each worker", Remedy: "set cleanup.policy to compact,delete"})
			}
		case name == broker.QueueOutcomes:
			out = append(out, keepsAll(info, RuleLetterRetention, RuleLetterCompacted, -1)...)
		case name == ts.replay || slices.Contains(ts.retry[:], name):
			out = append(out, keepsAll(info, RuleRetryRetention, RuleRetryCompacted, minRetryRetention)...)
			out = append(out, takes(info, limit, RuleRetrySize)...)
		default:
			out = append(out, keepsAll(info, RuleLetterRetention, RuleLetterCompacted, -1)...)
			out = append(out, takes(info, limit, RuleLetterSize)...)
		}
	}
	return out
}

// keepsAll checks that a topic does not delete records. least is the shortest
// retention that does, in milliseconds, -1 for none.
func keepsAll(info topicInfo, retention, compacted string, least int64) []broker.Problem {
	var out []broker.Problem
	policy := info.config["cleanup.policy"]
	if strings.Contains(policy, "compact") {
		out = append(out, broker.Problem{Rule: compacted, Queue: info.name, What: fmt.Sprintf("cleanup.policy is %s: a record replaces earlier ones of its key", policy), Remedy: "set cleanup.policy to delete"})
	}
	if policy != "" && !strings.Contains(policy, "delete") {
		return out // Nothing is deleted by age or size.
	}
	if value := info.config["retention.ms"]; value != "" && value != "-1" {
		if ms, err := strconv.ParseInt(value, 10, 64); err != nil || least < 0 || ms < least {
			out = append(out, broker.Problem{Rule: retention, Queue: info.name, What: fmt.Sprintf("retention.ms is %s: records are deleted by age", value), Remedy: "set retention.ms to -1"})
		}
	}
	if value := info.config["retention.bytes"]; value != "" && value != "-1" {
		out = append(out, broker.Problem{Rule: retention, Queue: info.name, What: fmt.Sprintf("retention.bytes is %s: records are deleted when there are many", value), Remedy: "set retention.bytes to -1"})
	}
	return out
}

func takes(info topicInfo, limit int, rule string) []broker.Problem {
	if info.limit >= limit {
		return nil
	}
	return []broker.Problem{{
		Rule: rule, Queue: info.name,
		What:   fmt.Sprintf("max.message.bytes is %d, and that of the source %d: a large message could not be moved here", info.limit, limit),
		Remedy: fmt.Sprintf("set max.message.bytes to %d", limit),
	}}
}

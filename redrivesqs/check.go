package redrivesqs

import (
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// The rules of this broker, by which Open and Ensure refuse. broker.Spec.Accept takes
// them.
const (
	// RuleLetterRetention: a queue for letters keeps them for less than 14 days.
	RuleLetterRetention = "sqs-dlq-retention"
	// RuleLetterRedrive: a queue for letters has a redrive policy of its own, by which
	// SQS takes letters out of it.
	RuleLetterRedrive = "sqs-dlq-redrive-policy"
	// RuleLetterSize: a queue for letters takes only smaller messages than the source.
	RuleLetterSize = "sqs-dlq-message-size"
)

const (
	// leastReceives is the MaxReceiveCount below which an outage is likely to be taken
	// for poison: a message that is given back once a minute has it after an hour and a
	// half.
	leastReceives = 100
	// leastRetention is twice the longest time for which a message is retried by
	// default: what SQS deletes before is never dead-lettered.
	leastRetention = 48 * time.Hour
)

// checkLetters returns what is wrong with a queue for letters.
func checkLetters(set, source settings) []broker.Problem {
	var found []broker.Problem
	add := func(rule, what, remedy string) {
		found = append(found, broker.Problem{Rule: rule, Queue: set.queue.name, What: what, Remedy: remedy})
	}
	if set.retention > 0 && set.retention < maxRetention {
		add(RuleLetterRetention, fmt.Sprintf("keeps letters for %v only, and SQS then deletes them", set.retention),
			fmt.Sprintf("set MessageRetentionPeriod to %d", int(maxRetention/time.Second)))
	}
	if set.redrive != nil {
		add(RuleLetterRedrive, fmt.Sprintf("has a redrive policy: SQS takes a letter out of it after %d looks", set.redrive.MaxReceiveCount),
			"remove the RedrivePolicy of this queue")
	}
	if set.maxMessage > 0 && source.maxMessage > set.maxMessage {
		add(RuleLetterSize, fmt.Sprintf("takes messages of %d bytes at the most, the source takes %d", set.maxMessage, source.maxMessage),
			fmt.Sprintf("set MaximumMessageSize to %d", source.maxMessage))
	}
	return found
}

// checkSource returns what a user should know about a queue that is consumed.
func checkSource(set settings) []string {
	var found []string
	if p := set.redrive; p != nil && p.MaxReceiveCount < leastReceives {
		found = append(found, fmt.Sprintf(
			"The redrive policy of queue %s has maxReceiveCount %d: SQS itself dead-letters, with no word about why, a message that was received so often, as in a long outage. Set it to %d or more.",
			set.queue.name, p.MaxReceiveCount, leastReceives))
	}
	if set.retention > 0 && set.retention < leastRetention {
		found = append(found, fmt.Sprintf(
			"Queue %s keeps messages for %v: one that waits longer is deleted and not dead-lettered. Set MessageRetentionPeriod to %d or more.",
			set.queue.name, set.retention, int(leastRetention/time.Second)))
	}
	if set.delay > 0 {
		found = append(found, fmt.Sprintf(
			"Queue %s delays every message by %v: a retry with a delay below one second comes so much later.", set.queue.name, set.delay))
	}
	return found
}

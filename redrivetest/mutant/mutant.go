package mutant

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/idempotency"
)

// The mutants.
const (
	// AckFirst settles the source and then makes the copy: a crash, or a copy that
	// fails, between the two loses the message.
	AckFirst = "ack-first"
	// BudgetDeadLetters takes an empty retry budget for the end of the message: a
	// retry for which there is no token now becomes a letter, where it should wait.
	BudgetDeadLetters = "budget-dead-letters"
	// CountWhileOpen counts failures while the breaker is not closed or the
	// downstream is in doubt, so that an outage uses up attempts.
	CountWhileOpen = "count-while-open"
	// GroupInKey derives the idempotency key from the consumer group too: two groups
	// know one message under two keys.
	GroupInKey = "group-in-key"
	// HistoryDropped sends every retry without its envelope: each attempt is the
	// first, for ever.
	HistoryDropped = "history-dropped"
	// InboxKeepsFailed keeps the key of a failed run in the inbox: the retry is taken
	// for a duplicate and settled without an effect.
	InboxKeepsFailed = "inbox-keeps-failed"
	// ProbeCounted lets the failed probe of a half-open breaker cost an attempt.
	ProbeCounted = "probe-counted"
	// ReleaseAsCrash gives a message back without the note that explains it: the
	// next delivery takes the release for the death of a worker.
	ReleaseAsCrash = "release-as-crash"
	// TimestampedKey puts the time into every publish id and into the idempotency
	// key of every envelope: no repeat is recognised, by broker or inbox.
	TimestampedKey = "timestamped-key"
	// UnconfirmedPublish settles the source and leaves the copy in a buffer that
	// goes out with the next call. What is in the buffer dies with the process,
	// and its errors are thrown away.
	UnconfirmedPublish = "unconfirmed-publish"
)

// Names lists all mutants, sorted.
func Names() []string {
	return []string{
		AckFirst, BudgetDeadLetters, CountWhileOpen, GroupInKey, HistoryDropped,
		InboxKeepsFailed, ProbeCounted, ReleaseAsCrash, TimestampedKey, UnconfirmedPublish,
	}
}

// BrokerNames lists the mutants that Wrap knows, sorted.
func BrokerNames() []string {
	var out []string
	for _, name := range Names() {
		if _, ok := atBroker(name); ok {
			out = append(out, name)
		}
	}
	return out
}

// Parts are what a mutant can replace: the seams at which programmers make these
// mistakes. Each mutant changes one of them.
type Parts struct {
	// Broker is the broker. Required by the mutants of BrokerNames.
	Broker broker.Broker
	// Inbox is the inbox. Required by InboxKeepsFailed.
	Inbox idempotency.Store
	// Decide decides, as in the field of this name in the worker's TestConfig.
	// Default: decision.Decide.
	Decide func(*decision.Input) decision.Verdict
	// Key derives the idempotency key of a message without an envelope, as in the
	// field of this name in the worker's TestConfig. Default: idempotency.Key,
	// which does not look at the group.
	Key func(header, group string, m *broker.Message, id broker.Incarnation) (key string, ok bool)
}

// Apply returns the parts with the one that the mutant is about replaced; the
// others stay as they are, nil if they were nil. The result is for one worker:
// what a mutant remembers dies with it, as a process's memory does. The error
// says that Names does not list the name, or that the part is missing.
func Apply(name string, p Parts) (Parts, error) {
	if s, ok := atBroker(name); ok {
		if p.Broker == nil {
			return p, fmt.Errorf("mutant %s: there is no broker", name)
		}
		p.Broker = &mutated{Broker: p.Broker, name: name, settle: s}
		return p, nil
	}
	decide := p.Decide
	if decide == nil {
		decide = decision.Decide
	}
	switch name {
	case CountWhileOpen:
		p.Decide = countWhileOpen(decide)
	case ProbeCounted:
		p.Decide = probeCounted(decide)
	case BudgetDeadLetters:
		p.Decide = budgetDeadLetters(decide)
	case GroupInKey:
		p.Key = groupInKey(p.Key)
	case InboxKeepsFailed:
		if p.Inbox == nil {
			return p, fmt.Errorf("mutant %s: there is no inbox", name)
		}
		p.Inbox = keepsFailed{p.Inbox}
	default:
		return p, fmt.Errorf("unknown mutant %q: want one of %s", name, strings.Join(Names(), ", "))
	}
	return p, nil
}

// Wrap returns the mutant over b. Its copies are published to the queue that the
// outcome is about; a retry that a mutant publishes is due at once, because the
// port cannot publish with a delay. The error is a name that BrokerNames does
// not list.
func Wrap(name string, b broker.Broker) (broker.Broker, error) {
	if _, ok := atBroker(name); !ok {
		return nil, fmt.Errorf("mutant %q is not one of a broker: want one of %s", name, strings.Join(BrokerNames(), ", "))
	}
	if b == nil {
		return nil, errors.New("there is no broker to wrap")
	}
	p, err := Apply(name, Parts{Broker: b})
	return p.Broker, err
}

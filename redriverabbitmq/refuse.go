package redriverabbitmq

import (
	"context"
	"fmt"

	"github.com/redrive-dev/redrive/broker"
)

// The rules that Open and Ensure refuse a queue by. They are public: users accept
// them by name.
const (
	// RuleSourceDeliveryLimit: before 4.3 the broker counts every return against the
	// delivery limit of a quorum queue, and drops or dead-letters a message that was
	// given back too often, as in a long outage of a downstream.
	RuleSourceDeliveryLimit = "rabbitmq-source-delivery-limit"
	// RuleSourceAutoDelete: the queue is deleted with its messages when its last
	// consumer pauses.
	RuleSourceAutoDelete = "rabbitmq-source-auto-delete"
	// RuleDelayedExchange: the delayed-message plugin keeps messages on one node, does
	// not confirm their routing, and loses them with the node.
	RuleDelayedExchange = "rabbitmq-delayed-exchange"
	// RuleDeadLetterType: a classic queue loses dead letters that it confirmed.
	RuleDeadLetterType = "rabbitmq-dlq-type"
	// RuleDeadLetterLimit: looking at a letter deletes it.
	RuleDeadLetterLimit = "rabbitmq-dlq-delivery-limit"
	// RuleDeadLetterTTL: letters are deleted by age.
	RuleDeadLetterTTL = "rabbitmq-dlq-ttl"
	// RuleDeadLetterDrops: a queue that is full deletes its oldest letters.
	RuleDeadLetterDrops = "rabbitmq-dlq-drops"
	// RuleExpires: the queue is deleted with its messages when it was not used for a
	// time.
	RuleExpires = "rabbitmq-queue-expires"
	// RuleNotDurable: the queue does not survive a restart.
	RuleNotDurable = "rabbitmq-queue-not-durable"
	// RuleTierType: a classic queue loses messages when a delay ends in a crash.
	RuleTierType = "rabbitmq-tier-type"
	// RuleTierTTL: the tier does not delay by the time in its name.
	RuleTierTTL = "rabbitmq-tier-ttl"
	// RuleTierDeadLettering: what leaves the tier is not confirmed by the next queue.
	RuleTierDeadLettering = "rabbitmq-tier-dead-lettering"
	// RuleFeatureFlag: the broker cannot dead-letter with confirmation.
	RuleFeatureFlag = "rabbitmq-feature-flag"
	// RuleHeartbeats: the queue of heartbeats is no stream and cannot be read by two.
	RuleHeartbeats = "rabbitmq-heartbeats-type"
)

const declareAgain = "delete it when it is empty, and redrive makes it again"

// problems lists what is wrong with a queue.
func (b *Broker) problems(p plan, l look) []broker.Problem {
	var out []broker.Problem
	add := func(rule, what, remedy string) {
		out = append(out, broker.Problem{Rule: rule, Queue: p.name, What: what, Remedy: remedy})
	}
	if !l.seen {
		if rule, what := p.complaint(l.differs); rule != "" {
			add(rule, what, declareAgain)
		}
		return out
	}
	s := settings{l.info}
	if l.info.AutoDelete && p.role == roleSource {
		add(RuleSourceAutoDelete, "the queue is deleted with its messages when its last consumer pauses", "declare it without auto-delete")
	}
	if !l.info.Durable && p.role != roleSource {
		add(RuleNotDurable, "the queue does not survive a restart of the broker", declareAgain)
	}
	if _, ok := s.number(argExpires); ok && p.role != roleSource {
		add(RuleExpires, "the queue is deleted with its messages when it was not used for a time", "take expires out of its policy, or "+declareAgain)
	}
	switch p.role {
	case roleSource:
		b.sourceProblems(l, s, add)
	case roleRetry, roleLetters:
		b.letterProblems(l, s, add)
	case roleTier:
		tierProblems(p, l, s, add)
	case roleHeartbeats:
		if l.kind != kindStream {
			add(RuleHeartbeats, "the queue is "+l.kind+" and no stream", declareAgain)
		}
	}
	return out
}

type adder func(rule, what, remedy string)

// limit returns the delivery limit that the broker acts on, and whether there is
// one.
func (b *Broker) limit(s settings) (int64, bool) {
	limit, set := s.number(argLimit)
	switch {
	case set && limit < 0, !set && !b.server.atLeast(4, 0, 0):
		return 0, false
	case !set:
		return 20, true // The broker's default.
	}
	return limit, true
}

func (b *Broker) sourceProblems(l look, s settings, add adder) {
	if l.kind != kindQuorum || b.server.atLeast(4, 3, 0) {
		return // From 4.3 on only failures count.
	}
	if limit, ok := b.limit(s); ok && limit < enoughReturns {
		add(RuleSourceDeliveryLimit, fmt.Sprintf("the broker ends a message after %d returns, and counts those of messages that were only given back", limit),
			fmt.Sprintf("set the policy delivery-limit to %d, or to -1, on it", enoughReturns))
	}
}

func (b *Broker) letterProblems(l look, s settings, add adder) {
	if l.kind != kindQuorum {
		add(RuleDeadLetterType, "the queue is "+l.kind+", and a crash can lose what it confirmed", declareAgain+" as a quorum queue")
		return
	}
	if limit, ok := b.limit(s); ok {
		add(RuleDeadLetterLimit, fmt.Sprintf("the broker deletes a message after %d looks at it, and the first look can be one too many", limit),
			"set the policy delivery-limit to -1 on it")
	}
	if ttl, ok := s.number(argTTL); ok {
		add(RuleDeadLetterTTL, fmt.Sprintf("messages are deleted after %d ms", ttl), "take message-ttl out of its policy, or "+declareAgain)
	}
	for _, name := range []string{argLength, argBytes} {
		if _, ok := s.number(name); ok && s.text(argOverflow) != rejectPublish {
			add(RuleDeadLetterDrops, "a full queue deletes its oldest messages", "take max-length out of its policy, or set overflow to reject-publish")
			break
		}
	}
}

func tierProblems(p plan, l look, s settings, add adder) {
	if l.kind != kindQuorum {
		add(RuleTierType, "the queue is "+l.kind+", and a crash loses what leaves it", declareAgain+" as a quorum queue")
		return
	}
	if ttl, ok := s.number(argTTL); !ok || ttl != p.tier.delay.Milliseconds() {
		add(RuleTierTTL, fmt.Sprintf("messages wait for %d ms, want %d", ttl, p.tier.delay.Milliseconds()), declareAgain)
	}
	exchange, there := s.value(argExchange)
	safe := there && exchange == "" && s.text(argKey) == p.target && s.text(argStrategy) == atLeastOnce && s.text(argOverflow) == rejectPublish
	if !safe {
		add(RuleTierDeadLettering, "what leaves the queue is not confirmed by queue "+p.target+" before it is deleted", declareAgain)
	}
}

// complaint names the rule that an argument breaks which a declaration complained
// about.
func (p plan) complaint(argument string) (rule, what string) {
	what = "it exists with another " + argument
	switch {
	case argument == "" || p.role == roleSource:
		return "", ""
	case argument == "durable":
		return RuleNotDurable, what
	case argument == argExpires:
		return RuleExpires, what
	case p.role == roleHeartbeats:
		if argument != argType {
			return "", ""
		}
		return RuleHeartbeats, what
	case p.role == roleTier && argument == argType:
		return RuleTierType, what
	case p.role == roleTier && argument == argTTL:
		return RuleTierTTL, what
	case p.role == roleTier:
		return RuleTierDeadLettering, what
	case argument == argType:
		return RuleDeadLetterType, what
	case argument == argLimit:
		return RuleDeadLetterLimit, what
	case argument == argTTL:
		return RuleDeadLetterTTL, what
	case argument == argLength, argument == argBytes:
		return RuleDeadLetterDrops, what
	}
	return "", ""
}

// surroundings looks at what is around a source: what feeds it, and what the
// broker can do.
func (b *Broker) surroundings(ctx context.Context, source look) ([]broker.Problem, error) {
	if b.manage == nil {
		return nil, nil
	}
	var out []broker.Problem
	exchange, err := b.manage.delayed(ctx, source.name)
	if err != nil {
		return nil, err
	}
	if exchange != "" {
		out = append(out, broker.Problem{
			Rule: RuleDelayedExchange, Queue: source.name,
			What:   fmt.Sprintf("exchange %q delays messages with a plugin that keeps them on one node and loses them with it", exchange),
			Remedy: "let redrive delay, or RabbitMQ 4.3 itself, and bind the queue to another exchange",
		})
	}
	if b.server.atLeast(4, 0, 0) {
		return out, nil
	}
	off, err := b.manage.disabledFlag(ctx, "stream_queue")
	if err != nil {
		return nil, err
	}
	if off {
		out = append(out, broker.Problem{
			Rule: RuleFeatureFlag, Queue: source.name,
			What:   "the feature flag stream_queue is off, without which the broker dead-letters without confirmation",
			Remedy: "run rabbitmqctl enable_feature_flag stream_queue",
		})
	}
	return out, nil
}

// settings are what arguments and policies make of a queue together.
type settings struct{ info queueInfo }

// value returns a setting. An argument takes precedence over a policy.
func (s settings) value(argument string) (any, bool) {
	if v, ok := s.info.Arguments[argument]; ok {
		return v, true
	}
	v, ok := s.info.Policy[argument[len("x-"):]]
	return v, ok
}

func (s settings) text(argument string) string {
	v, _ := s.value(argument)
	text, _ := v.(string)
	return text
}

// number returns a limit: of an argument and a policy the smaller one counts, but
// for a delivery limit of which one says none.
func (s settings) number(argument string) (int64, bool) {
	a, inArgument := s.info.Arguments[argument].(float64)
	p, inPolicy := s.info.Policy[argument[len("x-"):]].(float64)
	switch {
	case inArgument && inPolicy && argument == argLimit && (a < 0 || p < 0):
		return int64(max(a, p)), true
	case inArgument && inPolicy:
		return int64(min(a, p)), true
	case inArgument:
		return int64(a), true
	}
	return int64(p), inPolicy
}

package redriverabbitmq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

// role is what a queue is for, which says how it has to be made.
type role uint8

const (
	roleSource role = iota
	// roleRetry is the queue of retries that are due.
	roleRetry
	roleTier
	// roleLetters are dead-letter queues, quarantines and the queue of outcomes.
	roleLetters
	roleHeartbeats
)

// plan is a queue that a subscription needs.
type plan struct {
	name string
	role role
	// target is where a tier leads, or where a work queue dead-letters.
	target string
	tier   tier
}

// plans lists the queues of a subscription, the source first.
func plans(names broker.Names) []plan {
	letters := nativeName(names.DeadLetter)
	out := []plan{
		{name: nativeName(names.Source), role: roleSource, target: letters},
		{name: letters, role: roleLetters},
		{name: nativeName(names.Retry), role: roleRetry, target: letters},
	}
	for _, t := range tiers() {
		out = append(out, plan{name: tierQueue(names.Retry, t), role: roleTier, target: nativeName(names.Retry), tier: t})
	}
	for _, c := range failure.Categories() {
		out = append(out, plan{name: nativeName(names.Quarantine(c)), role: roleLetters})
	}
	return out
}

// sharedPlans lists the queues that all subscriptions of a vhost share.
func sharedPlans() []plan {
	return []plan{
		{name: nativeName(broker.QueueOutcomes), role: roleLetters},
		{name: nativeName(broker.QueueHeartbeats), role: roleHeartbeats},
	}
}

// Arguments of queues.
const (
	argType         = "x-queue-type"
	argLimit        = "x-delivery-limit"
	argTTL          = "x-message-ttl"
	argExpires      = "x-expires"
	argLength       = "x-max-length"
	argBytes        = "x-max-length-bytes"
	argOverflow     = "x-overflow"
	argExchange     = "x-dead-letter-exchange"
	argKey          = "x-dead-letter-routing-key"
	argStrategy     = "x-dead-letter-strategy"
	rejectPublish   = "reject-publish"
	atLeastOnce     = "at-least-once"
	kindQuorum      = "quorum"
	kindClassic     = "classic"
	kindStream      = "stream"
	unlimited       = -1
	enoughReturns   = 1000
	heartbeatMaxAge = "1D"
)

// arguments are those with which a queue is made. A broker that counts returns
// by default is told not to act on the count: a look at a letter, or a message that
// is given back while its downstream is away, must not end it.
func (p plan) arguments(s server) amqp.Table {
	if p.role == roleHeartbeats {
		// Segments are small, so that the age is looked at now and then.
		return amqp.Table{argType: kindStream, "x-max-age": heartbeatMaxAge, "x-stream-max-segment-size-bytes": int64(1 << 20)}
	}
	t := amqp.Table{argType: kindQuorum}
	if s.atLeast(4, 0, 0) {
		t[argLimit] = int64(unlimited)
	}
	if p.role == roleLetters {
		return t
	}
	t[argExchange], t[argKey], t[argStrategy], t[argOverflow] = "", p.target, atLeastOnce, rejectPublish
	if p.role == roleTier {
		t[argTTL] = p.tier.delay.Milliseconds()
	}
	return t
}

// look is what is known of a queue.
type look struct {
	name string
	// kind is empty for a queue that does not exist.
	kind string
	// seen says that the management API showed the rest.
	seen bool
	info queueInfo
	// differs is what a declaration complained about, where nothing is seen.
	differs string
	// made says that it was made just now.
	made bool
}

func (l look) count() broker.CountKind {
	if l.kind == kindClassic {
		return broker.CountFlag
	}
	return broker.CountExact
}

// look looks at a queue without changing it.
func (b *Broker) look(ctx context.Context, name string) (look, error) {
	l := look{name: name}
	if b.manage != nil {
		info, err := b.manage.queue(ctx, name)
		if errors.Is(err, errNotFound) {
			return l, nil
		}
		l.kind, l.info, l.seen = info.Type, info, true
		return l, err
	}
	exists, err := b.exists(ctx, name)
	if err != nil || !exists {
		return l, err
	}
	// Only a queue of the type is not complained about for its type.
	for _, kind := range []string{kindQuorum, kindClassic, kindStream} {
		l.kind = kind
		differs, err := b.differs(ctx, name, amqp.Table{argType: kind})
		if err != nil {
			return l, err
		}
		if differs != argType {
			return l, nil
		}
	}
	return l, nil
}

func (b *Broker) exists(ctx context.Context, name string) (bool, error) {
	err := b.trunk.ask(ctx, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	})
	if hasCode(err, amqp.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// differs declares a queue that exists and returns the first argument that is not
// as it says, or "durable" and the like; empty if all are. The broker changes
// nothing in a queue that exists.
func (b *Broker) differs(ctx context.Context, name string, arguments amqp.Table) (string, error) {
	err := b.trunk.ask(ctx, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, arguments)
		return err
	})
	if !hasCode(err, amqp.PreconditionFailed) {
		return "", err
	}
	_, rest, _ := strings.Cut(err.Error(), "inequivalent arg '")
	argument, _, ok := strings.Cut(rest, "'")
	if !ok {
		return "", err
	}
	return argument, nil
}

// topology is the part of the Broker that reads and creates queues.
type topology struct{ b *Broker }

// Ensure creates what a subscription needs and refuses, with every problem listed,
// a queue that exists and loses messages.
func (t topology) Ensure(ctx context.Context, spec broker.Spec) error {
	spec = spec.WithDefaults()
	if _, err := t.b.ensure(ctx, spec); err != nil {
		return fmt.Errorf("queue %q for group %q: %w", spec.Source, spec.Group, err)
	}
	return nil
}

// ensure creates what is missing and says how the source counts deliveries.
func (b *Broker) ensure(ctx context.Context, spec broker.Spec) (broker.CountKind, error) {
	if kind := broker.KindOf(spec.Source); kind != broker.KindSource || spec.Source == "" {
		return 0, fmt.Errorf("%q is the name of a %s queue, which is not consumed directly: %w", spec.Source, kind, broker.ErrUnsupported)
	}
	if spec.Group != broker.DefaultGroup {
		return 0, fmt.Errorf("a queue of RabbitMQ has one group of consumers: bind another queue to the same exchange, and make that the source: %w", broker.ErrUnsupported)
	}
	names := broker.NamesFor(spec.Source, spec.Group)
	all := slices.Concat(plans(names), sharedPlans())
	looks := make([]look, len(all))
	errs := make([]error, len(all))
	var work sync.WaitGroup
	hands := make(chan struct{}, maxIdle)
	for i, p := range all {
		work.Go(func() {
			hands <- struct{}{}
			defer func() { <-hands }()
			looks[i], errs[i] = b.ensureQueue(ctx, p)
		})
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	source := looks[0]
	if source.kind == kindStream {
		return 0, fmt.Errorf("%q is a stream, which is not consumed message by message: %w", spec.Source, broker.ErrUnsupported)
	}
	var problems []broker.Problem
	for i, p := range all {
		problems = append(problems, b.problems(p, looks[i])...)
	}
	more, err := b.surroundings(ctx, source)
	if err != nil {
		return 0, err
	}
	if err := broker.Refuse(append(problems, more...), spec.Accept); err != nil {
		return 0, err
	}
	b.remember(names)
	return source.count(), b.ripen(ctx, looks)
}

// ensureQueue makes a queue if there is none, and says how it is made.
func (b *Broker) ensureQueue(ctx context.Context, p plan) (look, error) {
	made := true
	if b.manage != nil || p.role == roleSource {
		found, err := b.look(ctx, p.name)
		if err != nil || found.kind != "" {
			return found, err
		}
	} else {
		exists, err := b.exists(ctx, p.name)
		if err != nil {
			return look{}, err
		}
		made = !exists
	}
	arguments := p.arguments(b.server)
	differs, err := b.differs(ctx, p.name, arguments)
	if err != nil {
		return look{}, fmt.Errorf("declare queue %q: %w", p.name, err)
	}
	kind, _ := arguments[argType].(string)
	if differs == argType && kind == kindQuorum {
		kind = kindClassic
	}
	return look{name: p.name, kind: kind, differs: differs, made: made}, nil
}

// ripen waits until queues that were made just now survive a kill of the broker.
func (b *Broker) ripen(ctx context.Context, looks []look) error {
	if b.config.NewQueueWait <= 0 || !slices.ContainsFunc(looks, func(l look) bool { return l.made }) {
		return nil
	}
	timer := time.NewTimer(b.config.NewQueueWait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until new queues are safe: %w", context.Cause(ctx))
	}
}

func (b *Broker) remember(names broker.Names) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range []string{names.Source, names.Retry, names.DeadLetter, broker.QueueOutcomes, broker.QueueHeartbeats} {
		b.made[name] = broker.KindOf(name)
	}
	for _, c := range failure.Categories() {
		b.made[names.Quarantine(c)] = broker.KindQuarantine
	}
}

// Queues lists the queues of the vhost; without the management API those that
// were ensured through this Broker. Delay tiers are part of their retry queue and
// not listed.
func (t topology) Queues(ctx context.Context) ([]broker.Queue, error) {
	known := t.b.known()
	kinds := known
	if t.b.manage != nil {
		all, err := t.b.manage.queues(ctx)
		if err != nil {
			return nil, fmt.Errorf("list queues: %w", err)
		}
		logical := map[string]string{}
		for name := range known {
			logical[nativeName(name)] = name
		}
		kinds = map[string]broker.QueueKind{}
		for _, q := range all {
			name := q.Name
			if own, ok := logical[name]; ok {
				name = own
			}
			if _, tier := retryOfTier(name); !tier {
				kinds[name] = broker.KindOf(name)
			}
		}
	}
	out := make([]broker.Queue, 0, len(kinds))
	for name, kind := range kinds {
		q := broker.Queue{Name: name, Kind: kind}
		if _, consumed := kinds[broker.NamesFor(name, "").Retry]; consumed && kind == broker.KindSource {
			q.Groups = []string{broker.DefaultGroup}
		}
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b broker.Queue) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (b *Broker) known() map[string]broker.QueueKind {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.made)
}

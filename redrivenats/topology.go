package redrivenats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

// topology is the part of the Broker that reads and creates queues.
type topology struct{ b *Broker }

// Ensure creates what a subscription needs: the source stream if the queue has
// none, the shared streams and two durable consumers. After it made the stream
// of a further group it waits until every publisher has to know it.
func (t topology) Ensure(ctx context.Context, spec broker.Spec) error {
	spec = spec.WithDefaults()
	if _, _, err := t.b.ensure(ctx, spec, false); err != nil {
		return fmt.Errorf("queue %q for group %q: %w", spec.Source, spec.Group, err)
	}
	return nil
}

// ensure creates what is missing. With adjust, the lease of redrive's own
// consumers becomes that of the spec.
func (b *Broker) ensure(ctx context.Context, spec broker.Spec, adjust bool) (source, [2]*jetstream.ConsumerInfo, error) {
	var consumers [2]*jetstream.ConsumerInfo
	if kind := broker.KindOf(spec.Source); kind != broker.KindSource || spec.Source == "" {
		return source{}, consumers, fmt.Errorf("%q is the name of a %s queue, which is not consumed directly: %w", spec.Source, kind, broker.ErrUnsupported)
	}
	if err := b.ensureShared(ctx); err != nil {
		return source{}, consumers, err
	}
	src, err := b.ensureSource(ctx, spec.Source, spec.Group)
	if err != nil {
		return source{}, consumers, err
	}
	names := broker.NamesFor(spec.Source, spec.Group)
	own := b.consumerConfig(spec, b.layout.durable(spec.Source, spec.Group), kindSource)
	own.FilterSubject = src.filter
	if consumers[0], err = b.ensureSourceConsumer(ctx, src, own, spec, adjust); err != nil {
		return source{}, consumers, err
	}
	retry := b.consumerConfig(spec, retryToken(names.Retry), kindRetry)
	retry.FilterSubject = b.layout.retrySubject(names.Retry)
	if consumers[1], err = b.ensureConsumer(ctx, b.layout.retryStream(), retry, adjust); err != nil {
		return source{}, consumers, err
	}
	return src, consumers, nil
}

func (b *Broker) consumerConfig(spec broker.Spec, durable, kind string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: durable, Name: durable,
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: spec.Lease, MaxDeliver: -1, MaxAckPending: b.config.MaxAckPending,
		Metadata: map[string]string{metaKind: kind, metaQueue: spec.Source, metaGroup: spec.Group},
	}
}

// ensureSource finds or makes the stream that a subscription consumes.
func (b *Broker) ensureSource(ctx context.Context, queue, group string) (source, error) {
	src, err := b.source(ctx, queue, group)
	if err == nil {
		if src.owned {
			info, err := b.streamInfo(ctx, src.stream)
			if err != nil {
				return source{}, err
			}
			return src, errors.Join(append(checkSource(info.Config), b.checkReplicas(info.Config)...)...)
		}
		return src, nil
	}
	if !errors.Is(err, broker.ErrUnroutable) {
		return source{}, err
	}
	info, err := b.ensureStream(ctx, b.sourceConfig(queue, group))
	if err != nil {
		return source{}, err
	}
	b.routes.forget(queue)
	if group == broker.DefaultGroup {
		return ownSource(info, queue), nil
	}
	timer := time.NewTimer(routeLife)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ownSource(info, queue), nil
	case <-ctx.Done():
		return source{}, context.Cause(ctx)
	}
}

// ensureSourceConsumer uses a durable of the user's that has the name of the
// group, on a stream of the user's, or else redrive's own.
func (b *Broker) ensureSourceConsumer(ctx context.Context, src source, own jetstream.ConsumerConfig, spec broker.Spec, adjust bool) (*jetstream.ConsumerInfo, error) {
	if src.owned || !legalName(spec.Group) {
		return b.ensureConsumer(ctx, src.stream, own, adjust)
	}
	theirs, err := b.consumerInfo(ctx, src.stream, spec.Group)
	if hasCode(err, codeConsumerNotFound) {
		return b.ensureConsumer(ctx, src.stream, own, adjust)
	}
	if err != nil {
		return nil, err
	}
	return theirs, errors.Join(checkConsumer(theirs.Config)...)
}

func (b *Broker) consumerInfo(ctx context.Context, stream, name string) (*jetstream.ConsumerInfo, error) {
	var info jetstream.ConsumerInfo
	if err := b.req.api(ctx, "CONSUMER.INFO."+stream+"."+name, struct{}{}, &info); err != nil {
		return nil, fmt.Errorf("consumer %s of stream %s: %w", name, stream, err)
	}
	return &info, nil
}

func (b *Broker) ensureConsumer(ctx context.Context, stream string, config jetstream.ConsumerConfig, adjust bool) (*jetstream.ConsumerInfo, error) {
	info, err := b.consumerInfo(ctx, stream, config.Durable)
	switch {
	case hasCode(err, codeConsumerNotFound):
		return b.createConsumer(ctx, stream, config)
	case err != nil:
		return nil, err
	}
	if found := checkConsumer(info.Config); len(found) > 0 {
		return nil, errors.Join(found...)
	}
	if !adjust || info.Config.AckWait == config.AckWait {
		return info, nil
	}
	changed := info.Config
	changed.AckWait = config.AckWait
	consumer, err := b.js.UpdateConsumer(ctx, stream, changed)
	if err != nil {
		return nil, fmt.Errorf("set the lease of consumer %s of stream %s: %w", config.Durable, stream, err)
	}
	return consumer.CachedInfo(), nil
}

func (b *Broker) createConsumer(ctx context.Context, stream string, config jetstream.ConsumerConfig) (*jetstream.ConsumerInfo, error) {
	consumer, err := b.js.CreateOrUpdateConsumer(ctx, stream, config)
	if hasCode(err, codeWorkQueueTaken) {
		return nil, fmt.Errorf("stream %s is a work queue that another consumer reads: use that consumer's name as the group, or a stream with another retention: %w", stream, err)
	}
	if err != nil {
		return nil, fmt.Errorf("create consumer %s of stream %s: %w", config.Durable, stream, err)
	}
	return consumer.CachedInfo(), nil
}

// Queues lists sources, retry queues, dead-letter queues and quarantines. A
// queue for letters is listed if its subscription is known or it has letters.
func (t topology) Queues(ctx context.Context) ([]broker.Queue, error) {
	found := inventory{}
	list := t.b.js.ListStreams(ctx)
	var streams []*jetstream.StreamInfo
	for info := range list.Info() {
		streams = append(streams, info)
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	for _, info := range streams {
		if err := t.b.inventoryStream(ctx, info, found); err != nil {
			return nil, err
		}
	}
	return found.queues(), nil
}

// inventory collects the groups of each queue.
type inventory map[string]map[string]bool

func (v inventory) add(queue, group string) {
	if v[queue] == nil {
		v[queue] = map[string]bool{}
	}
	if group != "" {
		v[queue][group] = true
	}
}

func (v inventory) subscription(source, group string) {
	names := broker.NamesFor(source, group)
	v.add(source, group)
	v.add(names.Retry, group)
	v.add(names.DeadLetter, "")
	for _, c := range failure.Categories() {
		v.add(names.Quarantine(c), "")
	}
}

func (v inventory) queues() []broker.Queue {
	out := make([]broker.Queue, 0, len(v))
	for _, name := range slices.Sorted(maps.Keys(v)) {
		out = append(out, broker.Queue{Name: name, Kind: broker.KindOf(name), Groups: slices.Sorted(maps.Keys(v[name]))})
	}
	return out
}

func (b *Broker) inventoryStream(ctx context.Context, info *jetstream.StreamInfo, found inventory) error {
	c := info.Config
	switch {
	case c.Name == b.layout.dlqStream():
		return b.inventoryLetters(ctx, found)
	case c.Name == b.layout.retryStream():
		return b.inventoryConsumers(ctx, c.Name, found)
	case c.Name == b.layout.outcomeStream():
		found.add(broker.QueueOutcomes, "")
		return nil
	case c.Name == b.layout.heartbeatStream():
		found.add(broker.QueueHeartbeats, "")
		return nil
	case c.Metadata[metaKind] == kindSource:
		if strings.HasPrefix(c.Name, b.layout.prefix+"_") {
			found.add(c.Metadata[metaQueue], c.Metadata[metaGroup])
		}
		return nil
	case c.Metadata[metaKind] != "", strings.HasPrefix(c.Name, "KV_"), strings.HasPrefix(c.Name, "OBJ_"):
		return nil
	}
	before := len(found)
	if err := b.inventoryConsumers(ctx, c.Name, found); err != nil {
		return err
	}
	if len(found) == before {
		name := c.Name
		if len(c.Subjects) == 1 && publishable(c.Subjects[0]) {
			name = c.Subjects[0]
		}
		found.add(name, "")
	}
	return nil
}

// inventoryConsumers finds the subscriptions that redrive's consumers serve.
func (b *Broker) inventoryConsumers(ctx context.Context, stream string, found inventory) error {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	list := s.ListConsumers(ctx)
	for info := range list.Info() {
		if m := info.Config.Metadata; m[metaQueue] != "" && strings.HasPrefix(info.Name, b.consumerPrefix(m[metaKind])) {
			found.subscription(m[metaQueue], m[metaGroup])
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return fmt.Errorf("list the consumers of stream %s: %w", stream, err)
	}
	return nil
}

// consumerPrefix tells redrive's consumers under this prefix from those under
// another; the retry stream has only its own.
func (b *Broker) consumerPrefix(kind string) string {
	if kind == kindRetry {
		return ""
	}
	return b.layout.prefix + "_"
}

// inventoryLetters finds the queues that have letters.
func (b *Broker) inventoryLetters(ctx context.Context, found inventory) error {
	stream, err := b.js.Stream(ctx, b.layout.dlqStream())
	if err != nil {
		return fmt.Errorf("stream %s: %w", b.layout.dlqStream(), err)
	}
	head := b.layout.prefix + ".dlq."
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(head+">"))
	if err != nil {
		return fmt.Errorf("subjects of stream %s: %w", b.layout.dlqStream(), err)
	}
	for subject := range info.State.Subjects {
		name, ok := unescape(strings.TrimPrefix(subject, head))
		if !ok {
			name = b.longName(ctx, subject)
		}
		if name != "" {
			found.add(name, "")
		}
	}
	return nil
}

// longName reads the name that a subject had to shorten from one of its letters.
func (b *Broker) longName(ctx context.Context, subject string) string {
	first, err := b.getMessage(ctx, b.layout.dlqStream(), getRequest{Seq: 1, NextFor: subject})
	if err != nil {
		return ""
	}
	return decode(stored{header: first.header, ours: true, subjectKnown: true}).queue
}

package redrivekafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

// topology is the part of the Broker that reads and creates queues.
type topology struct{ b *Broker }

// Ensure creates the topics that a subscription needs. What exists is not altered,
// and refused if a message could be lost on it.
func (t topology) Ensure(ctx context.Context, spec broker.Spec) error {
	spec = spec.WithDefaults()
	if _, err := t.b.ensure(ctx, spec); err != nil {
		return fmt.Errorf("queue %q for group %q: %w", spec.Source, spec.Group, err)
	}
	return nil
}

// ensure creates what is missing and returns all topics of the subscription.
func (b *Broker) ensure(ctx context.Context, spec broker.Spec) (map[string]topicInfo, error) {
	if err := checkNames(spec); err != nil {
		return nil, err
	}
	names := broker.NamesFor(spec.Source, spec.Group)
	ts := topicsOf(names)
	wanted := append([]string{ts.source, ts.replay, ts.deadLetter, broker.QueueOutcomes, broker.QueueHeartbeats}, ts.retry[:]...)
	for _, c := range failure.Categories() {
		wanted = append(wanted, topicName(names.Quarantine(c)))
	}
	found, err := b.topics.load(ctx, wanted...)
	if err != nil {
		return nil, err
	}
	if _, ok := found[ts.source]; !ok {
		if err := b.createTopics(ctx, []string{ts.source}, int32(b.config.Partitions), nil); err != nil {
			return nil, err
		}
		if found, err = b.awaitTopics(ctx, wanted, ts.source); err != nil {
			return nil, err
		}
	}
	source := found[ts.source]
	missing := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { _, ok := found[name]; return ok })
	if len(missing) > 0 {
		if err := b.createOwn(ctx, missing, source); err != nil {
			return nil, err
		}
		if found, err = b.awaitTopics(ctx, wanted, wanted...); err != nil {
			return nil, err
		}
	}
	return found, broker.Refuse(problems(found, ts, names), spec.Accept)
}

// awaitTopics waits until the cluster shows topics that it has made.
func (b *Broker) awaitTopics(ctx context.Context, wanted []string, made ...string) (map[string]topicInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, max(b.config.PublishTimeout, time.Minute))
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		found, err := b.topics.load(ctx, wanted...)
		if err != nil && !transient(err) {
			return nil, err
		}
		missing := slices.IndexFunc(made, func(name string) bool {
			info, ok := found[name]
			return !ok || info.partitions == 0
		})
		if err == nil && missing < 0 {
			return found, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("topic %s was made and is not there yet", made[missing])
			}
			return nil, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}

// checkNames refuses what is not the name of a source, and names that would meet
// those of others.
func checkNames(spec broker.Spec) error {
	if kind := broker.KindOf(spec.Source); kind != broker.KindSource || spec.Source == "" {
		return fmt.Errorf("%q is the name of a %s queue, which is not consumed directly: %w", spec.Source, kind, broker.ErrUnsupported)
	}
	if retry, ok := tierOf(spec.Source); ok {
		return fmt.Errorf("%q is the name of a topic of the retry queue %q, which is not consumed directly: %w", spec.Source, retry, broker.ErrUnsupported)
	}
	if strings.HasPrefix(spec.Group, ownGroups) {
		return fmt.Errorf("group %q: names that start with %q are those of redrive's own groups: %w", spec.Group, ownGroups, broker.ErrUnsupported)
	}
	return nil
}

// createOwn creates topics of redrive's own.
func (b *Broker) createOwn(ctx context.Context, names []string, source topicInfo) error {
	forever := map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
	copies := maps.Clone(forever)
	copies["max.message.bytes"] = strconv.Itoa(source.limit)
	newest := map[string]string{"cleanup.policy": "compact,delete", "retention.ms": strconv.Itoa(24 * 60 * 60 * 1000)}
	var own []string
	for _, name := range names {
		var err error
		switch name {
		case broker.QueueOutcomes:
			err = b.createTopics(ctx, []string{name}, 1, forever)
		case broker.QueueHeartbeats:
			err = b.createTopics(ctx, []string{name}, 1, newest)
		default:
			own = append(own, name)
		}
		if err != nil {
			return err
		}
	}
	return b.createTopics(ctx, own, source.partitions, copies)
}

// createTopics creates topics of one shape. One that exists is left alone.
func (b *Broker) createTopics(ctx context.Context, names []string, partitions int32, config map[string]string) error {
	if len(names) == 0 {
		return nil
	}
	settings := map[string]*string{}
	for key, value := range config {
		settings[key] = &value
	}
	if b.config.MinInSyncReplicas > 0 {
		settings["min.insync.replicas"] = new(strconv.Itoa(b.config.MinInSyncReplicas))
	}
	answers, err := b.admin.CreateTopics(ctx, partitions, int16(b.config.Replicas), settings, names...)
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	var errs []error
	for _, a := range answers.Sorted() {
		if a.Err != nil && !errors.Is(a.Err, kerr.TopicAlreadyExists) {
			errs = append(errs, fmt.Errorf("create topic %s: %w %s", a.Topic, a.Err, a.ErrMessage))
		}
	}
	return errors.Join(errs...)
}

// Queues lists the queues that have a topic. A retry queue is listed once for all of
// its topics.
func (t topology) Queues(ctx context.Context) ([]broker.Queue, error) {
	details, err := t.b.topicNames(ctx)
	if err != nil {
		return nil, err
	}
	groups := map[string]map[string]bool{}
	for _, topic := range details {
		name, ok := queueName(topic)
		if !ok {
			continue
		}
		if retry, ok := tierOf(name); ok {
			name = retry
		}
		if groups[name] == nil {
			groups[name] = map[string]bool{}
		}
	}
	addGroups(groups)
	out := make([]broker.Queue, 0, len(groups))
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		out = append(out, broker.Queue{Name: name, Kind: broker.KindOf(name), Groups: slices.Sorted(maps.Keys(groups[name]))})
	}
	return out, nil
}

// topicNames lists all topics but the cluster's own.
func (b *Broker) topicNames(ctx context.Context) ([]string, error) {
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = nil // All.
	response, err := request.RequestWith(ctx, b.producer)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	var out []string
	for _, t := range response.Topics {
		if t.Topic != nil && !t.IsInternal {
			out = append(out, *t.Topic)
		}
	}
	return out, nil
}

// addGroups finds the consumer groups of each queue by the replay topics, which
// every subscription has.
func addGroups(queues map[string]map[string]bool) {
	var replays []string
	for name := range queues {
		if broker.KindOf(name) == broker.KindReplay {
			replays = append(replays, name)
		}
	}
	for _, replay := range replays {
		base := strings.TrimSuffix(replay, ".replay")
		source, group, found := cutSubscription(base)
		if !found {
			continue
		}
		if queues[source] == nil {
			continue // Its source is gone.
		}
		queues[source][group] = true
		if retry := queues[base+".retry"]; retry != nil {
			retry[group] = true
		}
	}
}

// cutSubscription is the inverse of what broker.NamesFor starts names with.
func cutSubscription(base string) (source, group string, ok bool) {
	source, group, further := strings.Cut(base, "--")
	if !further {
		group = broker.DefaultGroup
	}
	source, group = unescapeName(source), unescapeName(group)
	start := broker.NamesFor(source, group)
	return source, group, start.Replay == base+".replay"
}

// unescapeName is the inverse of broker.EscapeName.
func unescapeName(name string) string {
	return strings.NewReplacer("_2d", "-", "_5f", "_").Replace(name)
}

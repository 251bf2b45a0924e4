package redrivesqs

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

type topology struct{ b *Broker }

// heartbeatRetention is how long a heartbeat is kept.
const heartbeatRetention = 24 * time.Hour

// Ensure creates the queues that are missing and refuses those on which letters
// could be lost.
func (t topology) Ensure(ctx context.Context, spec broker.Spec) error {
	_, err := t.b.ensure(ctx, spec.WithDefaults())
	if err != nil {
		return fmt.Errorf("ensure the queues of %q for group %q: %w", spec.Source, spec.Group, err)
	}
	return nil
}

// wanted is a queue that a subscription needs.
type wanted struct {
	logical, native string
	letters         bool
	retention       time.Duration
	group           string
}

func (b *Broker) wanted(spec broker.Spec) []wanted {
	names := broker.NamesFor(spec.Source, spec.Group)
	list := []wanted{{logical: spec.Source, native: b.layout.native(spec.Source), retention: maxRetention}}
	if spec.Group != broker.DefaultGroup {
		list = append(list, wanted{logical: spec.Source, native: b.layout.group(spec.Source, spec.Group), retention: maxRetention, group: spec.Group})
	}
	letters := []string{names.DeadLetter, broker.QueueOutcomes}
	for _, c := range failure.Categories() {
		letters = append(letters, names.Quarantine(c))
	}
	for _, name := range letters {
		list = append(list, wanted{logical: name, native: b.layout.native(name), letters: true, retention: maxRetention})
	}
	return append(list, wanted{logical: broker.QueueHeartbeats, native: b.layout.native(broker.QueueHeartbeats), retention: heartbeatRetention})
}

// ensure returns the settings of the queue that the subscription consumes.
func (b *Broker) ensure(ctx context.Context, spec broker.Spec) (settings, error) {
	if err := consumable(spec.Source); err != nil {
		return settings{}, err
	}
	list := b.wanted(spec)
	found := make([]settings, len(list))
	made := make([]bool, len(list))
	errs := make([]error, len(list))
	var all sync.WaitGroup
	for i, w := range list {
		all.Go(func() {
			var q queue
			if q, made[i], errs[i] = b.make(ctx, w); errs[i] == nil {
				found[i], errs[i] = b.settings(ctx, q)
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return settings{}, err
	}
	source := found[0]
	if spec.Group != broker.DefaultGroup {
		source = found[1]
	}
	var problems []broker.Problem
	for i, w := range list {
		if w.letters {
			problems = append(problems, checkLetters(found[i], source)...)
		}
	}
	if err := broker.Refuse(problems, spec.Accept); err != nil {
		return settings{}, err
	}
	b.warn(ctx, source.queue.name, checkSource(source))
	if spec.Group != broker.DefaultGroup && made[1] {
		return source, pass(ctx, routeLife)
	}
	return source, nil
}

// consumable refuses queues that others have to read.
func consumable(source string) error {
	switch broker.KindOf(source) {
	case broker.KindSource, broker.KindDeadLetter, broker.KindQuarantine:
		return nil
	case broker.KindOutcomes, broker.KindHeartbeats, broker.KindRetry, broker.KindReplay:
	}
	return fmt.Errorf("queue %q cannot be consumed as a source", source)
}

// pass lets time pass.
func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return cause(ctx)
	}
}

// make finds or creates a queue, and says whether it created it.
func (b *Broker) make(ctx context.Context, w wanted) (queue, bool, error) {
	q, err := b.look(ctx, w.native)
	if err == nil || !errors.Is(err, broker.ErrUnroutable) {
		return q, false, err
	}
	in := &sqs.CreateQueueInput{QueueName: aws.String(w.native), Attributes: map[string]string{
		string(types.QueueAttributeNameMessageRetentionPeriod): strconv.Itoa(int(w.retention / time.Second)),
	}, Tags: w.tags()}
	if strings.HasSuffix(w.native, fifoSuffix) {
		in.Attributes[string(types.QueueAttributeNameFifoQueue)] = "true"
	}
	now := time.Now()
	asking, cancel := b.briefly(ctx)
	defer cancel()
	out, err := b.api.CreateQueue(asking, in)
	if err == nil {
		return b.remember(queue{name: w.native, url: aws.ToString(out.QueueUrl), fifo: strings.HasSuffix(w.native, fifoSuffix)}, now), true, nil
	}
	// Somebody else may have been faster, with other attributes.
	if q, lookErr := b.look(ctx, w.native); lookErr == nil {
		return q, false, nil
	}
	return queue{}, false, fmt.Errorf("create queue %q: %w", w.native, err)
}

// tags name a queue whose own name cannot tell.
func (w wanted) tags() map[string]string {
	tags := map[string]string{}
	if !strings.Contains(w.native, shortMark) {
		return nil
	}
	if name := base64.RawURLEncoding.EncodeToString([]byte(w.logical)); len(name) <= maxTag && w.group == "" {
		tags[tagName] = name
	}
	if group := base64.RawURLEncoding.EncodeToString([]byte(w.group)); len(group) <= maxTag && w.group != "" {
		tags[tagGroup] = group
	}
	return tags
}

// Queues lists the queues of the account and region. A retry queue is listed for each
// subscription that has a dead-letter queue: its messages wait in the source.
func (t topology) Queues(ctx context.Context) ([]broker.Queue, error) {
	urls, err := t.b.list(ctx, "")
	if err != nil {
		return nil, err
	}
	found := inventory{}
	for _, url := range urls {
		q := queueAt(url)
		name, ok := t.b.layout.logical(q.name)
		if !ok {
			if name, err = t.b.tag(ctx, q, tagName); err != nil {
				return nil, err
			}
		}
		if name != "" && t.b.layout.native(name) == q.name {
			found.add(name)
		}
	}
	return found.queues(), nil
}

// inventory collects the groups of each queue.
type inventory map[string]map[string]bool

func (v inventory) group(queue, group string) {
	if v[queue] == nil {
		v[queue] = map[string]bool{}
	}
	if group != "" {
		v[queue][group] = true
	}
}

// add books a queue that exists, and what it says about its subscription.
func (v inventory) add(name string) {
	if strings.HasSuffix(name, groupEnd) && strings.Contains(name, "--") {
		return // Part of its source.
	}
	v.group(name, "")
	base, ok := strings.CutSuffix(name, ".dlq")
	if !ok || broker.KindOf(name) != broker.KindDeadLetter {
		return
	}
	source, group, ok := subscriptionOf(base)
	if !ok {
		return
	}
	v.group(source, group)
	v.group(base+".retry", group)
}

func (v inventory) queues() []broker.Queue {
	out := make([]broker.Queue, 0, len(v))
	for _, name := range slices.Sorted(maps.Keys(v)) {
		out = append(out, broker.Queue{Name: name, Kind: broker.KindOf(name), Groups: slices.Sorted(maps.Keys(v[name]))})
	}
	return out
}

// Stats reads the depth of a queue. SQS tells estimates. What waits for its retry in
// a standard source is counted in its retry queue.
func (b *Broker) Stats(ctx context.Context, name string) (broker.Stats, error) {
	at := time.Now()
	q, err := b.queue(ctx, b.layout.native(name))
	if err != nil {
		return broker.Stats{}, err
	}
	set, err := b.settings(ctx, q)
	if err != nil {
		return broker.Stats{}, err
	}
	st := broker.Stats{AsOf: at}
	switch kind := broker.KindOf(name); kind {
	case broker.KindRetry:
		st.Delayed = set.delayed
	case broker.KindReplay:
	case broker.KindSource:
		st.Ready, st.InFlight = set.ready, set.hidden
		if q.fifo {
			st.Delayed = set.delayed
		}
	case broker.KindDeadLetter, broker.KindQuarantine, broker.KindOutcomes, broker.KindHeartbeats:
		st.Ready, st.InFlight, st.Delayed = set.ready, set.hidden, set.delayed
	}
	return st, nil
}

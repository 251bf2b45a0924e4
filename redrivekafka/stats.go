package redrivekafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/redrive-dev/redrive/broker"
)

// Stats reads depth and age. What has been settled of a queue that is consumed is told
// by the offsets of its group, and of a source by those of the group that is farthest
// behind. Offsets without records, such as those of transactions, are counted too, so
// that the depth is an estimate.
func (b *Broker) Stats(ctx context.Context, queue string) (broker.Stats, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	st, err := b.stats(ctx, queue)
	if err != nil {
		return broker.Stats{}, fmt.Errorf("stats of queue %q: %w", queue, err)
	}
	return st, nil
}

func (b *Broker) stats(ctx context.Context, queue string) (broker.Stats, error) {
	st := broker.Stats{AsOf: time.Now()}
	infos, err := b.topics.load(ctx, queueTopics(queue)...)
	if err != nil {
		return st, err
	}
	if len(infos) == 0 {
		return st, fmt.Errorf("topic %s does not exist: %w", queueTopics(queue)[0], broker.ErrUnroutable)
	}
	exist := slices.Sorted(maps.Keys(infos))
	starts, ends, err := b.offsets(ctx, exist...)
	if err != nil {
		return st, err
	}
	groups, err := b.consumers(ctx, queue)
	if err != nil {
		return st, err
	}
	depth, first := int64(0), true // first says that the oldest record of a topic counts.
	for p, end := range ends {
		depth += end - starts[p]
	}
	if len(groups) > 0 {
		depth = 0
	}
	for _, group := range groups {
		lag, untouched, err := b.lag(ctx, group, starts, ends)
		if err != nil {
			return st, err
		}
		depth, first = max(depth, lag), first && untouched
	}
	if broker.KindOf(queue) == broker.KindRetry {
		st.Delayed = depth
	} else {
		st.Ready = depth
	}
	if depth > 0 && first {
		st.Oldest, err = b.oldest(ctx, exist)
	}
	return st, err
}

// consumers are the Kafka groups whose offsets tell what of a queue is settled.
func (b *Broker) consumers(ctx context.Context, queue string) ([]string, error) {
	switch broker.KindOf(queue) {
	case broker.KindSource:
		all, err := b.topicNames(ctx)
		if err != nil {
			return nil, err
		}
		var out []string
		for _, topic := range all {
			name, _ := queueName(topic)
			base, ok := strings.CutSuffix(name, ".replay")
			if !ok {
				continue
			}
			if source, group, ok := cutSubscription(base); ok && source == queue {
				out = append(out, groupID(source, group))
			}
		}
		return out, nil
	case broker.KindRetry, broker.KindReplay:
		base := strings.TrimSuffix(strings.TrimSuffix(queue, ".retry"), ".replay")
		if source, group, ok := cutSubscription(base); ok {
			return []string{retryGroupID(broker.NamesFor(source, group))}, nil
		}
	case broker.KindDeadLetter, broker.KindQuarantine, broker.KindOutcomes, broker.KindHeartbeats:
	}
	return nil, nil
}

// lag counts what a group has not settled. untouched says that it has settled
// nothing.
func (b *Broker) lag(ctx context.Context, group string, starts, ends map[place]int64) (lag int64, untouched bool, err error) {
	offsets, err := b.admin.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return 0, false, fmt.Errorf("offsets of group %s: %w", group, err)
	}
	untouched = true
	for p, end := range ends {
		from := starts[p]
		o, ok := offsets.Lookup(p.topic, p.id)
		if ok && o.Err != nil {
			return 0, false, fmt.Errorf("offsets of group %s: %w", group, o.Err)
		}
		if ok && o.At > from {
			from, untouched = o.At, false
		}
		lag += max(end-from, 0)
		if ok {
			lag -= settledBeyond(o, end)
		}
	}
	return max(lag, 0), untouched, nil
}

// settledBeyond counts what a note says is settled beyond its offset.
func settledBeyond(o kadm.OffsetResponse, end int64) (n int64) {
	noted, err := decodeNote(o.At, o.Metadata)
	if err != nil {
		return 0
	}
	for _, r := range noted.finished {
		n += max(min(r.to, end)-r.from, 0)
	}
	return n
}

// oldest is the time of the first record of the topics, zero if there is none.
func (b *Broker) oldest(ctx context.Context, topics []string) (time.Time, error) {
	first, err := b.admin.ListOffsetsAfterMilli(ctx, 0, topics...)
	if err == nil {
		err = first.Error()
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("first times: %w", err)
	}
	var oldest time.Time
	for _, ps := range first {
		for _, o := range ps {
			if o.Timestamp < 0 {
				continue
			}
			if at := time.UnixMilli(o.Timestamp); oldest.IsZero() || at.Before(oldest) {
				oldest = at
			}
		}
	}
	return oldest, nil
}

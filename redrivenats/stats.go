package redrivenats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

// Stats reads depth and age. The counts are exact at the time of reading, and may
// be a moment old where streams have replicas; that a queue is empty is certain.
func (b *Broker) Stats(ctx context.Context, queue string) (broker.Stats, error) {
	if !b.nc.IsConnected() {
		return broker.Stats{}, b.req.notConnected()
	}
	// With replicas a count may be that of one which is a moment behind.
	stats := broker.Stats{AsOf: time.Now(), Exact: b.config.Replicas == 1}
	var err error
	switch broker.KindOf(queue) {
	case broker.KindRetry, broker.KindReplay:
		err = b.retryStats(ctx, queue, &stats)
	case broker.KindDeadLetter, broker.KindQuarantine:
		stats.Ready, err = b.count(ctx, b.layout.dlqStream(), b.layout.dlqSubject(queue), &stats.Oldest)
	case broker.KindOutcomes:
		stats.Ready, err = b.count(ctx, b.layout.outcomeStream(), b.layout.outcomeSubject(), &stats.Oldest)
	case broker.KindHeartbeats:
		stats.Ready, err = b.count(ctx, b.layout.heartbeatStream(), b.layout.heartbeatSubjects(), &stats.Oldest)
	case broker.KindSource:
		err = b.sourceStats(ctx, queue, &stats)
	}
	if err != nil {
		return broker.Stats{}, fmt.Errorf("stats of queue %q: %w", queue, err)
	}
	return stats, nil
}

// count counts the messages of a subject and finds the time of the oldest, in
// one request. A stream that does not exist is empty.
func (b *Broker) count(ctx context.Context, stream, subject string, oldest *time.Time) (int64, error) {
	if b.level < levelBatches {
		return b.countPlainly(ctx, stream, subject, oldest)
	}
	read, err := b.getBatch(ctx, stream, getRequest{Seq: 1, NextFor: subject, Batch: 1})
	if errors.Is(err, errNoResponders) {
		_, err = b.streamInfo(ctx, stream)
		if hasCode(err, codeStreamNotFound) {
			return 0, nil
		}
		return 0, errors.Join(errNoResponders, err)
	}
	if err != nil {
		return 0, err
	}
	if read.unreadable {
		return 0, errors.New("the oldest message has headers that cannot be read")
	}
	if len(read.messages) == 0 {
		// A replica may have answered that has not heard of the newest messages.
		// That a queue is empty is for its leader to say.
		return b.countPlainly(ctx, stream, subject, oldest)
	}
	if at := read.messages[0].time; oldest.IsZero() || at.Before(*oldest) {
		*oldest = at
	}
	return int64(read.pending) + 1, nil
}

// countPlainly does the same with two requests, for servers that read no batches.
func (b *Broker) countPlainly(ctx context.Context, stream, subject string, oldest *time.Time) (int64, error) {
	s, err := b.js.Stream(ctx, stream)
	if hasCode(err, codeStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", stream, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, fmt.Errorf("subjects of stream %s: %w", stream, err)
	}
	total := int64(0)
	for _, n := range info.State.Subjects {
		total += int64(n)
	}
	if total == 0 {
		return 0, nil
	}
	first, err := b.getMessage(ctx, stream, getRequest{Seq: 1, NextFor: subject})
	switch {
	case errors.Is(err, broker.ErrGone):
		return total, nil
	case err != nil:
		return 0, err
	}
	if oldest.IsZero() || first.time.Before(*oldest) {
		*oldest = first.time
	}
	return total, nil
}

func (b *Broker) retryStats(ctx context.Context, queue string, stats *broker.Stats) error {
	stream := b.layout.retryStream()
	var err error
	if stats.Delayed, err = b.count(ctx, stream, b.layout.scheduleSubjects(queue), &stats.Oldest); err != nil {
		return err
	}
	due, err := b.count(ctx, stream, b.layout.retrySubject(queue), &stats.Oldest)
	if err != nil {
		return err
	}
	info, err := b.consumerInfo(ctx, stream, retryToken(queue))
	switch {
	case err == nil:
		stats.InFlight = int64(info.NumAckPending)
	case !hasCode(err, codeConsumerNotFound, codeStreamNotFound):
		return err
	}
	stats.Ready = max(due-stats.InFlight, 0)
	if b.naks.Load() && stats.InFlight > 0 {
		// The server does not tell those that wait from those that are handled. What
		// this process has in hand is known.
		held := min(b.heldOf(retryToken(queue)), stats.InFlight)
		stats.Delayed += stats.InFlight - held
		stats.InFlight, stats.Exact = held, false
	}
	return nil
}

// heldOf counts the retries that this process has in hand.
func (b *Broker) heldOf(consumer string) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := int64(0)
	for s := range b.subscriptions {
		held += s.heldOf(consumer)
	}
	return held
}

func (s *subscription) heldOf(consumer string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := int64(0)
	for key := range s.inflight {
		if key.lane.ours && key.lane.consumer == consumer {
			held++
		}
	}
	return held
}

// sourceStats adds up the streams of all groups that redrive made, or reads a
// stream of the user's through redrive's consumers on it.
func (b *Broker) sourceStats(ctx context.Context, queue string, stats *broker.Stats) error {
	owned, err := b.ownedStreams(ctx, queue)
	if err != nil {
		return err
	}
	for _, route := range owned {
		if err := b.ownedStats(ctx, route.stream, stats); err != nil {
			return err
		}
	}
	if len(owned) > 0 {
		return nil
	}
	src, err := b.foreignSource(ctx, queue)
	if errors.Is(err, broker.ErrUnroutable) {
		// Any other name can be that of a shared dead-letter queue.
		stats.Ready, err = b.count(ctx, b.layout.dlqStream(), b.layout.dlqSubject(queue), &stats.Oldest)
		if err == nil && stats.Ready == 0 {
			return fmt.Errorf("no stream for queue %q: %w", queue, broker.ErrUnroutable)
		}
		return err
	}
	if err != nil {
		return err
	}
	return b.foreignStats(ctx, src, stats)
}

func (b *Broker) ownedStats(ctx context.Context, name string, stats *broker.Stats) error {
	stream, err := b.js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("stream %s: %w", name, err)
	}
	state := stream.CachedInfo().State
	pending := int64(0)
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		pending += int64(info.NumAckPending)
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return fmt.Errorf("consumers of stream %s: %w", name, err)
	}
	stats.InFlight += pending
	stats.Ready += max(int64(state.Msgs)-pending, 0)
	if state.Msgs > 0 && (stats.Oldest.IsZero() || state.FirstTime.Before(stats.Oldest)) {
		stats.Oldest = state.FirstTime
	}
	return nil
}

// foreignStats counts what redrive's consumers have not handled. Without one,
// everything in the stream is waiting.
func (b *Broker) foreignStats(ctx context.Context, src source, stats *broker.Stats) error {
	stream, err := b.js.Stream(ctx, src.stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", src.stream, err)
	}
	consumers, next := 0, uint64(0)
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		if info.Config.Metadata[metaQueue] != src.queue {
			continue
		}
		stats.Ready += int64(info.NumPending)
		stats.InFlight += int64(info.NumAckPending)
		if floor := info.AckFloor.Stream + 1; consumers == 0 || floor < next {
			next = floor
		}
		consumers++
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return fmt.Errorf("consumers of stream %s: %w", src.stream, err)
	}
	if consumers == 0 {
		stats.Ready = int64(stream.CachedInfo().State.Msgs)
		if src.filter != "" {
			info, err := stream.Info(ctx, jetstream.WithSubjectFilter(src.filter))
			if err != nil {
				return fmt.Errorf("subjects of stream %s: %w", src.stream, err)
			}
			stats.Ready = int64(info.State.Subjects[src.filter])
		}
		next = 1
	}
	if stats.Depth() == 0 {
		return nil
	}
	oldest, err := b.getMessage(ctx, src.stream, getRequest{Seq: next, NextFor: orAll(src.filter)})
	if errors.Is(err, broker.ErrGone) {
		return nil
	}
	stats.Oldest = oldest.time
	return err
}

// orAll is the filter that a read takes for none.
func orAll(filter string) string {
	if filter == "" {
		return ">"
	}
	return filter
}

package redrivekafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/redrive-dev/redrive/broker"
)

// batch are those who wait for one commit. The lock of the subscription guards it, but
// for done.
type batch struct {
	done  chan struct{}
	ended bool
	err   error
	// moved says that nothing was confirmed: a partition is gone, and whoever waits has
	// to look whether it is theirs.
	moved bool
	// waiters is how many wait.
	waiters int
}

// end wakes those who wait.
func (b *batch) end(err error) {
	if b.ended {
		return
	}
	b.ended, b.err = true, err
	close(b.done)
}

// join waits, later, for the next commit. The caller holds the lock.
func (l *lane) join() *batch {
	if l.batch == nil {
		l.batch = &batch{done: make(chan struct{})}
	}
	l.batch.waiters++
	signal(l.kick)
	return l.batch
}

// confirm waits until the group knows the change of a partition.
func (s *subscription) confirm(ctx context.Context, p *partition, sequence uint64) error {
	for {
		s.mu.Lock()
		switch {
		case p.confirmed >= sequence:
			s.mu.Unlock()
			return nil
		case p.gone:
			s.mu.Unlock()
			return fmt.Errorf("partition %d of topic %s was given to another member: %w", p.id, p.topic, broker.ErrLeaseLost)
		case p.fault != nil && p.faultAt >= sequence:
			err := p.fault
			s.mu.Unlock()
			return err
		}
		b := p.lane.join()
		s.mu.Unlock()
		if err := b.wait(ctx); err != nil {
			return fmt.Errorf("commit partition %d of topic %s: %w", p.id, p.topic, err)
		}
	}
}

func (b *batch) wait(ctx context.Context) error {
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return fmt.Errorf("%w: no confirmation: %w", broker.ErrUnknown, context.Cause(ctx))
	}
}

// commitLoop tells the group what has changed, one commit after another: all changes
// that come while one is under way go with the next.
func (l *lane) commitLoop(ctx context.Context) {
	for {
		select {
		case <-l.kick:
			l.gather(ctx)
			l.commit(ctx)
		case <-ctx.Done():
			l.s.mu.Lock()
			if l.batch != nil {
				l.batch.end(fmt.Errorf("subscription of %q: %w", l.s.spec.Source, broker.ErrClosed))
				l.batch = nil
			}
			l.s.mu.Unlock()
			return
		}
	}
}

// gathering is how long a commit waits for others to come along. It is less than a
// commit takes.
const gathering = 200 * time.Microsecond

// gather waits a moment while most of what is handed out has not ended: after a commit
// all who waited for it go on together, and the first of them would else have the next
// one to itself.
func (l *lane) gather(ctx context.Context) {
	l.s.mu.Lock()
	few := l.batch != nil && 2*l.batch.waiters < len(l.s.held)
	l.s.mu.Unlock()
	if !few {
		return
	}
	timer := time.NewTimer(gathering)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// commit tells the group what has changed, and tries again for as long as that makes
// sense.
func (l *lane) commit(ctx context.Context) {
	s := l.s
	end := time.Now().Add(s.b.config.PublishTimeout)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		s.mu.Lock()
		if l.under == nil || l.under.ended {
			l.under, l.batch = l.batch, nil
		}
		shots, under := l.shots(), l.under
		s.mu.Unlock()
		if under == nil && len(shots) == 0 {
			return
		}
		err := l.tell(ctx, shots, end)
		if err == nil {
			l.endBatch(nil)
			return
		}
		if !time.Now().Before(end) || ctx.Err() != nil || !transient(err) && !memberLost(err) {
			l.endBatch(fmt.Errorf("%w: %w", broker.ErrUnknown, err))
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// endBatch wakes those who wait for the commit that is under way.
func (l *lane) endBatch(err error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.under != nil {
		l.under.end(err)
		l.under = nil
	}
}

// shots takes what has changed.
func (l *lane) shots() []snapshot {
	var shots []snapshot
	for p := range l.dirty {
		delete(l.dirty, p)
		if p.book == nil {
			p.confirmed = p.sequence // Nothing has been seen: there is nothing to tell.
			continue
		}
		shot := p.snapshot()
		p.send(sentCommit{shot.position, shot.metadata})
		shots = append(shots, shot)
	}
	return shots
}

// tell makes one commit, or asks for a sign of life if there is nothing to commit.
func (l *lane) tell(ctx context.Context, shots []snapshot, end time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	member, generation := l.client.GroupMetadata()
	if member == "" || generation < 0 {
		// A commit without a member would be taken by a group that has none.
		l.s.mu.Lock()
		defer l.s.mu.Unlock()
		l.owe(shots)
		return kerr.UnknownMemberID
	}
	if len(shots) == 0 {
		return l.heartbeat(ctx, member, generation)
	}
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.MemberID, request.Generation = l.group, member, generation
	at := map[string]int{}
	for _, shot := range shots {
		i, ok := at[shot.p.topic]
		if !ok {
			i = len(request.Topics)
			at[shot.p.topic] = i
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic, t.TopicID = shot.p.topic, shot.p.info.rawID
			request.Topics = append(request.Topics, t)
		}
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset, rp.Metadata = shot.p.id, shot.position, &shot.metadata
		request.Topics[i].Partitions = append(request.Topics[i].Partitions, rp)
	}
	response, err := request.RequestWith(ctx, l.client)
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if err != nil {
		l.owe(shots)
		return err
	}
	return l.told(shots, response)
}

// owe puts back what the group may not know.
func (l *lane) owe(shots []snapshot) {
	for _, shot := range shots {
		if !shot.p.gone {
			l.dirty[shot.p] = struct{}{}
		}
	}
}

// told reads the answer for each partition.
func (l *lane) told(shots []snapshot, response *kmsg.OffsetCommitResponse) error {
	answers := map[string]map[int32]int16{}
	for _, t := range response.Topics {
		topic := t.Topic
		if topic == "" {
			topic = l.s.topicOf(t.TopicID)
		}
		if answers[topic] == nil {
			answers[topic] = map[int32]int16{}
		}
		for _, p := range t.Partitions {
			answers[topic][p.Partition] = p.ErrorCode
		}
	}
	var again error
	granted := false
	for _, shot := range shots {
		p := shot.p
		code, ok := answers[p.topic][p.id]
		err := kerr.ErrorForCode(code)
		if !ok {
			err = kerr.UnknownServerError
		}
		switch {
		case err == nil:
			p.confirmed = max(p.confirmed, shot.sequence)
			p.sent = append(p.sent[:0], sentCommit{shot.position, shot.metadata})
			granted = granted || shot.reach > p.granted
			p.granted = max(p.granted, shot.reach)
		case p.gone:
		case transient(err) || memberLost(err):
			l.dirty[p] = struct{}{}
			again = err
		default:
			p.fault, p.faultAt = fmt.Errorf("commit partition %d of topic %s: %w", p.id, p.topic, err), shot.sequence
			l.s.fault = p.fault
		}
	}
	if granted {
		l.s.notify()
	}
	return again
}

// heartbeat asks whether this member still has its partitions.
func (l *lane) heartbeat(ctx context.Context, member string, generation int32) error {
	request := kmsg.NewPtrHeartbeatRequest()
	request.Group, request.MemberID, request.Generation = l.group, member, generation
	response, err := request.RequestWith(ctx, l.client)
	if err != nil {
		return err
	}
	err = kerr.ErrorForCode(response.ErrorCode)
	if errors.Is(err, kerr.RebalanceInProgress) {
		return nil // It has them until it is told to give them up.
	}
	return err
}

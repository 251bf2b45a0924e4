package redrivekafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/redrive-dev/redrive/broker"
)

// lane is a member of a consumer group: that of the source, or that of the retry and
// replay topics, which a source that is not read must not hold up. The lock of the
// subscription guards what is not said to be constant.
type lane struct {
	s      *subscription
	client *kgo.Client
	group  string
	// retries says that it is the lane of redrive's own topics.
	retries bool
	topics  []string

	parts map[string]map[int32]*partition
	// order lists the partitions, and dirty has those of which the group does not know
	// all.
	order []*partition
	dirty map[*partition]struct{}
	// joined is closed when the first assignment has come.
	joined   chan struct{}
	joinOnce sync.Once

	// pollGate is held while records are fetched and taken into account, so that no
	// partition is given up in between. stopPoll ends the fetching that holds it, and
	// wanted counts those who want it.
	pollGate sync.Mutex
	stopPoll context.CancelFunc
	wanted   int
	hungry   chan struct{}

	// batch are those who wait for the next commit, under those who wait for the one
	// that is under way, and kick starts it.
	batch, under *batch
	kick         chan struct{}
}

// newLane joins the group. Its goroutines end when stop is closed.
func newLane(s *subscription, group string, retries bool, topics []string) (*lane, error) {
	l := &lane{
		s: s, group: group, retries: retries, topics: topics,
		parts: map[string]map[int32]*partition{}, dirty: map[*partition]struct{}{},
		joined: make(chan struct{}), kick: make(chan struct{}, 1), hungry: make(chan struct{}, 1),
	}
	c := s.b.config
	client, err := kgo.NewClient(append(c.options(),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.DisableAutoCommit(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(c.SessionTimeout),
		kgo.HeartbeatInterval(c.HeartbeatInterval),
		kgo.RebalanceTimeout(c.RebalanceTimeout),
		kgo.FetchMaxWait(time.Second),
		kgo.FetchMaxBytes(16<<20),
		kgo.OnPartitionsAssigned(l.assigned),
		kgo.OnOffsetsFetched(l.fetched),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, parts map[string][]int32) { l.give(ctx, parts) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { l.lose(parts) }),
	)...)
	if err != nil {
		return nil, fmt.Errorf("group %s: %w", group, err)
	}
	l.client = client
	return l, nil
}

// assigned comes before the offsets of new partitions are fetched. What was lost and
// does not come back is another member's.
func (l *lane) assigned(_ context.Context, _ *kgo.Client, added map[string][]int32) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	for topic, parts := range l.parts {
		for id, p := range parts {
			if p.limbo && !slices.Contains(added[topic], id) {
				l.abandon(p)
			}
		}
	}
	l.joinOnce.Do(func() { close(l.joined) })
}

// fetched learns where partitions start, and what earlier members noted.
func (l *lane) fetched(_ context.Context, _ *kgo.Client, response *kmsg.OffsetFetchResponse) error {
	// What was fetched under an assignment that was lost must not meet the new one.
	l.pausePolling()
	defer l.resumePolling()
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	add := func(topic string, id int32, offset int64, metadata *string) {
		if l.parts[topic] == nil {
			l.parts[topic] = map[int32]*partition{}
		}
		told := ""
		if metadata != nil {
			told = *metadata
		}
		switch old := l.parts[topic][id]; {
		case old == nil:
		case old.limbo && !old.untouched(offset, told):
			l.abandon(old)
		case old.limbo || old.book != nil || old.out > 0:
			old.limbo = false // It has been here all the time.
			return
		}
		p := &partition{
			lane: l, topic: topic, id: id, info: l.s.infos[topic], start: offset,
			known: map[int64]*record{}, noted: map[*record]struct{}{}, rows: map[int64]row{},
		}
		if l.s.b.config.Ordered {
			p.lines = map[string][]*record{}
		}
		if offset >= 0 {
			p.learn(told)
			p.begin(offset)
		}
		l.forget(topic, id)
		l.parts[topic][id] = p
		l.order = append(l.order, p)
	}
	for _, g := range response.Groups {
		for _, t := range g.Topics {
			topic := t.Topic
			if topic == "" {
				topic = l.s.topicOf(t.TopicID)
			}
			for _, p := range t.Partitions {
				add(topic, p.Partition, p.Offset, p.Metadata)
			}
		}
	}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			add(t.Topic, p.Partition, p.Offset, p.Metadata)
		}
	}
	return nil
}

// learn reads the note beside the offset. What others have written there explains
// nothing.
func (p *partition) learn(metadata string) {
	n, err := decodeNote(p.start, metadata)
	if err != nil {
		return
	}
	p.note = n
	for _, r := range n.rows {
		p.rows[r.offset] = r
	}
}

// find returns a partition that this member has, nil if it has not.
func (l *lane) find(topic string, id int32) *partition { return l.parts[topic][id] }

// forget takes a partition off the list.
func (l *lane) forget(topic string, id int32) {
	delete(l.parts[topic], id)
	for i, p := range l.order {
		if p.topic == topic && p.id == id {
			l.order = append(l.order[:i:i], l.order[i+1:]...)
			break
		}
	}
}

// pausePolling makes sure that nothing fetched before is taken into account after.
func (l *lane) pausePolling() {
	l.s.mu.Lock()
	l.wanted++
	stop := l.stopPoll
	l.s.mu.Unlock()
	if stop != nil {
		stop()
	}
	l.pollGate.Lock()
}

func (l *lane) resumePolling() {
	l.pollGate.Unlock()
	l.s.mu.Lock()
	l.wanted--
	l.s.mu.Unlock()
	signal(l.hungry)
}

// give gives partitions up in good order: nothing more of them is handed out, what is
// handed out is waited for as long as the group allows, and what is finished is
// committed, with a note which says that the rest was not lost with its member.
func (l *lane) give(ctx context.Context, parts map[string][]int32) {
	if len(parts) == 0 {
		return
	}
	l.pausePolling()
	s := l.s
	s.mu.Lock()
	var all []*partition
	for topic, ids := range parts {
		for _, id := range ids {
			if p := l.find(topic, id); p != nil {
				p.leaving = true
				all = append(all, p)
			}
		}
	}
	s.mu.Unlock()
	l.resumePolling()
	s.awaitReturned(ctx, all, s.b.config.RebalanceTimeout*3/4)
	s.mu.Lock()
	var last []uint64
	for _, p := range all {
		p.clean = true
		last = append(last, p.touch())
	}
	s.mu.Unlock()
	for i, p := range all {
		if p.book == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, min(s.b.config.PublishTimeout, s.b.config.SessionTimeout/2))
		_ = s.confirm(ctx, p, last[i]) // What the group does not know comes again.
		cancel()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range all {
		l.abandon(p)
	}
}

// lose is called when the client is cut off from its group: the partitions may be
// another member's from now on, or still this one's when it has joined again.
func (l *lane) lose(parts map[string][]int32) {
	l.pausePolling()
	defer l.resumePolling()
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	for topic, ids := range parts {
		for _, id := range ids {
			if p := l.find(topic, id); p != nil {
				p.limbo = true
			}
		}
	}
}

// abandon forgets a partition that is another member's. The caller holds the lock.
func (l *lane) abandon(p *partition) {
	s := l.s
	p.gone = true
	l.forget(p.topic, p.id)
	delete(l.dirty, p)
	if p.paused {
		// Else it would stay paused when it comes back.
		l.client.ResumeFetchPartitions(map[string][]int32{p.topic: {p.id}})
	}
	for _, r := range p.known {
		p.drop(r)
	}
	s.waiting.drop(p)
	s.dropHeld(p)
	// Those who wait look again, and see that it is gone.
	for _, b := range []*batch{l.batch, l.under} {
		if b != nil {
			b.moved = true
			b.end(nil)
		}
	}
	l.batch = nil
	s.notify()
}

// poll fetches records until the subscription stops.
func (l *lane) poll(ctx context.Context) {
	for ctx.Err() == nil {
		if !l.awaitHunger(ctx) {
			return
		}
		l.pollGate.Lock()
		pollCtx, cancel := context.WithCancel(ctx)
		l.s.mu.Lock()
		if l.wanted > 0 {
			cancel()
		}
		l.stopPoll = cancel
		l.s.mu.Unlock()
		fetches := l.client.PollRecords(pollCtx, pollRecords)
		l.take(fetches)
		cancel()
		l.pollGate.Unlock()
		if fetches.IsClientClosed() {
			return
		}
	}
}

// pollRecords bounds the records of one poll.
const pollRecords = 2000

// awaitHunger waits until there is room for more records.
func (l *lane) awaitHunger(ctx context.Context) bool {
	for {
		l.s.mu.Lock()
		hungry := l.wanted == 0 && l.s.phase != drained && l.s.phase != closed && l.wantsMore()
		l.s.mu.Unlock()
		if hungry {
			return true
		}
		select {
		case <-l.hungry:
		case <-ctx.Done():
			return false
		}
	}
}

// wantsMore says whether the lane is short of records that can be handed out.
func (l *lane) wantsMore() bool {
	if l.retries {
		return true // Its partitions are paused one by one.
	}
	ready := 0
	for _, p := range l.order {
		if !p.stuck() {
			ready += len(p.ready)
		}
	}
	return ready < l.s.appetite()
}

// stuck says that nothing can be handed out until an old record is settled.
func (p *partition) stuck() bool {
	return len(p.ready) > 0 && p.ready[0].offset >= p.book.position()+maxSpread
}

// take takes fetched records into account.
func (l *lane) take(fetches kgo.Fetches) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	fetches.EachError(func(topic string, id int32, err error) {
		if errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed) {
			return
		}
		s.fault = fmt.Errorf("receive from topic %s, partition %d: %w", topic, id, err)
	})
	now := time.Now()
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		p := l.find(f.Topic, f.Partition)
		if p == nil || p.limbo {
			return // Given up meanwhile: the next member has it, or it comes again.
		}
		for _, kr := range f.Records {
			r := p.see(kr)
			if r == nil {
				continue
			}
			p.remember(r)
			if r.due.After(now) {
				// One that waits was handed out before, after all earlier ones of its key.
				if l.retries || p.lead(r) {
					s.wait(r)
				}
			} else {
				p.ready = append(p.ready, r)
			}
		}
		if len(f.Records) > 0 {
			p.touch()
		}
		l.regulate(p)
	})
	s.notify()
	signal(l.kick)
}

// regulate pauses a partition that has enough in memory, and resumes it when half of
// that is gone.
func (l *lane) regulate(p *partition) {
	// The source is not asked for more while it has enough, so that only a partition is
	// paused which cannot hand out what it has: to pause one that can costs a fetch.
	most, bytes := 2*maxSpread, l.s.b.config.RetryMemory
	if l.retries {
		most = l.s.b.config.RetryWindow
	}
	parts := map[string][]int32{p.topic: {p.id}}
	switch {
	case !p.paused && (len(p.known) >= most || l.s.bytes >= bytes):
		p.paused = true
		l.client.PauseFetchPartitions(parts)
	case p.paused && len(p.known) <= most/2 && (l.s.bytes <= bytes/2 || len(p.known) == 0):
		p.paused = false
		l.client.ResumeFetchPartitions(parts)
		signal(l.hungry)
	}
}

// signal wakes whoever waits on a channel with room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// leave leaves the group, which gives every partition up, and ends the client.
func (l *lane) leave(ctx context.Context) error {
	err := l.client.LeaveGroupContext(ctx)
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, kgo.ErrClientClosed) {
		return fmt.Errorf("leave group %s: %w: %w", l.group, broker.ErrUnknown, err)
	}
	return nil
}

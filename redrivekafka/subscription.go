package redrivekafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

const (
	// look is how often leases are looked at while nothing else happens.
	look = 50 * time.Millisecond
	// pacePause keeps a caller who asks again at once from keeping a processor busy
	// while something is wrong.
	pacePause = 200 * time.Millisecond
	// leastAppetite is how many records of the source lie ready at least, if there are
	// so many.
	leastAppetite = 1024
)

// phase is what a subscription does.
type phase uint8

const (
	receiving phase = iota
	paused
	drained
	closed
)

// subscription is a member of two consumer groups: that of the source, and that of
// its retry and replay topics.
type subscription struct {
	b      *Broker
	spec   broker.Spec
	names  broker.Names
	topics topics
	infos  map[string]topicInfo
	lanes  []*lane
	wake   chan struct{}
	// receiveLock is held by the one Receive that waits; others wait for it.
	receiveLock chan struct{}
	stop        chan struct{}
	// returned is signalled when a delivery ends.
	returned chan struct{}
	// departed is closed when both groups are left and nothing runs any more.
	departed   chan struct{}
	departOnce sync.Once
	cancel     context.CancelFunc
	running    sync.WaitGroup

	// mu may be taken while pollGate is held, never the other way round.
	mu    sync.Mutex
	phase phase
	held  []*delivery
	// again are records that were given back, or whose key is free, and waiting those
	// whose time has not come.
	again   []*record
	waiting waiting
	// bytes is the size of the records in memory.
	bytes int
	// expiry is no later than the first end of a lease.
	expiry time.Time
	fault  error
	// turn is the partition that is asked first, and odd the kind of record that gets
	// the odd place.
	turn, odd int
}

// Open starts consuming. It creates the topics that are missing, refuses those on
// which a message could be lost, and returns when this process is a member of the
// groups.
func (b *Broker) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	spec = spec.WithDefaults()
	s, err := b.open(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("open queue %q for group %q: %w", spec.Source, spec.Group, err)
	}
	return s, nil
}

func (b *Broker) open(ctx context.Context, spec broker.Spec) (*subscription, error) {
	ctx, cancel := context.WithTimeout(ctx, b.config.SessionTimeout+b.config.RebalanceTimeout)
	defer cancel()
	infos, err := b.ensure(ctx, spec)
	if err != nil {
		return nil, err
	}
	names := broker.NamesFor(spec.Source, spec.Group)
	s := &subscription{
		b: b, spec: spec, names: names, topics: topicsOf(names), infos: infos,
		wake: make(chan struct{}, 1), receiveLock: make(chan struct{}, 1), stop: make(chan struct{}),
		returned: make(chan struct{}, 1), departed: make(chan struct{}),
	}
	if err := b.register(s); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.config.PublishTimeout)
		defer cancel()
		return nil, errors.Join(err, s.Close(closing))
	}
	return s, nil
}

// start joins both groups and waits until this member knows its partitions.
func (s *subscription) start(ctx context.Context) error {
	// It ends with Close, not with the context that opened the subscription.
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	own := append([]string{s.topics.replay}, s.topics.retry[:]...)
	for _, m := range []struct {
		group   string
		retries bool
		topics  []string
	}{
		{groupID(s.spec.Source, s.spec.Group), false, []string{s.topics.source}},
		{retryGroupID(s.names), true, own},
	} {
		l, err := newLane(s, m.group, m.retries, m.topics)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.lanes = append(s.lanes, l)
		s.mu.Unlock()
		s.running.Go(func() { l.poll(lasting) })
		s.running.Go(func() { l.commitLoop(lasting) })
	}
	for _, l := range s.lanes {
		select {
		case <-l.joined:
		case <-ctx.Done():
			return fmt.Errorf("join group %s: %w", l.group, context.Cause(ctx))
		}
	}
	return nil
}

func (s *subscription) notify() { signal(s.wake) }

// topicOf is the topic of an id, as newer versions of the protocol name it.
func (s *subscription) topicOf(id [16]byte) string {
	for name, info := range s.infos {
		if info.rawID == id {
			return name
		}
	}
	return ""
}

// appetite is how many records of the source may lie ready before it is not asked for
// more.
func (s *subscription) appetite() int { return max(2*s.spec.MaxInFlight, leastAppetite) }

// Receive waits for deliveries. Calls are served one after another.
func (s *subscription) Receive(ctx context.Context, limit int) ([]broker.Delivery, error) {
	if limit <= 0 {
		return nil, contextError(ctx)
	}
	select {
	case s.receiveLock <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.receiveLock }()
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		out, rest, err := s.collect(limit)
		if len(out) > 0 {
			return out, nil
		}
		if err != nil {
			return nil, s.pace(ctx, err)
		}
		if err := s.rest(ctx, rest); err != nil {
			return nil, err
		}
	}
}

// rest waits until something may have come.
func (s *subscription) rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.wake:
	case <-timer.C:
	case <-s.stop:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// pace returns an error not before a moment has passed.
func (s *subscription) pace(ctx context.Context, err error) error {
	if errors.Is(err, broker.ErrClosed) {
		return err
	}
	timer := time.NewTimer(pacePause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.stop:
	}
	return fmt.Errorf("queue %q: %w", s.spec.Source, err)
}

// longest is how long a Receive waits at most before it looks again.
const longest = time.Second

// collect hands out what is there. rest is how long there will be nothing else by
// itself.
func (s *subscription) collect(limit int) (out []broker.Delivery, rest time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.phase {
	case drained, closed:
		return nil, 0, fmt.Errorf("subscription of %q: %w", s.spec.Source, broker.ErrClosed)
	case paused:
		return nil, longest, nil
	case receiving:
	}
	now := time.Now()
	s.expire(now)
	limit = min(limit, s.spec.MaxInFlight-len(s.held))
	if limit <= 0 {
		return nil, s.untilNext(now), nil
	}
	for r := s.waiting.take(now); r != nil; r = s.waiting.take(now) {
		r.waits = false
		r.p.remember(r)
		if r.p.gone || r.finished {
			continue
		}
		if r.offset < r.p.granted {
			s.again = append(s.again, r)
		} else {
			r.p.ready = append(r.p.ready, r)
		}
	}
	// Half of the room is for either kind, if both are there, and the odd one changes
	// sides, so that none starves.
	s.odd ^= 1
	out = s.takeAgain(now, out, (limit+s.odd)/2)
	out = s.takeReady(now, out, limit)
	out = s.takeAgain(now, out, limit)
	if len(out) == 0 && s.fault != nil {
		err, s.fault = s.fault, nil
		return nil, 0, err
	}
	return out, s.untilNext(now), nil
}

// untilNext is the time until a record is due or a lease ends.
func (s *subscription) untilNext(now time.Time) time.Duration {
	rest := longest
	if next := s.waiting.next(); !next.IsZero() {
		rest = min(rest, next.Sub(now))
	}
	if len(s.held) > 0 {
		rest = min(rest, s.expiry.Sub(now))
	}
	return max(rest, time.Millisecond)
}

func (s *subscription) takeAgain(now time.Time, out []broker.Delivery, limit int) []broker.Delivery {
	kept := s.again[:0]
	for _, r := range s.again {
		switch {
		case r.p.gone || r.finished:
		case len(out) >= limit || r.p.leaving || r.p.limbo:
			kept = append(kept, r)
		default:
			out = append(out, s.hand(r, now))
		}
	}
	clear(s.again[len(kept):])
	s.again = kept
	return out
}

// takeReady takes from one partition after another.
func (s *subscription) takeReady(now time.Time, out []broker.Delivery, limit int) []broker.Delivery {
	const share = 16
	var all []*partition
	for _, l := range s.lanes {
		for _, p := range l.order {
			if len(p.ready) > 0 {
				all = append(all, p)
			}
		}
	}
	if len(all) == 0 {
		return out // The lanes have been asked when the last one was taken.
	}
	s.turn++
	for dry := 0; dry < len(all) && len(out) < limit; s.turn++ {
		p := all[s.turn%len(all)]
		taken := 0
		for taken < share && len(out) < limit {
			r := p.take(limit - len(out))
			if r == nil {
				break
			}
			out = append(out, s.hand(r, now))
			taken++
		}
		if dry++; taken > 0 {
			dry = 0
		}
	}
	for _, p := range all {
		if p.paused {
			p.lane.regulate(p)
		}
	}
	for _, l := range s.lanes {
		if l.wantsMore() {
			signal(l.hungry)
		}
	}
	return out
}

// take removes the next record that may be handed out, nil if there is none. want is
// how many are asked for.
func (p *partition) take(want int) *record {
	for len(p.ready) > 0 && !p.leaving && !p.limbo {
		r := p.ready[0]
		if r.offset >= p.granted {
			p.ask(want)
			return nil
		}
		if p.stuck() {
			return nil
		}
		p.ready[0] = nil
		p.ready = p.ready[1:]
		if p.lead(r) {
			p.reachFurther(r.offset)
			return r
		}
	}
	return nil
}

// ask tells the group that more records will be handed out, before they are. After a
// crash it is no more than are asked for, so that it can be told which ones a further
// crash can be due to.
func (p *partition) ask(want int) {
	before := p.reach
	last := min(want, len(p.ready))
	for _, r := range p.ready[:last] {
		p.reach = max(p.reach, r.offset+1)
	}
	p.reachFurther(p.ready[last-1].offset)
	if p.reach > before || p.reach > p.granted {
		p.touch()
		signal(p.lane.kick)
	}
}

// reachFurther asks in time for more, while nothing is suspicious. It is told with
// the next commit.
func (p *partition) reachFurther(offset int64) {
	if len(p.note.reached) == 0 && !p.lane.retries {
		p.reach = max(p.reach, offset+1+int64(p.lane.s.spec.MaxInFlight))
	}
}

// hand makes a delivery of a record.
func (s *subscription) hand(r *record, now time.Time) *delivery {
	d := &delivery{
		s: s, r: r, message: r.message, mark: r.mark, earlier: r.deliveries,
		deadline: now.Add(s.spec.Lease), index: len(s.held),
	}
	r.deliveries++
	r.current = d
	if len(s.held) == 0 || d.deadline.Before(s.expiry) {
		s.expiry = d.deadline
	}
	s.held = append(s.held, d)
	r.p.out++
	return d
}

// unhold takes a delivery off the list of those that are handed out.
func (s *subscription) unhold(d *delivery) {
	if d.index < 0 {
		return
	}
	last := len(s.held) - 1
	moved := s.held[last]
	s.held[d.index], moved.index = moved, d.index
	s.held[last] = nil
	s.held = s.held[:last]
	d.index = -1
	d.r.p.out--
	signal(s.returned)
	if last+1 == s.spec.MaxInFlight {
		s.notify()
	}
}

// dropHeld takes the deliveries of a partition that is gone off the list.
func (s *subscription) dropHeld(p *partition) {
	for _, d := range slices.Clone(s.held) {
		if d.r.p == p {
			s.unhold(d)
		}
	}
}

// expire takes back what nobody extended.
func (s *subscription) expire(now time.Time) {
	if len(s.held) == 0 || now.Before(s.expiry) {
		return
	}
	s.expiry = now.Add(time.Hour)
	for _, d := range slices.Clone(s.held) {
		if d.state == settling || now.Before(d.deadline) {
			end := d.deadline
			if d.state == settling {
				end = now.Add(look) // Its settlement ends by itself.
			}
			if end.Before(s.expiry) {
				s.expiry = end
			}
			continue
		}
		s.unhold(d)
		if !d.r.finished && !d.r.p.gone {
			s.again = append(s.again, d.r)
		}
	}
}

// wait keeps a record until it is due.
func (s *subscription) wait(r *record) {
	r.waits = true
	r.p.remember(r)
	s.waiting.add(r)
	s.notify()
}

// awaitReturned waits until nothing of the partitions is handed out any more, or for
// so long that the group might lose patience.
func (s *subscription) awaitReturned(ctx context.Context, parts []*partition, patience time.Duration) {
	end := time.NewTimer(patience)
	defer end.Stop()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		s.mu.Lock()
		s.expire(time.Now())
		out := 0
		for _, p := range parts {
			out += p.out
		}
		over := out == 0 || s.phase == closed
		s.mu.Unlock()
		if over {
			return
		}
		select {
		case <-s.returned:
		case <-ticker.C:
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Pause stops handing out. The member stays in its groups and keeps its partitions.
func (s *subscription) Pause(context.Context) error { return s.enter(paused) }

// Resume ends Pause.
func (s *subscription) Resume(context.Context) error { return s.enter(receiving) }

func (s *subscription) enter(to phase) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == drained || s.phase == closed {
		return fmt.Errorf("subscription of %q: %w", s.spec.Source, broker.ErrClosed)
	}
	s.phase = to
	s.notify()
	return nil
}

// Drain stops fetching for good. The member leaves its groups when the last delivery
// has ended: until then nobody else gets what it has not handed out.
func (s *subscription) Drain(ctx context.Context) error {
	s.mu.Lock()
	if s.phase == drained || s.phase == closed {
		s.mu.Unlock()
		return nil
	}
	s.phase = drained
	idle := len(s.held) == 0
	s.mu.Unlock()
	close(s.stop)
	go s.departWhenIdle(context.WithoutCancel(ctx))
	if !idle {
		return nil
	}
	return s.awaitDeparture(ctx)
}

// lateGrace is how long a drained subscription waits for a settlement after its lease
// has ended: nobody here would get the message again.
const lateGrace = 5 * time.Second

// departWhenIdle leaves the groups when nothing is handed out any more, or the
// subscription is closed.
func (s *subscription) departWhenIdle(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		s.mu.Lock()
		s.expire(time.Now().Add(-lateGrace))
		over := len(s.held) == 0 || s.phase == closed
		s.mu.Unlock()
		if over {
			s.departOnce.Do(func() { s.depart(ctx) })
			return
		}
		select {
		case <-s.returned:
		case <-ticker.C:
		}
	}
}

// depart leaves the groups and ends what runs.
func (s *subscription) depart(ctx context.Context) {
	defer close(s.departed)
	ctx, cancel := context.WithTimeout(ctx, s.b.config.PublishTimeout)
	defer cancel()
	s.mu.Lock()
	lanes := s.lanes
	s.mu.Unlock()
	var leaving sync.WaitGroup
	for _, l := range lanes {
		leaving.Go(func() { _ = l.leave(ctx) }) // The group notices by itself that it is gone.
	}
	leaving.Wait()
	s.mu.Lock()
	for _, l := range lanes {
		for _, p := range slices.Clone(l.order) {
			l.abandon(p) // Of a group that could not be left.
		}
	}
	s.mu.Unlock()
	if s.cancel != nil {
		s.cancel()
	}
	s.running.Wait()
	for _, l := range lanes {
		l.client.Close()
	}
}

func (s *subscription) awaitDeparture(ctx context.Context) error {
	select {
	case <-s.departed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("leave the groups of queue %q: %w", s.spec.Source, context.Cause(ctx))
	}
}

// Close drains and gives up what is not settled: the next member of the group gets
// it.
func (s *subscription) Close(ctx context.Context) error {
	s.mu.Lock()
	before := s.phase
	s.phase = closed
	s.mu.Unlock()
	if before == receiving || before == paused {
		close(s.stop)
		go s.departWhenIdle(context.WithoutCancel(ctx))
	}
	signal(s.returned)
	s.b.unregister(s)
	return s.awaitDeparture(ctx)
}

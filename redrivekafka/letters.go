package redrivekafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/redrive-dev/redrive/broker"
)

// Letters gives access to the records of any queue. Reading needs no group and has no
// effect.
func (b *Broker) Letters(_ context.Context, queue string) (broker.Letters, error) {
	return &view{b: b, queue: queue, topics: queueTopics(queue)}, nil
}

// queueTopics are the topics of a queue: several for a retry queue.
func queueTopics(queue string) []string {
	if broker.KindOf(queue) != broker.KindRetry {
		return []string{topicName(queue)}
	}
	out := make([]string, len(tiers))
	for i := range tiers {
		out[i] = retryTopic(queue, i)
	}
	return out
}

// view reads the records of a queue.
type view struct {
	b      *Broker
	queue  string
	topics []string
}

// Mode is Observe.
func (v *view) Mode() broker.Mode { return broker.Observe }

// place is a partition of one of the view's topics.
type place struct {
	topic string
	id    int32
}

func comparePlaces(a, b place) int {
	return cmp.Or(strings.Compare(a.topic, b.topic), cmp.Compare(a.id, b.id))
}

// span is what a partition holds from a cursor on, end excluded.
type span struct{ from, end int64 }

// Scan reads letters from the cursor on: of several partitions the oldest first, as
// the times of their records tell.
func (v *view) Scan(ctx context.Context, from broker.Cursor, n int) ([]broker.Letter, broker.Cursor, error) {
	start, err := parseCursor(from)
	if err != nil {
		return nil, from, fmt.Errorf("letters of queue %q: %w", v.queue, err)
	}
	infos, spans, err := v.spans(ctx, start)
	if err != nil {
		return nil, from, fmt.Errorf("letters of queue %q: %w", v.queue, err)
	}
	if v.queue == broker.QueueHeartbeats {
		return v.newest(ctx, infos, spans, start, n, from)
	}
	var out []broker.Letter
	err = v.b.read(ctx, spans, func(r *kgo.Record) bool {
		out = append(out, v.letter(infos[r.Topic], r))
		start[place{r.Topic, r.Partition}] = r.Offset + 1
		return len(out) < n
	})
	if err != nil {
		return nil, from, fmt.Errorf("letters of queue %q: %w", v.queue, err)
	}
	return out, formatCursor(start), nil
}

// newest reads a whole topic and shows the last record of each key: the cluster itself
// removes earlier ones only now and then.
func (v *view) newest(ctx context.Context, infos map[string]topicInfo, spans map[place]span, start map[place]int64, n int, from broker.Cursor) ([]broker.Letter, broker.Cursor, error) {
	for p, s := range spans {
		s.from = 0
		spans[p] = s
	}
	last := map[string]*kgo.Record{}
	err := v.b.read(ctx, spans, func(r *kgo.Record) bool {
		last[string(r.Key)] = r
		return true
	})
	if err != nil {
		return nil, from, fmt.Errorf("letters of queue %q: %w", v.queue, err)
	}
	records := make([]*kgo.Record, 0, len(last))
	for _, r := range last {
		if r.Offset >= start[place{r.Topic, r.Partition}] {
			records = append(records, r)
		}
	}
	slices.SortFunc(records, func(a, b *kgo.Record) int {
		return cmp.Or(comparePlaces(place{a.Topic, a.Partition}, place{b.Topic, b.Partition}), cmp.Compare(a.Offset, b.Offset))
	})
	var out []broker.Letter
	for _, r := range records[:min(n, len(records))] {
		out = append(out, v.letter(infos[r.Topic], r))
		start[place{r.Topic, r.Partition}] = r.Offset + 1
	}
	return out, formatCursor(start), nil
}

// spans finds what the partitions hold. Without a topic there is nothing.
func (v *view) spans(ctx context.Context, start map[place]int64) (map[string]topicInfo, map[place]span, error) {
	ctx, cancel := v.b.bounded(ctx)
	defer cancel()
	infos, err := v.b.topics.load(ctx, v.topics...)
	if err != nil {
		return nil, nil, err
	}
	var exist []string
	for _, t := range v.topics {
		if _, ok := infos[t]; ok {
			exist = append(exist, t)
		}
	}
	spans := map[place]span{}
	if len(exist) == 0 {
		return infos, spans, nil
	}
	starts, ends, err := v.b.offsets(ctx, exist...)
	if err != nil {
		return nil, nil, err
	}
	for p, end := range ends {
		spans[p] = span{max(starts[p], start[p]), end}
	}
	return infos, spans, nil
}

// offsets reads the first offsets and the ends of what is committed.
func (b *Broker) offsets(ctx context.Context, topics ...string) (starts, ends map[place]int64, err error) {
	first, err := b.admin.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = first.Error()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("first offsets: %w", err)
	}
	last, err := b.admin.ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = last.Error()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("last offsets: %w", err)
	}
	starts, ends = map[place]int64{}, map[place]int64{}
	for topic, ps := range first {
		for id, o := range ps {
			starts[place{topic, id}] = o.Offset
		}
	}
	for topic, ps := range last {
		for id, o := range ps {
			ends[place{topic, id}] = o.Offset
		}
	}
	return starts, ends, nil
}

// quiet is how long nothing may come, while the cluster answers, before the rest of a
// partition is taken for offsets without records.
const quiet = 2 * time.Second

// read hands the records of the spans to f, of several partitions those with the
// oldest times first, until f returns false or the ends are reached.
func (b *Broker) read(ctx context.Context, spans map[place]span, f func(*kgo.Record) bool) error {
	m := merge{heads: map[place][]*kgo.Record{}, left: map[place]span{}}
	from := map[string]map[int32]kgo.Offset{}
	for p, s := range spans {
		if s.from >= s.end {
			continue
		}
		m.left[p] = s
		if from[p.topic] == nil {
			from[p.topic] = map[int32]kgo.Offset{}
		}
		from[p.topic][p.id] = kgo.NewOffset().At(s.from)
	}
	if len(from) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append(b.config.options(),
		kgo.ConsumePartitions(from),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // They show that nothing else is at their offsets.
		kgo.FetchMaxWait(100*time.Millisecond),
		kgo.FetchMaxBytes(8<<20),
	)...)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer client.Close()
	heard := time.Now()
	for {
		for m.complete() {
			r := m.next()
			if r == nil {
				return nil
			}
			if !f(r) {
				return nil
			}
		}
		poll, cancel := context.WithTimeout(ctx, quiet/4)
		fetches := client.PollRecords(poll, pollRecords)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) {
				return fmt.Errorf("read topic %s, partition %d: %w", e.Topic, e.Partition, e.Err)
			}
		}
		if fetches.NumRecords() > 0 {
			heard = time.Now()
		}
		fetches.EachRecord(m.add)
		if time.Since(heard) > quiet {
			if err := client.Ping(ctx); err != nil {
				return fmt.Errorf("read: %w", err)
			}
			m.giveUp()
		}
	}
}

// merge orders the records of several partitions by their times.
type merge struct {
	heads map[place][]*kgo.Record
	// left are the partitions of which more has to come.
	left map[place]span
}

func (m *merge) add(r *kgo.Record) {
	p := place{r.Topic, r.Partition}
	s, ok := m.left[p]
	if !ok {
		return
	}
	if !r.Attrs.IsControl() && r.Offset < s.end {
		m.heads[p] = append(m.heads[p], r)
	}
	if r.Offset+1 >= s.end {
		delete(m.left, p)
	}
}

// complete says that the next record is known.
func (m *merge) complete() bool {
	for p := range m.left {
		if len(m.heads[p]) == 0 {
			return false
		}
	}
	return true
}

// next takes the record with the oldest time, nil at the end.
func (m *merge) next() *kgo.Record {
	var best place
	var first *kgo.Record
	for p, records := range m.heads {
		if len(records) == 0 {
			continue
		}
		r := records[0]
		if first == nil || r.Timestamp.Before(first.Timestamp) || r.Timestamp.Equal(first.Timestamp) && comparePlaces(p, best) < 0 {
			best, first = p, r
		}
	}
	if first != nil {
		m.heads[best] = m.heads[best][1:]
	}
	return first
}

// giveUp takes the rest of the partitions for offsets without records.
func (m *merge) giveUp() { clear(m.left) }

func (v *view) letter(info topicInfo, r *kgo.Record) broker.Letter {
	kind := broker.KindOf(v.queue)
	return broker.Letter{
		Message:  decode(r, kind != broker.KindSource).message,
		Identity: identity(v.b.cluster, info, r.Partition, r.Offset),
		Position: info.name + "/" + info.id + "/" + strconv.Itoa(int(r.Partition)) + ":" + strconv.FormatInt(r.Offset, 10),
		StoredAt: r.Timestamp,
	}
}

// Drain is not supported: one record cannot be removed.
func (v *view) Drain(context.Context, int, func(context.Context, []broker.Letter) error) error {
	return fmt.Errorf("drain queue %q: a record of a topic cannot be removed: %w", v.queue, broker.ErrUnsupported)
}

// Get reads one letter.
func (v *view) Get(ctx context.Context, position string) (broker.Letter, error) {
	letter, err := v.get(ctx, position)
	if err != nil {
		return broker.Letter{}, fmt.Errorf("letter %s of queue %q: %w", position, v.queue, err)
	}
	return letter, nil
}

func (v *view) get(ctx context.Context, position string) (broker.Letter, error) {
	topic, id, p, offset, err := parsePosition(position)
	if err != nil || !slices.Contains(v.topics, topic) {
		return broker.Letter{}, errors.New("it is not a position of this queue")
	}
	infos, spans, err := v.spans(ctx, map[place]int64{})
	if err != nil {
		return broker.Letter{}, err
	}
	here := place{topic, p}
	s, ok := spans[here]
	if !ok || infos[topic].id != id || offset < s.from || offset >= s.end {
		return broker.Letter{}, broker.ErrGone
	}
	var found *kgo.Record
	err = v.b.read(ctx, map[place]span{here: {offset, s.end}}, func(r *kgo.Record) bool {
		found = r
		return false
	})
	switch {
	case err != nil:
		return broker.Letter{}, err
	case found == nil || found.Offset != offset:
		return broker.Letter{}, broker.ErrGone
	}
	return v.letter(infos[topic], found), nil
}

func parsePosition(position string) (topic, id string, partition int32, offset int64, err error) {
	parts := strings.Split(position, "/")
	if len(parts) != 3 {
		return "", "", 0, 0, errors.New("want topic/id/partition:offset")
	}
	p, o, _ := strings.Cut(parts[2], ":")
	n, err1 := strconv.ParseInt(p, 10, 32)
	offset, err2 := strconv.ParseInt(o, 10, 64)
	return parts[0], parts[1], int32(n), offset, errors.Join(err1, err2)
}

// Remove is not supported: a record of a topic cannot be removed.
func (v *view) Remove(_ context.Context, position string) error {
	return fmt.Errorf("remove letter %s of queue %q: a record of a topic cannot be removed: %w", position, v.queue, broker.ErrUnsupported)
}

// formatCursor writes the next offset of each partition, topic/partition=offset,
// separated by commas.
func formatCursor(next map[place]int64) broker.Cursor {
	places := make([]place, 0, len(next))
	for p := range next {
		places = append(places, p)
	}
	slices.SortFunc(places, comparePlaces)
	var b strings.Builder
	for i, p := range places {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s/%d=%d", p.topic, p.id, next[p])
	}
	return broker.Cursor(b.String())
}

func parseCursor(c broker.Cursor) (map[place]int64, error) {
	next := map[place]int64{}
	if c == "" {
		return next, nil
	}
	for part := range strings.SplitSeq(string(c), ",") {
		head, offset, ok := strings.Cut(part, "=")
		topic, id, also := strings.Cut(head, "/")
		p, err1 := strconv.ParseInt(id, 10, 32)
		o, err2 := strconv.ParseInt(offset, 10, 64)
		if !ok || !also || err1 != nil || err2 != nil {
			return nil, fmt.Errorf("cursor %q is not one of this queue", c)
		}
		next[place{topic, int32(p)}] = o
	}
	return next, nil
}

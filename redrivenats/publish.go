package redrivenats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

// routeLife is how long a publisher may use what it knows of a queue's streams.
// Ensure waits that long after it made a group's stream, so that every Publish
// that begins after it returned fills the stream, in whatever process.
const routeLife = 500 * time.Millisecond

// route is one stream that a queue's messages go to.
type route struct {
	stream, subject string
	// letters says that a repeated id is checked against the stream.
	letters bool
	// keyed says that the subject follows from the message's key.
	keyed bool
}

// routes remembers for a short time where queues lead.
type routes struct {
	b  *Broker
	mu sync.Mutex
	m  map[string]cachedRoute
}

type cachedRoute struct {
	to []route
	at time.Time
}

func newRoutes(b *Broker) *routes { return &routes{b: b, m: map[string]cachedRoute{}} }

// maxRoutes bounds what is remembered.
const maxRoutes = 10_000

func (r *routes) forget(queue string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.m, queue)
}

// of returns where a queue's messages go. No answer is remembered for a queue
// that does not exist.
func (r *routes) of(ctx context.Context, queue string) ([]route, error) {
	now := time.Now()
	r.mu.Lock()
	cached, ok := r.m[queue]
	r.mu.Unlock()
	if ok && now.Sub(cached.at) < routeLife {
		return cached.to, nil
	}
	to, err := r.b.findRoutes(ctx, queue)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.m) >= maxRoutes {
		clear(r.m)
	}
	// The age counts from before the look.
	r.m[queue] = cachedRoute{to: to, at: now}
	return to, nil
}

func (b *Broker) findRoutes(ctx context.Context, queue string) ([]route, error) {
	l := b.layout
	switch broker.KindOf(queue) {
	case broker.KindDeadLetter, broker.KindQuarantine:
		return []route{{stream: l.dlqStream(), subject: l.dlqSubject(queue), letters: true}}, nil
	case broker.KindRetry, broker.KindReplay:
		return []route{{stream: l.retryStream(), subject: l.retrySubject(queue)}}, nil
	case broker.KindOutcomes:
		return []route{{stream: l.outcomeStream(), subject: l.outcomeSubject()}}, nil
	case broker.KindHeartbeats:
		return []route{{stream: l.heartbeatStream(), keyed: true}}, nil
	case broker.KindSource:
	}
	owned, err := b.ownedStreams(ctx, queue)
	if err != nil {
		return nil, err
	}
	if len(owned) > 0 {
		return owned, nil
	}
	foreign, err := b.foreignSource(ctx, queue)
	if err != nil {
		return nil, err
	}
	if foreign.subject == "" {
		return nil, fmt.Errorf("stream %s listens on more than one subject: publish to one of them by name: %w", queue, broker.ErrUnroutable)
	}
	if foreign.retention == jetstream.InterestPolicy && foreign.consumers == 0 {
		return nil, fmt.Errorf("stream %s confirms messages and drops them as long as it has no consumer: %w", foreign.stream, broker.ErrUnroutable)
	}
	return []route{{stream: foreign.stream, subject: foreign.subject}}, nil
}

// ownedStreams lists the streams that redrive made for the groups of a queue.
func (b *Broker) ownedStreams(ctx context.Context, queue string) ([]route, error) {
	var out []route
	own := b.layout.sourceStream(queue)
	info, err := b.streamInfo(ctx, own)
	switch {
	case err == nil:
		out = append(out, route{stream: own, subject: info.Config.Subjects[0]})
	case !hasCode(err, codeStreamNotFound):
		return nil, err
	}
	list := b.js.ListStreams(ctx, jetstream.WithStreamListSubject(b.layout.groupSubjects(queue)))
	for info := range list.Info() {
		if info.Config.Metadata[metaQueue] == queue && info.Config.Metadata[metaKind] == kindSource {
			out = append(out, route{stream: info.Config.Name, subject: info.Config.Subjects[0]})
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return nil, fmt.Errorf("list the groups of queue %q: %w", queue, err)
	}
	return out, nil
}

// Publish stores messages, many at a time. A message for a queue that redrive
// made goes to the stream of every consumer group and counts as stored when all
// confirmed; publishing it again under the same id fills what is missing. Within
// two minutes (a day for letters) a repeated id is stored once.
func (b *Broker) Publish(ctx context.Context, messages []broker.Outbound) []error {
	errs := make([]error, len(messages))
	for start := 0; start < len(messages); start += b.config.PublishWindow {
		end := min(start+b.config.PublishWindow, len(messages))
		b.publishWindow(ctx, messages[start:end], errs[start:end])
	}
	return errs
}

// pending is one publication that was sent.
type pending struct {
	index   int
	message *nats.Msg
	route   route
	request *request
}

// tally is what became of one message in the streams that it goes to.
type tally struct {
	stored bool
	errs   []error
}

// err is nil when every stream confirmed. A message that only some have is
// neither stored nor not.
func (t *tally) err(queue string) error {
	if len(t.errs) == 0 {
		return nil
	}
	err := errors.Join(t.errs...)
	if t.stored && !errors.Is(err, broker.ErrUnknown) {
		return fmt.Errorf("publish to %q: stored for some consumer groups and not for all: %w: %w", queue, broker.ErrUnknown, err)
	}
	return fmt.Errorf("publish to %q: %w", queue, err)
}

func (b *Broker) publishWindow(ctx context.Context, messages []broker.Outbound, errs []error) {
	tallies := make([]tally, len(messages))
	sent := make([]pending, 0, len(messages))
	for i := range messages {
		to, err := b.publishTo(ctx, &messages[i])
		if err != nil {
			tallies[i].errs = append(tallies[i].errs, err)
		}
		for _, route := range to {
			if route.keyed {
				route.subject = b.layout.heartbeatSubject(messages[i].Key)
			}
			m := b.outboundMessage(&messages[i], route)
			request, err := b.sendChecked(m)
			if err != nil {
				tallies[i].errs = append(tallies[i].errs, err)
				continue
			}
			sent = append(sent, pending{index: i, message: m, route: route, request: request})
		}
	}
	patience := b.config.PublishTimeout
	for _, p := range sent {
		err := b.confirm(ctx, p, patience)
		if err == nil {
			tallies[p.index].stored = true
			continue
		}
		tallies[p.index].errs = append(tallies[p.index].errs, err)
		if errors.Is(err, broker.ErrUnroutable) {
			b.routes.forget(messages[p.index].Queue)
		}
		if errors.Is(err, errTimeout) {
			// The others were sent at the same time: they are late as well.
			patience = time.Millisecond
		}
	}
	for i := range tallies {
		errs[i] = tallies[i].err(messages[i].Queue)
	}
}

func (b *Broker) publishTo(ctx context.Context, o *broker.Outbound) ([]route, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("not sent: %w", context.Cause(ctx))
	}
	to, err := b.routes.of(ctx, o.Queue)
	if err == nil && len(to) > 0 && to[0].keyed && len(o.Key) == 0 {
		return nil, errors.New("a heartbeat without a key: nothing tells which one it replaces")
	}
	return to, err
}

func (b *Broker) confirm(ctx context.Context, p pending, patience time.Duration) error {
	answer, err := p.request.wait(ctx, patience)
	if err != nil {
		return unroutable(err, p.message)
	}
	ack, err := parsePubAck(answer, p.message)
	if err != nil || !ack.Duplicate || !p.route.letters {
		return err
	}
	_, err = b.settleDuplicate(ctx, p.message, ack, false)
	return err
}

func (b *Broker) outboundMessage(o *broker.Outbound, to route) *nats.Msg {
	queue := ""
	if to.letters {
		queue = shortenedName(o.Queue)
	}
	m := &nats.Msg{Subject: to.subject, Data: o.Body, Header: encodeHeaders(o.Headers, copyHeaders{
		envelope: o.Envelope, key: o.Key, expiresAt: formatExpiry(o.ExpiresAt), queue: queue,
		veiled: b.level < levelBatches,
	})}
	if o.ID != "" {
		m.Header[jetstream.MsgIDHeader] = []string{headerID(o.ID)}
	}
	m.Header[jetstream.ExpectedStreamHeader] = []string{to.stream}
	return m
}

// headerID makes a publish id fit for a header. Ids are compared by the server
// and never read, so a digest does for one that a header would change.
func headerID(id string) string {
	if validValue([]byte(id)) && len(id) <= 1024 {
		return id
	}
	return "sha256:" + digest(id)
}

// shortenedName returns the queue's name if its token does not tell it.
func shortenedName(queue string) string {
	if name, ok := unescape(token(queue)); ok && name == queue {
		return ""
	}
	return queue
}

// sendChecked refuses what the server would refuse for its size, before a byte
// is sent.
func (b *Broker) sendChecked(m *nats.Msg) (*request, error) {
	if err := b.checkSize(m); err != nil {
		return nil, err
	}
	return b.req.send(m)
}

func (b *Broker) checkSize(m *nats.Msg) error {
	header := headerSize(m.Header)
	if header > maxHeaderBlock {
		return fmt.Errorf("headers: %w", &broker.TooLargeError{Size: header, Limit: maxHeaderBlock})
	}
	if size, limit := header+len(m.Data), int(b.nc.MaxPayload()); limit > 0 && size > limit {
		return &broker.TooLargeError{Size: size, Limit: limit}
	}
	return nil
}

// maxFreshIDs bounds the search for an id that the server does not know.
const maxFreshIDs = 8

// settleDuplicate makes sure that a letter which the server called a duplicate
// is there. A server remembers the id of a letter that was deleted, confirms a
// new one and drops it. Then the letter is published again under an id that
// follows from the one that was lost, so that a repeat finds the same.
//
// With moved, a letter of the same body in another queue is this one: a verdict on
// another copy of the message sent it there.
func (b *Broker) settleDuplicate(ctx context.Context, m *nats.Msg, ack pubAck, moved bool) (pubAck, error) {
	for range maxFreshIDs {
		there, err := b.storedAs(ctx, m, ack, moved)
		if err != nil {
			return ack, fmt.Errorf("look whether letter %d of stream %s is there: %w: %w", ack.Sequence, ack.Stream, broker.ErrUnknown, err)
		}
		if there {
			return ack, nil
		}
		fresh := fmt.Sprintf("%s:after:%d", m.Header.Get(jetstream.MsgIDHeader), ack.Sequence)
		m = &nats.Msg{Subject: m.Subject, Data: m.Data, Header: cloneHeader(m.Header)}
		m.Header[jetstream.MsgIDHeader] = []string{headerID(fresh)}
		ack, err = b.req.publish(ctx, m)
		if err != nil || !ack.Duplicate {
			return ack, err
		}
	}
	return ack, fmt.Errorf("%d ids of the letter are taken by letters that were deleted: not stored", maxFreshIDs)
}

// storedAs asks the leader whether the message that a confirmation names is the
// one that was sent.
func (b *Broker) storedAs(ctx context.Context, m *nats.Msg, ack pubAck, moved bool) (bool, error) {
	found, err := b.getMessage(ctx, ack.Stream, getRequest{Seq: ack.Sequence})
	if errors.Is(err, broker.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	same := found.subject == m.Subject || moved && bytes.Equal(found.body, m.Data)
	return same && slices.Contains(found.header[jetstream.MsgIDHeader], m.Header.Get(jetstream.MsgIDHeader)), nil
}

func cloneHeader(h nats.Header) nats.Header {
	out := make(nats.Header, len(h))
	for name, values := range h {
		out[name] = slices.Clone(values)
	}
	return out
}

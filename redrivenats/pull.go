package redrivenats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/redrive-dev/redrive/broker"
)

// The client library's own fetching takes a message with an empty body and a
// header named Status for an answer of the server and drops it. Here only a
// message without a reply subject is one, which no producer can make.

const (
	// longPoll is short because an open request that the server forgot is only
	// noticed when it should have expired.
	longPoll = 5 * time.Second
	// grace is how long after its end a request is given up.
	grace = time.Second
)

// puller asks one consumer for messages. At most one request of each kind is
// open at a time.
type puller struct {
	nc     *nats.Conn
	next   string
	notify func()

	mu   sync.Mutex
	id   uint64
	asks [2]ask
	got  []arrival
	// empty says that the last quick request brought nothing.
	empty bool
	// err is what the server last said that was not about a single request.
	err error
}

// kind tells requests that end at once from those that wait. Each kind has a
// subscription of its own, because a message shows the subject on which it was
// published and not that of the request it answers.
type kind int

const (
	quick kind = iota
	patient
)

// ask is the open request of one kind; key is empty if none is open.
type ask struct {
	inbox string
	sub   *nats.Subscription
	key   string
	asked int
	left  int
	until time.Time
}

// arrival is a message that came and that nobody has received yet.
type arrival struct {
	m  *nats.Msg
	at time.Time
}

// newPuller subscribes. notify is called after every change and must not block.
func newPuller(nc *nats.Conn, stream, consumer string, notify func()) (*puller, error) {
	p := &puller{nc: nc, next: apiPrefix + "CONSUMER.MSG.NEXT." + stream + "." + consumer, notify: notify}
	for _, k := range []kind{quick, patient} {
		p.asks[k].inbox = nc.NewInbox() + "."
		sub, err := nc.Subscribe(p.asks[k].inbox+"*", func(m *nats.Msg) { p.take(k, m) })
		if err != nil {
			return nil, errors.Join(fmt.Errorf("consumer %s: %w", consumer, err), p.unsubscribe())
		}
		p.asks[k].sub = sub
		// Requests bound what can come; a dropped message would be a delivery that
		// nobody explains.
		if err := sub.SetPendingLimits(-1, -1); err != nil {
			return nil, errors.Join(fmt.Errorf("consumer %s: %w", consumer, err), p.unsubscribe())
		}
	}
	return p, nil
}

func (p *puller) unsubscribe() error {
	var errs []error
	for k := range p.asks {
		if sub := p.asks[k].sub; sub != nil && !p.nc.IsClosed() {
			errs = append(errs, sub.Unsubscribe())
		}
	}
	return errors.Join(errs...)
}

func (p *puller) take(k kind, m *nats.Msg) {
	p.mu.Lock()
	a := &p.asks[k]
	if m.Reply != "" {
		p.got = append(p.got, arrival{m: m, at: time.Now()})
		p.empty = false
		if a.left--; a.left <= 0 {
			a.key = ""
		}
	} else if strings.TrimPrefix(m.Subject, a.inbox) == a.key {
		p.status(a, m.Header.Get("Status"), m.Header.Get("Description"))
	}
	p.mu.Unlock()
	p.notify()
}

// status ends a request. The caller holds the lock.
func (p *puller) status(a *ask, status, text string) {
	switch status {
	case "100":
		return // Heartbeats and flow control are nothing that we asked for.
	case "404", "408":
		// Also "requests pending": other workers wait for what is there.
		p.empty = p.empty || a == &p.asks[quick] && a.left == a.asked
	case "409":
		// A server that stops, a change of leader and an exceeded limit pass; a
		// deleted consumer does not.
		if strings.Contains(strings.ToLower(text), "deleted") {
			p.err = fmt.Errorf("consumer is gone: %s", text)
		}
	case "503":
		p.err = errNoResponders
	default:
		p.err = fmt.Errorf("nats answers %s %s", status, text)
	}
	a.key = ""
}

// request asks for n messages: the quick kind for those that are there, the
// patient kind for the first ones that come.
func (p *puller) request(k kind, n int) error {
	body := nextRequest{Batch: n, NoWait: k == quick}
	if k == patient {
		body.Expires = longPoll
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.id++
	a := &p.asks[k]
	a.key, a.asked, a.left, a.until = strconv.FormatUint(p.id, 36), n, n, time.Now().Add(body.Expires+grace)
	reply := a.inbox + a.key
	p.mu.Unlock()
	if err := p.nc.PublishRequest(p.next, reply, raw); err != nil {
		p.drop()
		return err
	}
	return nil
}

// nextRequest is a pull request on the wire.
type nextRequest struct {
	Batch   int           `json:"batch"`
	Expires time.Duration `json:"expires,omitempty"`
	NoWait  bool          `json:"no_wait,omitempty"`
}

// asking reports whether a request of the kind is open. One that should have
// ended is forgotten.
func (p *puller) asking(k kind, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.After(p.asks[k].until) {
		p.asks[k].key = ""
	}
	return p.asks[k].key != ""
}

// dry reports whether the last quick request found nothing and nothing has come
// since.
func (p *puller) dry() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.empty
}

// drop forgets open requests, as after a lost connection: the server forgot
// them too.
func (p *puller) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.asks {
		p.asks[k].key = ""
	}
}

// arrived takes at most n messages.
func (p *puller) arrived(n int) []arrival {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = min(n, len(p.got))
	if n <= 0 {
		return nil
	}
	out := p.got[:n:n]
	p.got = p.got[n:]
	return out
}

// stale takes the messages that have waited for longer than age.
func (p *puller) stale(now time.Time, age time.Duration) []arrival {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.got) && now.Sub(p.got[n].at) >= age {
		n++
	}
	out := p.got[:n:n]
	p.got = p.got[n:]
	return out
}

// trouble returns and forgets the last error.
func (p *puller) trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.err
	p.err = nil
	return err
}

// delivered is what the reply subject tells of a delivery.
type delivered struct {
	sequence uint64
	count    uint64
	time     time.Time
}

// parseDelivery reads $JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.
// <consumer sequence>.<time>.<pending>, before which newer servers put domain and
// account, and after which they may put more. The client library's own reading
// makes more of it than is needed, for every message.
func parseDelivery(m *nats.Msg) (delivered, error) {
	rest, skip := m.Reply, 4
	if strings.Count(rest, ".") > 8 {
		skip = 6
	}
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var numbers [4]uint64
	for i := range numbers {
		var token string
		token, rest, _ = strings.Cut(rest, ".")
		n, err := strconv.ParseUint(token, 10, 63)
		if err != nil {
			return parseOddDelivery(m)
		}
		numbers[i] = n
	}
	return delivered{count: numbers[0], sequence: numbers[1], time: time.Unix(0, int64(numbers[3]))}, nil
}

// parseOddDelivery says what is wrong with a reply subject that is not understood.
func parseOddDelivery(m *nats.Msg) (delivered, error) {
	meta, err := m.Metadata()
	if err != nil {
		return delivered{}, fmt.Errorf("reply subject %q: %w", m.Reply, err)
	}
	return delivered{sequence: meta.Sequence.Stream, count: meta.NumDelivered, time: meta.Timestamp}, nil
}

// lane is one consumer of a subscription: that of the source or that of the
// retry queue.
type lane struct {
	*puller
	b        *Broker
	stream   string
	consumer string
	created  time.Time
	// queue is the stream in the identity of its messages.
	queue string
	// ours says that the stream is redrive's retry stream.
	ours bool
	// subject is the subject that follows from the queue's name.
	subject string
	ackWait time.Duration
	// marked are the messages that had a note when the connection was made. Their
	// notes are read even if the server calls the delivery the first: a server that
	// crashed may have forgotten the earlier ones. The puller's lock guards it.
	marked map[uint64]bool
	// reconnects is the connection's count when they were read. Receive alone uses
	// it.
	reconnects uint64
}

// reload reads which messages have a note.
func (l *lane) reload(ctx context.Context) error {
	marked, err := l.b.markedSequences(ctx, l.stream, l.created)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marked = marked
	return nil
}

func (l *lane) isMarked(sequence uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.marked[sequence]
}

func (l *lane) unmark(sequence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.marked, sequence)
}

func (l *lane) identity(sequence uint64) broker.Incarnation {
	return broker.Incarnation{
		Cluster: l.b.cluster, Queue: l.queue, Position: strconv.FormatUint(sequence, 10),
	}
}

// delivery makes a port delivery of a message, and reads its mark if it was
// delivered before.
func (l *lane) delivery(ctx context.Context, s *subscription, a arrival) (*delivery, error) {
	info, err := parseDelivery(a.m)
	if err != nil {
		return nil, err
	}
	header := a.m.Header
	if header == nil && a.m.Size() > len(a.m.Subject)+len(a.m.Reply)+len(a.m.Data) {
		// The client library could not read one line and gave up all of them.
		original, err := l.b.getMessage(ctx, l.stream, getRequest{Seq: info.sequence})
		if err != nil {
			return nil, err
		}
		header = original.header
	}
	d := &delivery{
		s: s, lane: l, reply: a.m.Reply, sequence: info.sequence, deadline: a.at.Add(l.ackWait),
		decoded: decode(stored{
			subject: a.m.Subject, header: header, body: a.m.Data, time: info.time,
			subjectKnown: l.ours || a.m.Subject == l.subject, ours: l.ours,
		}),
		deliveries: broker.Deliveries{Earlier: int(info.count) - 1, Kind: broker.CountExact},
		count:      int(info.count),
	}
	if info.count <= 1 && !l.isMarked(info.sequence) {
		return d, nil
	}
	row, revision, err := l.b.mark(ctx, d.markKey())
	if err != nil {
		return nil, err
	}
	d.deliveries.Mark, d.markRevision, d.waited = row.Mark, revision, row.Waited
	d.deliveries.Earlier = max(d.count-1-row.Waited, row.Deliveries, 0)
	l.unmark(info.sequence)
	return d, nil
}

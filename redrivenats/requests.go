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
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

// requests sends messages that the server answers, many at a time: one
// subscription takes all answers, so that a confirmation costs no subscription
// and no goroutine, and one timer looks after all requests that nobody waits for.
type requests struct {
	nc      *nats.Conn
	prefix  string
	sub     *nats.Subscription
	timeout time.Duration
	status  chan nats.Status
	watcher sync.WaitGroup
	timers  sync.Pool // of *time.Timer
	answers sync.Pool // of chan *nats.Msg, empty
	// forgotten stands for the answer to a request that will have none.
	forgotten *nats.Msg

	mu     sync.Mutex
	next   uint64
	open   map[uint64]*request
	guards map[uint64]context.CancelCauseFunc
	closed bool
	// sweeper runs sweep once; sweeping says that it is set.
	sweeper  *time.Timer
	sweeping bool
}

func newRequests(nc *nats.Conn, timeout time.Duration) (*requests, error) {
	r := &requests{
		nc: nc, prefix: nc.NewInbox() + ".", timeout: timeout, forgotten: &nats.Msg{},
		open: map[uint64]*request{}, guards: map[uint64]context.CancelCauseFunc{},
	}
	sub, err := nc.Subscribe(r.prefix+"*", r.answer)
	if err != nil {
		return nil, fmt.Errorf("subscribe to confirmations: %w", err)
	}
	// A dropped confirmation would be an unknown outcome; the number of open
	// requests is what bounds them.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("subscribe to confirmations: %w", err)
	}
	r.sub = sub
	r.status = nc.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	r.watcher.Go(r.watch)
	return r, nil
}

// watch ends the waiting for answers that a lost connection takes along.
func (r *requests) watch() {
	for status := range r.status {
		r.mu.Lock()
		lost := r.open
		r.open = map[uint64]*request{}
		for _, lose := range r.guards {
			lose(fmt.Errorf("connection to nats was lost before the answer: %w", errDisconnected))
		}
		r.mu.Unlock()
		for _, q := range lost {
			q.deliver(nil)
		}
		if status == nats.CLOSED {
			return
		}
	}
}

func (r *requests) answer(m *nats.Msg) {
	key, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, r.prefix), keyBase, 64)
	if err != nil {
		return // Nobody asked for it.
	}
	r.mu.Lock()
	q := r.open[key]
	delete(r.open, key)
	r.mu.Unlock()
	if q != nil {
		q.deliver(m)
	}
}

// request is one that has been sent. Either somebody waits for its answer or it has
// a taker.
type request struct {
	r       *requests
	key     uint64
	subject string
	answer  chan *nats.Msg

	taker taker
	ctx   context.Context //nolint:containedctx // it bounds the request
	sent  time.Time
	until time.Time
	// late says that the answer has taken long enough to look for a reason.
	late bool
}

// taker is given the answer to a request, once. It must not wait for another one.
type taker interface{ take(m *nats.Msg, err error) }

// deliver hands over an answer. The request must have been taken out of open by the
// caller.
func (q *request) deliver(m *nats.Msg) {
	if q.taker == nil {
		q.answer <- m
		return
	}
	q.taker.take(q.read(m))
}

// keyBase is the base in which a request's key stands in its reply subject.
const keyBase = 36

// send sends a message and does not wait. An error means that nothing was sent.
func (r *requests) send(m *nats.Msg) (*request, error) {
	q, err := r.begin(m.Subject)
	if err != nil {
		return nil, err
	}
	m.Reply = q.reply()
	if err := r.nc.PublishMsg(m); err != nil {
		q.forget()
		return nil, publishError(err, m)
	}
	return q, nil
}

// sendWord is send for a body without headers.
func (r *requests) sendWord(subject string, body []byte) (*request, error) {
	q, err := r.begin(subject)
	if err != nil {
		return nil, err
	}
	if err := r.nc.PublishRequest(subject, q.reply(), body); err != nil {
		q.forget()
		return nil, publishError(err, &nats.Msg{Subject: subject, Data: body})
	}
	return q, nil
}

// begin opens a request, whose answer may come as soon as it is sent.
func (r *requests) begin(subject string) (*request, error) {
	if !r.nc.IsConnected() {
		// A library that buffers while it reconnects would send later than anybody
		// expects.
		return nil, r.notConnected()
	}
	q := &request{r: r, subject: subject}
	if used, ok := r.answers.Get().(chan *nats.Msg); ok {
		q.answer = used
	} else {
		q.answer = make(chan *nats.Msg, 1)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.register(q); err != nil {
		return nil, err
	}
	return q, nil
}

// register opens a request. The caller holds the lock.
func (r *requests) register(q *request) error {
	if r.closed {
		return fmt.Errorf("nats connection: %w", broker.ErrClosed)
	}
	r.next++
	q.key = r.next
	r.open[q.key] = q
	return nil
}

// reply is the subject for the answer.
func (q *request) reply() string {
	var space [64]byte
	return string(strconv.AppendUint(append(space[:0], q.r.prefix...), q.key, keyBase))
}

func (r *requests) notConnected() error {
	if r.nc.IsClosed() {
		return fmt.Errorf("nats connection: %w", broker.ErrClosed)
	}
	return fmt.Errorf("not connected to nats (%s), it reconnects by itself: %w", r.nc.Status(), errDisconnected)
}

// publishError explains an error before anything was sent.
func publishError(err error, m *nats.Msg) error {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return &broker.TooLargeError{Size: headerSize(m.Header) + len(m.Data)}
	case errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("nats connection: %w", broker.ErrClosed)
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return fmt.Errorf("not connected to nats, it reconnects by itself: %w", errDisconnected)
	}
	return err
}

func (q *request) forget() {
	q.r.mu.Lock()
	delete(q.r.open, q.key)
	q.r.mu.Unlock()
}

// abandon ends the wait: there will be no answer.
func (q *request) abandon() {
	q.r.mu.Lock()
	_, waiting := q.r.open[q.key]
	delete(q.r.open, q.key)
	q.r.mu.Unlock()
	if waiting {
		q.deliver(q.r.forgotten)
	}
}

// wait returns the answer. An error that wraps ErrUnknown means that none came;
// errNoResponders that the server knows nobody who listens, so that nothing
// was stored.
func (q *request) wait(ctx context.Context, patience time.Duration) (*nats.Msg, error) {
	select {
	case m := <-q.answer:
		return q.check(m)
	default:
	}
	// The server tells a missing permission to nobody in particular, so that an
	// answer which takes long is a reason to look.
	first := min(patience, slowAnswer)
	timer := q.r.timer(first)
	defer q.r.giveBack(timer)
	for left := patience - first; ; left = 0 {
		select {
		case m := <-q.answer:
			return q.check(m)
		case <-ctx.Done():
			q.forget()
			return nil, givenUp(ctx)
		case <-timer.C:
		}
		if err := q.denied(); err != nil {
			q.forget()
			return nil, err
		}
		if left <= 0 {
			q.forget()
			return nil, timedOut(patience)
		}
		timer.Reset(left)
	}
}

func givenUp(ctx context.Context) error {
	return fmt.Errorf("no confirmation from nats: %w: %w", broker.ErrUnknown, context.Cause(ctx))
}

func timedOut(patience time.Duration) error {
	return fmt.Errorf("%w within %v: %w", errTimeout, patience, broker.ErrUnknown)
}

// denied explains a missing answer by a permission, if it can. An earlier refusal of
// the same subject looks the same.
func (q *request) denied() error {
	if missing := q.r.denied(q.subject); missing != nil {
		return fmt.Errorf("%w: %w", broker.ErrUnknown, missing)
	}
	return nil
}

// slowAnswer is longer than an answer takes when nothing is wrong.
const slowAnswer = 250 * time.Millisecond

// timer returns one that was used before, or a new one: a timer is most of what a
// request costs here.
func (r *requests) timer(d time.Duration) *time.Timer {
	if t, ok := r.timers.Get().(*time.Timer); ok {
		t.Reset(d)
		return t
	}
	return time.NewTimer(d)
}

// giveBack stops a timer. Nothing of an earlier use is left in its channel: so it
// is with timers since Go 1.23.
func (r *requests) giveBack(t *time.Timer) {
	t.Stop()
	r.timers.Put(t)
}

var errForgotten = errors.New("the server has forgotten the delivery")

func (q *request) check(m *nats.Msg) (*nats.Msg, error) {
	// Whoever sends in a channel has taken it out of open before, so that nothing
	// more can come. Of a request that was given up one cannot say that.
	q.r.answers.Put(q.answer)
	return q.read(m)
}

// read tells an answer from what stands for none.
func (q *request) read(m *nats.Msg) (*nats.Msg, error) {
	switch m {
	case q.r.forgotten:
		return nil, fmt.Errorf("no confirmation from nats: %w: %w", broker.ErrUnknown, errForgotten)
	case nil:
		return nil, fmt.Errorf("connection to nats was lost before the confirmation: %w", broker.ErrUnknown)
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return nil, errNoResponders
	}
	return m, nil
}

// do sends a message and waits for the answer.
func (r *requests) do(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	q, err := r.send(m)
	if err != nil {
		return nil, err
	}
	return q.wait(ctx, r.timeout)
}

// close ends the subscription and the watcher. Waiting requests run into their
// timeout: their outcome is unknown. Those with a taker learn it at once.
func (r *requests) close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	if r.sweeper != nil {
		r.sweeper.Stop()
	}
	r.mu.Unlock()
	r.nc.RemoveStatusListener(r.status)
	r.watcher.Wait()
	r.abandonTaken()
	if r.nc.IsClosed() {
		return nil
	}
	return r.sub.Unsubscribe()
}

// pubAck is the server's answer to a publication in a stream.
type pubAck struct {
	Stream    string              `json:"stream"`
	Sequence  uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Error     *jetstream.APIError `json:"error"`
}

// parsePubAck reads a confirmation. An answer that cannot be read is an unknown
// outcome, one with an error certainly not stored.
func parsePubAck(m *nats.Msg, sent *nats.Msg) (pubAck, error) {
	var ack pubAck
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return ack, fmt.Errorf("unreadable confirmation from nats: %w: %w", broker.ErrUnknown, err)
	}
	if ack.Error != nil {
		return ack, storeError(ack.Error, sent)
	}
	if ack.Stream == "" || ack.Sequence == 0 {
		return ack, fmt.Errorf("incomplete confirmation from nats: %w", broker.ErrUnknown)
	}
	return ack, nil
}

// publish stores one message and waits for its confirmation.
func (r *requests) publish(ctx context.Context, m *nats.Msg) (pubAck, error) {
	answer, err := r.do(ctx, m)
	if err != nil {
		return pubAck{}, unroutable(err, m)
	}
	return parsePubAck(answer, m)
}

// unroutable says that nobody listens, in the port's words.
func unroutable(err error, m *nats.Msg) error {
	if errors.Is(err, errNoResponders) {
		return fmt.Errorf("no stream takes subject %q: %w", m.Subject, broker.ErrUnroutable)
	}
	return err
}

// api calls the JetStream API.
func (r *requests) api(ctx context.Context, call string, body any, into any) error {
	payload, err := json.Marshal(body)
	if err != nil {
		return err
	}
	answer, err := r.do(ctx, &nats.Msg{Subject: apiPrefix + call, Data: payload})
	if err != nil {
		return err
	}
	var failed struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &failed); err != nil {
		return fmt.Errorf("unreadable answer from nats to %s: %w", call, err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	return json.Unmarshal(answer.Data, into)
}

// apiPrefix is where JetStream listens.
const apiPrefix = "$JS.API."

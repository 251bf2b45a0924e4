package redriverabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redriverabbitmq/internal/amqp10"
)

// maxAnnotations bounds what a settlement adds to a message: the broker holds it in
// memory for as long as the message waits.
const maxAnnotations = 64 << 10

// maxEnvelope10 is the size of envelopes over AMQP 1.0, for the same reason.
const maxEnvelope10 = 4 << 10

// maxRelease10 is how long a message can be given back for where the broker delays.
const maxRelease10 = 24 * time.Hour

// link10 consumes over AMQP 1.0: one connection with a session, and on it a link for
// each queue.
type link10 struct {
	conn *amqp10.Conn
	// delays says that the server delays a message that is given back until the time
	// in its annotation. Servers before 4.3 take no notice of it.
	delays bool
	lanes  []*lane10
	// ended is closed when the link is over.
	ended chan struct{}
	once  sync.Once
	take  func(arrival)
	// lasting is the context of the readers.
	lasting context.Context //nolint:containedctx // it ends with the link
	cancel  context.CancelFunc
}

// lane10 is the link of one queue.
type lane10 struct {
	link     *link10
	consumer *amqp10.Consumer
	queue    string
	retry    string
	isRetry  bool
	// letters is the queue to which the broker itself moves what is undeliverable,
	// certainly and with confirmation; empty if that is not known.
	letters string

	readers sync.WaitGroup
	stop    context.CancelFunc
}

// dial10 connects and looks anew at what the server and the queues allow.
func dial10(ctx context.Context, s *subscription) (*link10, error) {
	conn, err := s.b.config.dial10(ctx, "consume "+s.spec.Source)
	if err != nil {
		return nil, err
	}
	lasting, cancel := context.WithCancel(s.lasting)
	l := &link10{
		conn: conn, ended: make(chan struct{}), lasting: lasting, cancel: cancel,
		delays: probe(amqp.Table{"version": conn.Version()}).delays(),
	}
	for i, window := range []int{s.spec.MaxInFlight, max(s.b.config.RetryWindow, s.spec.MaxInFlight)} {
		queue := []string{s.spec.Source, s.names.Retry}[i]
		n := &lane10{link: l, queue: nativeName(queue), retry: s.names.Retry, isRetry: i == 1}
		n.letters = s.b.nativeLetters(ctx, n.queue)
		if n.consumer, err = conn.Consume(ctx, n.queue, window); err != nil {
			l.abandon()
			return nil, err
		}
		l.lanes = append(l.lanes, n)
	}
	go func() {
		<-conn.Done()
		l.end()
	}()
	return l, nil
}

// dial10 connects to the first server that answers.
func (c Config) dial10(ctx context.Context, purpose string) (*amqp10.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
	defer cancel()
	var errs []error
	for _, u := range c.urls() {
		conn, err := c.dialOne10(ctx, u, purpose)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, fmt.Errorf("connect to %s over AMQP 1.0: %w", redactURL(u), err))
	}
	return nil, errors.Join(errs...)
}

func (c Config) dialOne10(ctx context.Context, u, purpose string) (*amqp10.Conn, error) {
	t, err := c.target(u)
	if err != nil {
		return nil, err
	}
	uri, err := amqp.ParseURI(u)
	if err != nil {
		return nil, fmt.Errorf("address %s cannot be read", redactURL(u))
	}
	o := amqp10.Options{
		Host: uri.Host, Port: uri.Port, User: t.user, Password: t.password, Vhost: t.vhost, Name: c.Name + " " + purpose,
		Heartbeat: 2 * c.Heartbeat, Timeout: c.Timeout, Dial: c.Dial,
	}
	if uri.Scheme == "amqps" {
		o.TLS = c.tls(uri)
	}
	return amqp10.Dial(ctx, o)
}

// tls is the configuration for a server: the one that was given, else one that
// checks its certificate.
func (c Config) tls(uri amqp.URI) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		config = c.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = uri.ServerName
	}
	return config
}

func (l *link10) end() { l.once.Do(func() { close(l.ended) }) }

// abandon ends a link that nobody uses yet.
func (l *link10) abandon() {
	l.end()
	l.cancel()
	_ = l.conn.Close() // It is of no use.
}

func (l *link10) gone() <-chan struct{} { return l.ended }

func (l *link10) why() error { return fmt.Errorf("%w: %w", errDisconnected, l.conn.Err()) }

func (l *link10) consume(take func(arrival)) error {
	l.take = take
	for _, n := range l.lanes {
		if err := n.consumer.Resume(); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(l.lasting)
		n.stop = cancel
		n.readers.Go(func() { n.read(ctx, take) })
	}
	return nil
}

// read hands over what comes until the context or the link ends. A link that ends
// alone, as when its queue is deleted, takes the connection with it: the subscription
// makes both again.
func (n *lane10) read(ctx context.Context, take func(arrival)) {
	for {
		d, err := n.consumer.Receive(ctx)
		if err != nil {
			if ctx.Err() == nil {
				n.link.end()
			}
			return
		}
		take(n.arrival(d))
	}
}

func (n *lane10) arrival(d *amqp10.Delivery) arrival {
	decoded := decode10(d.Message, n.retry)
	return arrival{handle: &ticket10{lane: n, delivery: d, acquired: decoded.handed}, decoded: decoded, retry: n.isRetry}
}

func (l *link10) halt() error {
	ctx, cancel := context.WithTimeout(l.lasting, l.conn.Timeout())
	defer cancel()
	var errs []error
	for _, n := range l.lanes {
		n.stop()
		n.readers.Wait()
		errs = append(errs, n.consumer.Pause(ctx))
		for d := n.consumer.Arrived(); d != nil; d = n.consumer.Arrived() {
			l.take(n.arrival(d))
		}
	}
	return errors.Join(errs...)
}

func (l *link10) close(ctx context.Context) error {
	var errs []error
	for _, n := range l.lanes {
		if n.stop != nil {
			n.stop()
		}
	}
	select {
	case <-l.ended:
	default:
		for _, n := range l.lanes {
			errs = append(errs, n.consumer.Close(ctx))
		}
	}
	l.end()
	l.cancel()
	errs = append(errs, l.conn.Close())
	for _, n := range l.lanes {
		n.readers.Wait()
	}
	return errors.Join(errs...)
}

// ticket10 is the handle of a delivery over AMQP 1.0.
type ticket10 struct {
	lane     *lane10
	delivery *amqp10.Delivery
	// acquired is how often the broker had handed the message over before.
	acquired int64

	mu   sync.Mutex
	made *amqp10.Settlement
	verb string
}

// settle tells the broker once what becomes of the message; a repeat waits for the
// confirmation of what was told. What was not told for certain can be told again.
func (t *ticket10) settle(ctx context.Context, verb string, s amqp10.Settlement) error {
	t.mu.Lock()
	if t.made == nil || !t.delivery.Sent() {
		t.made, t.verb = &s, verb
	}
	made, told := *t.made, t.verb
	t.mu.Unlock()
	if told != verb {
		return fmt.Errorf("settled as %s before: %w", told, broker.ErrLeaseLost)
	}
	err := t.delivery.Settle(ctx, made)
	switch {
	case errors.Is(err, amqp10.ErrUnconfirmed):
		return unknown("settle", err)
	case errors.Is(err, amqp10.ErrLost):
		return fmt.Errorf("%w: %w", errDisconnected, err)
	}
	return err
}

func (t *ticket10) acknowledge(ctx context.Context) error {
	return t.settle(ctx, "done", amqp10.Settlement{Accept: true})
}

func (t *ticket10) giveBack(ctx context.Context, note *broker.Mark) error {
	return t.release(ctx, broker.Release{}, note)
}

// release gives the message back. Before 4.3 the broker counts it as a delivery that
// failed, and from then on it does not.
func (t *ticket10) release(ctx context.Context, o broker.Release, note *broker.Mark) error {
	s := amqp10.Settlement{Annotations: map[string]any{}}
	if note != nil {
		text, err := markText(*note)
		if err != nil {
			return err
		}
		s.Annotations[annotationMark] = text
	}
	if o.After > 0 && t.lane.link.delays {
		s.Annotations[annotationDelivery] = dueMillis(time.Now().Add(min(o.After, maxRelease10)))
	}
	return t.settle(ctx, "given back", s)
}

// requeue tells the broker that the message is given back, and does not wait.
func (t *ticket10) requeue(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.made == nil {
		t.made, t.verb = &amqp10.Settlement{}, "given back"
		_ = t.delivery.Send(ctx, *t.made) // Who waits for it learns.
	}
}

func (t *ticket10) alive(ctx context.Context) error {
	if err := t.lane.consumer.Confirm(ctx); err != nil {
		return unknown("no answer", err)
	}
	return nil
}

// native makes a Retry or Dead in one settlement: the message stays in its queue, or
// is dead-lettered by it, with the envelope as an annotation, and nothing is copied.
func (t *ticket10) native(ctx context.Context, outcome broker.Outcome) (broker.Receipt, bool, error) {
	var s amqp10.Settlement
	var verb string
	switch o := outcome.(type) {
	case broker.Retry:
		if !t.lane.link.delays {
			return broker.Receipt{}, false, nil
		}
		verb = "retry"
		s = amqp10.Settlement{Failed: o.Counted, Annotations: map[string]any{
			annotationEnvelope: string(o.Envelope), annotationMark: "", annotationBase: t.acquired + 1,
			annotationDelivery: dueMillis(o.At),
		}}
	case broker.Dead:
		if t.lane.letters == "" || t.lane.letters != nativeName(o.Queue) {
			return broker.Receipt{}, false, nil
		}
		verb = "dead letter"
		s = amqp10.Settlement{Failed: true, Elsewhere: true, Annotations: map[string]any{
			annotationEnvelope: string(o.Envelope), annotationMark: "", annotationBase: int64(0),
			annotationStored: time.Now().UnixMilli(), annotationID: o.PublishID,
		}}
	default:
		return broker.Receipt{}, false, nil
	}
	if size := annotationSize(s.Annotations); size > maxAnnotations {
		return broker.Receipt{}, true, &broker.TooLargeError{Size: size, Limit: maxAnnotations}
	}
	return broker.Receipt{Native: true}, true, t.settle(ctx, verb, s)
}

// dueMillis rounds up: nothing is early.
func dueMillis(at time.Time) int64 { return at.Add(time.Millisecond - time.Nanosecond).UnixMilli() }

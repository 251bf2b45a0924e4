package redriverabbitmq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// linger is how long a channel stays open after the last acknowledgement. A
// quorum queue that is told of a closed channel before it has written the newest
// acknowledgements forgets them, and an answer of the channel does not help: in
// 10,000 acknowledgements up to 191 came back, and none after this time.
const linger = 500 * time.Millisecond

// link091 consumes over AMQP 0-9-1: one connection, and on it one channel for
// each queue, since a server that has a complaint about one closes its channel.
type link091 struct {
	conn  *amqp.Connection
	s     *subscription
	ended chan struct{}
	done  sync.WaitGroup

	mu     sync.Mutex
	reason error
	// lanes are the channels in use, retired included.
	lanes map[*lane]struct{}
}

// lane is the channel of one queue while it is consumed. A channel is not used
// again after its consumer has ended: a quorum queue may deliver a message after
// the broker's word that it has, which the client library drops, so that it would
// be in nobody's hands. Such a channel is closed when what it delivered is settled.
type lane struct {
	link     *link091
	ch       *amqp.Channel
	queue    string
	isRetry  bool
	prefetch int
	settler  *settler
	readers  sync.WaitGroup

	mu sync.Mutex
	// out is the number of deliveries that are not settled.
	out     int
	retired bool
	closing bool
}

// consumerTag names the one consumer of a channel.
const consumerTag = "redrive"

// dial091 connects.
func dial091(ctx context.Context, s *subscription) (*link091, error) {
	conn, err := s.b.config.dial(ctx, "consume "+s.spec.Source)
	if err != nil {
		return nil, err
	}
	l := &link091{conn: conn, s: s, ended: make(chan struct{}), lanes: map[*lane]struct{}{}}
	closes := conn.NotifyClose(make(chan *amqp.Error, 1))
	l.done.Go(func() {
		select {
		case reason := <-closes:
			l.end(reason)
		case <-l.ended:
		}
	})
	return l, nil
}

// open makes a channel that consumes a queue.
func (l *link091) open(queue string, isRetry bool, prefetch int, take func(arrival)) error {
	ch, err := l.conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	prefetch = min(prefetch, 65_535)
	n := &lane{link: l, ch: ch, queue: queue, isRetry: isRetry, prefetch: prefetch}
	n.settler = &settler{ch: ch, prefetch: prefetch, gone: l.ended, why: l.why}
	l.mu.Lock()
	l.lanes[n] = struct{}{}
	l.mu.Unlock()
	closes, cancels := ch.NotifyClose(make(chan *amqp.Error, 1)), ch.NotifyCancel(make(chan string, 1))
	l.done.Go(func() { n.watch(closes, cancels) })
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(queue, consumerTag, false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume queue %q: %w", queue, err)
	}
	retry := l.s.names.Retry
	n.readers.Go(func() {
		for d := range deliveries {
			n.count(1)
			take(arrival{handle: &ticket{lane: n, tag: d.DeliveryTag}, decoded: decode(&d, retry), retry: n.isRetry})
		}
	})
	return nil
}

// watch ends the link with its channel, unless the channel was to be closed.
func (n *lane) watch(closes <-chan *amqp.Error, cancels <-chan string) {
	var reason error
	select {
	case e := <-closes:
		reason = e
	case _, ok := <-cancels:
		if ok {
			reason = fmt.Errorf("the broker ended the consumer of queue %q: it was deleted, or moves to another node", n.queue)
		} else {
			reason = <-closes
		}
	case <-n.link.ended:
		return
	}
	n.mu.Lock()
	expected := n.closing
	n.mu.Unlock()
	if !expected {
		n.link.end(reason)
	}
}

// count takes note of a delivery, or of a settled one, and closes a retired
// channel after the last.
func (n *lane) count(change int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.out += change
	if !n.retired || n.out > 0 || n.closing {
		return
	}
	n.closing = true
	n.link.done.Go(func() {
		timer := time.NewTimer(linger)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-n.link.ended:
			return
		}
		n.settler.calls.Lock()
		_ = n.ch.Close() // Else it ends with the connection.
		n.settler.calls.Unlock()
		n.link.mu.Lock()
		defer n.link.mu.Unlock()
		delete(n.link.lanes, n)
	})
}

// end records why the link is over. The first reason counts.
func (l *link091) end(reason error) {
	if e := (*amqp.Error)(nil); errors.As(reason, &e) && e == nil {
		reason = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.ended:
		return
	default:
	}
	l.reason = reason
	close(l.ended)
}

func (l *link091) gone() <-chan struct{} { return l.ended }

func (l *link091) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reason == nil {
		return errDisconnected
	}
	return fmt.Errorf("%w: %w", errDisconnected, l.reason)
}

func (l *link091) consume(take func(arrival)) error {
	spec, window := l.s.spec, l.s.b.config.RetryWindow
	return errors.Join(
		l.open(nativeName(spec.Source), false, spec.MaxInFlight, take),
		l.open(nativeName(l.s.names.Retry), true, max(window, spec.MaxInFlight), take),
	)
}

func (l *link091) halt() error {
	l.mu.Lock()
	var active []*lane
	for n := range l.lanes {
		n.mu.Lock()
		if !n.retired {
			active = append(active, n)
		}
		n.mu.Unlock()
	}
	l.mu.Unlock()
	var errs []error
	for _, n := range active {
		n.settler.calls.Lock()
		errs = append(errs, n.ch.Cancel(consumerTag, false))
		n.settler.calls.Unlock()
	}
	for _, n := range active {
		// What arrived before the answer is handed over before the readers end.
		n.readers.Wait()
		n.mu.Lock()
		n.retired = true
		n.mu.Unlock()
		n.count(0)
	}
	return errors.Join(errs...)
}

func (l *link091) close(ctx context.Context) error {
	select {
	case <-l.ended:
	default:
		timer := time.NewTimer(linger)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-l.ended:
		}
		timer.Stop()
	}
	l.end(nil)
	patience := 5 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, max(time.Until(deadline), 100*time.Millisecond))
	}
	err := closeConnection(l.conn, patience)
	l.mu.Lock()
	lanes := slices.Collect(maps.Keys(l.lanes))
	l.mu.Unlock()
	for _, n := range lanes {
		n.readers.Wait()
	}
	l.done.Wait()
	return err
}

package redriverabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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
	lanes []*lane
	ended chan struct{}
	done  sync.WaitGroup

	mu        sync.Mutex
	reason    error
	consuming int
}

// lane is the channel of one queue.
type lane struct {
	link     *link091
	ch       *amqp.Channel
	queue    string
	retry    string
	isRetry  bool
	prefetch int
	settler  *settler
	readers  sync.WaitGroup
	tag      string
}

// dial091 connects and opens the channels of a subscription.
func dial091(ctx context.Context, s *subscription) (*link091, error) {
	conn, err := s.b.config.dial(ctx, "consume "+s.spec.Source)
	if err != nil {
		return nil, err
	}
	l := &link091{conn: conn, ended: make(chan struct{})}
	closes := conn.NotifyClose(make(chan *amqp.Error, 1))
	l.done.Go(func() {
		select {
		case reason := <-closes:
			l.end(reason)
		case <-l.ended:
		}
	})
	done := make(chan error, 1)
	go func() {
		done <- errors.Join(
			l.open(nativeName(s.spec.Source), s.names.Retry, false, s.spec.MaxInFlight),
			l.open(nativeName(s.names.Retry), s.names.Retry, true, max(s.b.config.RetryWindow, s.spec.MaxInFlight)),
		)
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		l.end(nil)
		_ = closeConnection(conn, s.b.config.Timeout) // It is of no use.
		return nil, err
	}
	return l, nil
}

func (l *link091) open(queue, retry string, isRetry bool, prefetch int) error {
	ch, err := l.conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	prefetch = min(prefetch, 65_535)
	n := &lane{link: l, ch: ch, queue: queue, retry: retry, isRetry: isRetry, prefetch: prefetch}
	n.settler = &settler{ch: ch, prefetch: prefetch, gone: l.ended, why: l.why}
	l.lanes = append(l.lanes, n)
	closes, cancels := ch.NotifyClose(make(chan *amqp.Error, 1)), ch.NotifyCancel(make(chan string, 1))
	l.done.Go(func() {
		select {
		case reason := <-closes:
			l.end(reason)
		case _, ok := <-cancels:
			if ok {
				l.end(fmt.Errorf("the broker ended the consumer of queue %q: it was deleted, or moves to another node", queue))
			} else {
				l.end(<-closes)
			}
		case <-l.ended:
		}
	})
	return ch.Qos(prefetch, 0, false)
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
	l.mu.Lock()
	l.consuming++
	tag := "redrive-" + strconv.Itoa(l.consuming)
	l.mu.Unlock()
	for _, n := range l.lanes {
		deliveries, err := n.ch.Consume(n.queue, tag, false, false, false, false, nil)
		if err != nil {
			return fmt.Errorf("consume queue %q: %w", n.queue, err)
		}
		n.tag = tag
		n.readers.Go(func() {
			for d := range deliveries {
				take(arrival{handle: &ticket{lane: n, tag: d.DeliveryTag}, decoded: decode(&d, n.retry), retry: n.isRetry})
			}
		})
	}
	return nil
}

func (l *link091) halt() error {
	var errs []error
	for _, n := range l.lanes {
		errs = append(errs, n.ch.Cancel(n.tag, false))
	}
	// What arrived before the answer is handed over before the readers end.
	for _, n := range l.lanes {
		n.readers.Wait()
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
	for _, n := range l.lanes {
		n.readers.Wait()
	}
	l.done.Wait()
	return err
}

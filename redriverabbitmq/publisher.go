package redriverabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

// publisher sends messages one after another and has each confirmed and routed.
// One goroutine writes, so that a server that stops reading holds up nobody who
// has a deadline.
type publisher struct {
	trunk *trunk
	limit *sizes
	work  chan *promise
	stop  chan struct{}
	done  sync.WaitGroup

	session *publishSession // of the writer alone
}

// publishSession is one channel in confirm mode.
type publishSession struct {
	ch *amqp.Channel
	// settled is taken by the collector when it has nothing in hand: a message that
	// came back before its confirmation is in returned by then.
	settled chan struct{}
	gone    chan struct{}

	mu       sync.Mutex
	returned []amqp.Return
	reason   *amqp.Error
}

// fate is how far a promise has come.
type fate uint8

const (
	waiting fate = iota
	cancelled
	writing
)

// promise is one publication.
type promise struct {
	queue   string
	message *amqp.Publishing

	mu   sync.Mutex
	fate fate
	// sent is closed when the message was written or cannot be.
	sent    chan struct{}
	err     error
	session *publishSession
	confirm *amqp.DeferredConfirmation
	// settled says that the result is known, and is in err.
	settled bool
}

func newPublisher(t *trunk, limit *sizes) *publisher {
	p := &publisher{trunk: t, limit: limit, work: make(chan *promise, 256), stop: make(chan struct{})}
	p.done.Go(p.write)
	return p
}

// stopWriting ends the writer. What was not written by then is not sent.
func (p *publisher) stopWriting() { close(p.stop) }

// wait returns when everything has ended, which takes the end of the connection.
func (p *publisher) wait() { p.done.Wait() }

// send hands a publication to the writer.
func (p *publisher) send(ctx context.Context, queue string, m *amqp.Publishing) (*promise, error) {
	if err := p.limit.check(m); err != nil {
		return nil, err
	}
	pr := &promise{queue: queue, message: m, sent: make(chan struct{})}
	select {
	case <-p.stop:
		return nil, fmt.Errorf("publish: %w", broker.ErrClosed)
	default:
	}
	select {
	case p.work <- pr:
		return pr, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("not sent: %w", context.Cause(ctx))
	case <-p.stop:
		return nil, fmt.Errorf("publish: %w", broker.ErrClosed)
	}
}

func (p *publisher) write() {
	for {
		select {
		case <-p.stop:
			p.leave()
			return
		case pr := <-p.work:
			if pr.begin() {
				p.publish(pr)
			}
		}
	}
}

// leave tells those who wait that nothing more is sent.
func (p *publisher) leave() {
	for {
		select {
		case pr := <-p.work:
			if pr.begin() {
				pr.fail(fmt.Errorf("not sent: %w", broker.ErrClosed))
			}
		default:
			return
		}
	}
}

func (p *publisher) publish(pr *promise) {
	if p.trunk.isBlocked() {
		pr.fail(fmt.Errorf("not sent: %w: %w", broker.ErrFull, errBlocked))
		return
	}
	s, err := p.open()
	if err != nil {
		pr.fail(fmt.Errorf("not sent: %w", err))
		return
	}
	confirm, err := s.ch.PublishWithDeferredConfirm("", pr.queue, true, false, *pr.message)
	switch {
	case errors.Is(err, amqp.ErrClosed):
		// The library looks before it writes.
		pr.fail(fmt.Errorf("not sent: %w", s.why()))
	case err != nil:
		pr.fail(unknown("publish", err))
	default:
		pr.session, pr.confirm = s, confirm
		close(pr.sent)
	}
}

// open returns a channel that takes messages.
func (p *publisher) open() (*publishSession, error) {
	if s := p.session; s != nil && !s.ch.IsClosed() {
		return s, nil
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), p.trunk.config.ConnectTimeout, errTimeout) //nolint:forbidigo // the channel outlives the message that it is made for
	defer cancel()
	var s *publishSession
	conn, err := p.trunk.get(ctx)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		ch, err := conn.Channel()
		if err == nil {
			err = ch.Confirm(false)
		}
		if err == nil {
			s = &publishSession{ch: ch, settled: make(chan struct{}), gone: make(chan struct{})}
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return nil, fmt.Errorf("open a channel: %w", err)
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("open a channel: %w", context.Cause(ctx))
	}
	p.session = s
	returns := s.ch.NotifyReturn(make(chan amqp.Return))
	closes := s.ch.NotifyClose(make(chan *amqp.Error, 1))
	p.done.Go(func() { s.collect(returns, closes, p.limit) })
	return s, nil
}

// collect keeps the messages that come back. The channel of returns has no
// buffer, and the library hands a return over before it looks at the confirmation
// that follows.
func (s *publishSession) collect(returns <-chan amqp.Return, closes <-chan *amqp.Error, limit *sizes) {
	defer close(s.gone)
	for {
		select {
		case r, ok := <-returns:
			if !ok {
				reason := <-closes
				s.mu.Lock()
				s.reason = reason
				s.mu.Unlock()
				limit.learn(reason)
				return
			}
			s.mu.Lock()
			s.returned = append(s.returned, r)
			s.mu.Unlock()
		case <-s.settled:
		}
	}
}

// why is the reason for which the channel is closed.
func (s *publishSession) why() error {
	select {
	case <-s.gone:
	default:
		return errDisconnected
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason == nil {
		return errDisconnected
	}
	return fmt.Errorf("%w: %w", errDisconnected, s.reason)
}

// cameBack reports whether a publication was returned, and forgets it.
func (s *publishSession) cameBack(pr *promise) bool {
	select {
	case s.settled <- struct{}{}:
	case <-s.gone:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.returned {
		if sameCopy(&s.returned[i], pr.message, pr.queue) {
			s.returned = append(s.returned[:i], s.returned[i+1:]...)
			return true
		}
	}
	return false
}

func (pr *promise) begin() bool {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.fate != waiting {
		return false
	}
	pr.fate = writing
	return true
}

// cancel reports whether the message will certainly not be sent.
func (pr *promise) cancel() bool {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.fate == writing {
		return false
	}
	pr.fate = cancelled
	return true
}

func (pr *promise) fail(err error) {
	pr.mu.Lock()
	pr.err, pr.settled = err, true
	pr.mu.Unlock()
	close(pr.sent)
}

// wait returns nil when the message is stored in its queue. It may be called
// again after an outcome that was unknown, and then waits for the same message.
func (pr *promise) wait(ctx context.Context, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-pr.sent:
	default:
		select {
		case <-pr.sent:
		case <-ctx.Done():
			return pr.late(context.Cause(ctx))
		case <-timer.C:
			return pr.late(errTimeout)
		}
	}
	pr.mu.Lock()
	err, settled := pr.err, pr.settled
	pr.mu.Unlock()
	if settled {
		return err
	}
	select {
	case <-pr.confirm.Done():
	default:
		select {
		case <-pr.confirm.Done():
		case <-ctx.Done():
			return unknown("no confirmation", context.Cause(ctx))
		case <-timer.C:
			return unknown("no confirmation", errTimeout)
		}
	}
	return pr.result()
}

func (pr *promise) late(err error) error {
	if pr.cancel() {
		return fmt.Errorf("not sent: %w", err)
	}
	return unknown("no confirmation", err)
}

// result judges a confirmation. The library confirms with false what a lost
// connection leaves open.
func (pr *promise) result() error {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.settled {
		return pr.err
	}
	pr.settled = true
	switch {
	case !pr.confirm.Acked() && pr.session.ch.IsClosed():
		pr.err = unknown("no confirmation", pr.session.why())
	case pr.session.cameBack(pr):
		pr.err = fmt.Errorf("queue %q does not exist: %w", pr.queue, broker.ErrUnroutable)
	case !pr.confirm.Acked():
		// A queue that is full refuses, and so does one that lost its majority, which
		// may store the message after all.
		pr.err = fmt.Errorf("queue %q refused the message: %w: %w", pr.queue, broker.ErrFull, broker.ErrUnknown)
	}
	return pr.err
}

// pending reports whether the result is still open.
func (pr *promise) pending() bool {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	return !pr.settled && pr.fate != cancelled
}

// sizes are the limits of what may be sent.
type sizes struct {
	mu             sync.Mutex
	message, frame int
}

// frameOverhead is what a frame carries around its payload.
const frameOverhead = 8

func (s *sizes) check(m *amqp.Publishing) error {
	limit, frame := s.limits()
	header := headerSize(m)
	if header > frame {
		return fmt.Errorf("headers: %w", &broker.TooLargeError{Size: header, Limit: frame})
	}
	if size := header + len(m.Body); size > limit {
		return &broker.TooLargeError{Size: size, Limit: limit}
	}
	return nil
}

func (s *sizes) limits() (message, frame int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.message, s.frame
}

// negotiated takes the size of frames that a connection agreed on.
func (s *sizes) negotiated(frame int) {
	if frame <= frameOverhead {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frame = frame - frameOverhead
}

// learn takes the limit for which the server closed a channel.
func (s *sizes) learn(reason *amqp.Error) {
	limit, ok := sizeLimit(reason)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.message = min(s.message, limit)
}

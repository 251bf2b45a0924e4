package redrivenats

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/redrive-dev/redrive/broker"
)

// sweepEvery is how often requests that nobody waits for are looked at: how late
// their timeouts and ended contexts may be noticed.
const sweepEvery = 100 * time.Millisecond

// promise opens a request whose answer goes to a taker, within the patience and until
// the context ends. The request is the taker's own and free; send must send it. After
// an error the taker is not called.
func (r *requests) promise(ctx context.Context, q *request, subject string, patience time.Duration, send func(reply string) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if !r.nc.IsConnected() {
		return r.notConnected()
	}
	now := time.Now()
	r.mu.Lock()
	q.r, q.subject, q.ctx, q.late = r, subject, ctx, false
	q.sent, q.until = now, now.Add(patience)
	err := r.register(q)
	if err == nil && !r.sweeping {
		r.sweeping = true
		if r.sweeper == nil {
			r.sweeper = time.AfterFunc(sweepEvery, r.sweep)
		} else {
			r.sweeper.Reset(sweepEvery)
		}
	}
	reply := q.reply()
	r.mu.Unlock()
	if err != nil {
		return err
	}
	if err := send(reply); err != nil {
		r.mu.Lock()
		_, ours := r.open[q.key]
		delete(r.open, q.key)
		r.mu.Unlock()
		if ours {
			return err
		}
		// The connection was lost meanwhile, and the taker knows it.
	}
	return nil
}

// hurry shortens the patience of a request with a taker that is still open.
func (r *requests) hurry(q *request, patience time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if until := time.Now().Add(patience); r.open[q.key] == q && until.Before(q.until) {
		q.until = until
	}
}

// ending is a request that ends without an answer, and why.
type ending struct {
	q   *request
	err error
}

// sweep ends the requests with a taker whose time is over, and comes again as long as
// there are any.
func (r *requests) sweep() {
	now := time.Now()
	var late []*request
	var over []ending
	r.mu.Lock()
	taken := 0
	for key, q := range r.open {
		if q.taker == nil {
			continue
		}
		switch {
		case q.ctx.Err() != nil:
			over = append(over, ending{q, givenUp(q.ctx)})
			delete(r.open, key)
			continue
		case !now.Before(q.until):
			over = append(over, ending{q, nil})
			delete(r.open, key)
			continue
		case !q.late && now.Sub(q.sent) >= slowAnswer:
			q.late = true
			late = append(late, q)
		}
		taken++
	}
	if r.sweeping = taken > 0 && !r.closed; r.sweeping {
		r.sweeper.Reset(sweepEvery)
	}
	r.mu.Unlock()
	for _, e := range over {
		if e.err == nil {
			if e.err = e.q.denied(); e.err == nil {
				e.err = timedOut(e.q.until.Sub(e.q.sent))
			}
		}
		e.q.taker.take(nil, e.err)
	}
	r.refused(late)
}

// refused ends requests to which the server does not answer because they are not
// permitted.
func (r *requests) refused(late []*request) {
	if len(late) == 0 || r.nc.LastError() == nil {
		return
	}
	for _, q := range late {
		r.mu.Lock()
		key := q.key
		open := r.open[key] == q
		subject := q.subject
		r.mu.Unlock()
		if !open {
			continue
		}
		missing := r.denied(subject)
		if missing == nil {
			continue
		}
		r.mu.Lock()
		open = r.open[key] == q
		if open {
			delete(r.open, key)
		}
		r.mu.Unlock()
		if open {
			q.taker.take(nil, fmt.Errorf("%w: %w", broker.ErrUnknown, missing))
		}
	}
}

// abandonTaken ends all requests with a taker.
func (r *requests) abandonTaken() {
	var left []*request
	r.mu.Lock()
	for key, q := range r.open {
		if q.taker != nil {
			left = append(left, q)
			delete(r.open, key)
		}
	}
	r.mu.Unlock()
	for _, q := range left {
		q.taker.take(nil, fmt.Errorf("nats connection: %w: %w", broker.ErrUnknown, broker.ErrClosed))
	}
}

// promiseWord is promise for a body without headers.
func (r *requests) promiseWord(ctx context.Context, q *request, subject string, body []byte, patience time.Duration) error {
	return r.promise(ctx, q, subject, patience, func(reply string) error {
		if err := r.nc.PublishRequest(subject, reply, body); err != nil {
			return publishError(err, &nats.Msg{Subject: subject, Data: body})
		}
		return nil
	})
}

// promiseMsg is promise for a whole message.
func (r *requests) promiseMsg(ctx context.Context, q *request, m *nats.Msg, patience time.Duration) error {
	return r.promise(ctx, q, m.Subject, patience, func(reply string) error {
		m.Reply = reply
		if err := r.nc.PublishMsg(m); err != nil {
			return publishError(err, m)
		}
		return nil
	})
}

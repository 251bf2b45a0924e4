package redrivenats

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// guarded is the client library's JetStream API with a bound on every request.
// The library itself waits for an answer until the caller's context ends, also
// when the connection that would have brought it is gone.
type guarded struct {
	jetstream.JetStream
	req *requests
}

// guard returns a context for one request. It ends after the patience with one
// answer, and when the connection is lost. What the request returned goes through
// end, which says in our own words that it was one of these.
func (r *requests) guard(parent context.Context, patience time.Duration) (ctx context.Context, end func(error) error) {
	ctx, stop := context.WithTimeoutCause(parent, patience, fmt.Errorf("%w within %v", errTimeout, patience))
	ctx, lose := context.WithCancelCause(ctx)
	r.mu.Lock()
	r.next++
	id := r.next
	r.guards[id] = lose
	r.mu.Unlock()
	return ctx, func(err error) error {
		r.mu.Lock()
		delete(r.guards, id)
		r.mu.Unlock()
		if err != nil && ctx.Err() != nil && parent.Err() == nil {
			err = context.Cause(ctx)
			if missing := r.denied(apiPrefix + "*"); missing != nil {
				err = fmt.Errorf("%w: %w", err, missing)
			}
		}
		lose(nil)
		stop()
		return err
	}
}

// listPatience is how many times the patience with one answer a list may take,
// which comes in pages.
const listPatience = 6

func (g guarded) AccountInfo(ctx context.Context) (*jetstream.AccountInfo, error) {
	ctx, end := g.req.guard(ctx, g.req.timeout)
	info, err := g.JetStream.AccountInfo(ctx)
	return info, end(err)
}

func (g guarded) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	ctx, end := g.req.guard(ctx, g.req.timeout)
	s, err := g.JetStream.Stream(ctx, name)
	return guardedStream{s, g.req}, end(err)
}

func (g guarded) CreateStream(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	ctx, end := g.req.guard(ctx, g.req.timeout)
	s, err := g.JetStream.CreateStream(ctx, c)
	return guardedStream{s, g.req}, end(err)
}

func (g guarded) CreateKeyValue(ctx context.Context, c jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	ctx, end := g.req.guard(ctx, g.req.timeout)
	kv, err := g.JetStream.CreateKeyValue(ctx, c)
	return kv, end(err)
}

func (g guarded) StreamNameBySubject(ctx context.Context, subject string) (string, error) {
	ctx, end := g.req.guard(ctx, g.req.timeout)
	name, err := g.JetStream.StreamNameBySubject(ctx, subject)
	return name, end(err)
}

func (g guarded) UpdateConsumer(ctx context.Context, stream string, c jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	ctx, end := g.req.guard(ctx, g.req.timeout)
	consumer, err := g.JetStream.UpdateConsumer(ctx, stream, c)
	return consumer, end(err)
}

func (g guarded) CreateOrUpdateConsumer(ctx context.Context, stream string, c jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	ctx, end := g.req.guard(ctx, g.req.timeout)
	consumer, err := g.JetStream.CreateOrUpdateConsumer(ctx, stream, c)
	return consumer, end(err)
}

func (g guarded) ListStreams(ctx context.Context, options ...jetstream.StreamListOpt) jetstream.StreamInfoLister {
	ctx, end := g.req.guard(ctx, listPatience*g.req.timeout)
	return streamLister{g.JetStream.ListStreams(ctx, options...), end}
}

type guardedStream struct {
	jetstream.Stream
	req *requests
}

func (s guardedStream) Info(ctx context.Context, options ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	ctx, end := s.req.guard(ctx, s.req.timeout)
	info, err := s.Stream.Info(ctx, options...)
	return info, end(err)
}

func (s guardedStream) ListConsumers(ctx context.Context) jetstream.ConsumerInfoLister {
	ctx, end := s.req.guard(ctx, listPatience*s.req.timeout)
	return consumerLister{s.Stream.ListConsumers(ctx), end}
}

// The lists are read to their end, and then asked for their error: that ends the
// guard.

type streamLister struct {
	jetstream.StreamInfoLister
	end func(error) error
}

func (l streamLister) Err() error { return l.end(l.StreamInfoLister.Err()) }

type consumerLister struct {
	jetstream.ConsumerInfoLister
	end func(error) error
}

func (l consumerLister) Err() error { return l.end(l.ConsumerInfoLister.Err()) }

package throughput

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const headerAttempt = "Attempt"

// rawLoop is what a careful person writes with the client library alone: the same
// operations on the same streams and consumers, each one confirmed, and nothing
// that decides. A message that fails becomes a schedule in the retry stream, and
// after its last attempt a dead letter.
func rawLoop() contender {
	return contender{name: rawName, prepare: prepareRedrive, consume: consumeRaw}
}

// The window of the raw loop: what the client library has pulled, what waits for
// a handler, and what a handler has.
const (
	rawPulled = window - rawQueued - handlers
	rawQueued = 64
)

func consumeRaw(ctx context.Context, s *site, handle func([]byte) error, l load) error {
	jobs := make(chan jetstream.Msg, rawQueued)
	failed := make(chan error, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	lanes := []string{s.at.source}
	if l.failing > 0 {
		lanes = append(lanes, s.at.retry)
	}
	r := &raw{site: s, handle: handle}
	for _, stream := range lanes {
		consuming, err := r.pull(ctx, stream, jobs)
		if err != nil {
			return err
		}
		defer consuming.Stop()
	}
	var running sync.WaitGroup
	for range handlers {
		running.Go(func() {
			for {
				select {
				case m := <-jobs:
					if err := r.settle(ctx, m); err != nil && ctx.Err() == nil {
						select {
						case failed <- err:
						default:
						}
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	running.Wait()
	return err
}

type raw struct {
	site   *site
	handle func([]byte) error
	// target is where schedules deliver to.
	target string
}

// pull consumes the one consumer that a stream has.
func (r *raw) pull(ctx context.Context, stream string, jobs chan<- jetstream.Msg) (jetstream.ConsumeContext, error) {
	from, err := r.site.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	name, ok := <-from.ConsumerNames(ctx).Name()
	if !ok {
		return nil, fmt.Errorf("stream %s has no consumer", stream)
	}
	consumer, err := from.Consumer(ctx, name)
	if err != nil {
		return nil, err
	}
	if stream == r.site.at.retry {
		r.target = consumer.CachedInfo().Config.FilterSubject
	}
	return consumer.Consume(func(m jetstream.Msg) {
		select {
		case jobs <- m:
		case <-ctx.Done():
		}
	}, jetstream.PullMaxMessages(rawPulled))
}

func (r *raw) settle(ctx context.Context, m jetstream.Msg) error {
	err := r.handle(m.Data())
	if err == nil {
		return m.DoubleAck(ctx)
	}
	if !errors.Is(err, errFailing) {
		return err
	}
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	failed := 1
	if h := m.Headers().Get(headerAttempt); h != "" {
		if failed, err = strconv.Atoi(h); err != nil {
			return err
		}
	}
	id := meta.Stream + ":" + strconv.FormatUint(meta.Sequence.Stream, 10)
	move := r.letter(m, id)
	if failed < attempts {
		move = r.schedule(m, id, failed)
	}
	if _, err := r.site.js.PublishMsg(ctx, move); err != nil {
		return err
	}
	return m.DoubleAck(ctx)
}

func (r *raw) schedule(m jetstream.Msg, id string, failed int) *nats.Msg {
	return &nats.Msg{Subject: "redrive.sched." + queue + "." + id, Data: m.Data(), Header: nats.Header{
		headerAttempt:                  {strconv.Itoa(failed + 1)},
		jetstream.ScheduleHeader:       {"@at " + time.Now().Add(delay(failed)).UTC().Format(time.RFC3339Nano)},
		jetstream.ScheduleTargetHeader: {r.target},
		jetstream.ExpectedStreamHeader: {r.site.at.retry},
	}}
}

func (r *raw) letter(m jetstream.Msg, id string) *nats.Msg {
	return &nats.Msg{Subject: "redrive.dlq." + queue, Data: m.Data(), Header: nats.Header{
		jetstream.MsgIDHeader:          {id},
		jetstream.ExpectedStreamHeader: {r.site.at.letters},
	}}
}

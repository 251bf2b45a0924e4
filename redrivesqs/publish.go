package redrivesqs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/redrive-dev/redrive/broker"
)

// requestsAtOnce is the number of batches of one kind that are on their way to one
// queue at the same time.
const requestsAtOnce = 8

// lines are the batchers of one queue.
type lines struct {
	send    *batcher[types.SendMessageBatchRequestEntry, string]
	remove  *batcher[string, struct{}]
	visible *batcher[lease, struct{}]
}

// lease is a wish for the visibility timeout of a message.
type lease struct {
	receipt string
	seconds int32
}

// linesOf returns the batchers of a queue.
func (b *Broker) linesOf(q queue) *lines {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lines[q.name]
	if l == nil {
		sends := requestsAtOnce
		if q.fifo {
			sends = 1 // Order is that of arrival.
		}
		l = &lines{
			send: newBatcher(b, sends, func(ctx context.Context, items []*item[types.SendMessageBatchRequestEntry, string]) {
				b.sendBatch(ctx, q, items)
			}),
			remove:  newBatcher(b, requestsAtOnce, func(ctx context.Context, items []*item[string, struct{}]) { b.removeBatch(ctx, q, items) }),
			visible: newBatcher(b, requestsAtOnce, func(ctx context.Context, items []*item[lease, struct{}]) { b.visibleBatch(ctx, q, items) }),
		}
		b.lines[q.name] = l
	}
	return l
}

func newBatcher[E, R any](b *Broker, slots int, send func(context.Context, []*item[E, R])) *batcher[E, R] {
	return &batcher[E, R]{send: send, slots: slots, base: b.base, running: &b.running, full: make(chan struct{}, 1)}
}

// entryIDs are the ids of the entries of a batch.
func entryID(i int) *string { return aws.String(strconv.Itoa(i)) }

// answers sets what a batch's answer says about each entry. One that the answer does
// not name may or may not have been done.
func answers[E, R any](items []*item[E, R], err error, done func(id string) (R, bool), failed []types.BatchResultErrorEntry) {
	for i, it := range items {
		if err != nil {
			it.err = err
			continue
		}
		it.err = errMissing
		if result, ok := done(strconv.Itoa(i)); ok {
			it.result, it.err = result, nil
		}
	}
	for _, f := range failed {
		if i, err := strconv.Atoi(aws.ToString(f.Id)); err == nil && i >= 0 && i < len(items) {
			items[i].err = entryFailure(f)
		}
	}
}

func (b *Broker) sendBatch(ctx context.Context, q queue, items []*item[types.SendMessageBatchRequestEntry, string]) {
	entries := make([]types.SendMessageBatchRequestEntry, len(items))
	for i, it := range items {
		entries[i] = it.entry
		entries[i].Id = entryID(i)
	}
	ctx, cancel := b.briefly(ctx)
	defer cancel()
	client := b.once
	if q.fifo {
		client = b.api // A repeat is dropped.
	}
	out, err := client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: aws.String(q.url), Entries: entries})
	if err != nil {
		answers(items, err, nil, nil)
	} else {
		ids := map[string]string{}
		for _, s := range out.Successful {
			ids[aws.ToString(s.Id)] = aws.ToString(s.MessageId)
		}
		answers(items, nil, func(id string) (string, bool) { m, ok := ids[id]; return m, ok }, out.Failed)
	}
	for _, it := range items {
		if queueMissing(it.err) {
			b.routes.forget(q)
		}
		it.err = writeError(it.err, it.size)
	}
}

func named(successful func(yield func(string))) func(string) (struct{}, bool) {
	ids := map[string]bool{}
	successful(func(id string) { ids[id] = true })
	return func(id string) (struct{}, bool) { return struct{}{}, ids[id] }
}

func (b *Broker) removeBatch(ctx context.Context, q queue, items []*item[string, struct{}]) {
	entries := make([]types.DeleteMessageBatchRequestEntry, len(items))
	for i, it := range items {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: entryID(i), ReceiptHandle: aws.String(it.entry)}
	}
	ctx, cancel := b.briefly(ctx)
	defer cancel()
	out, err := b.api.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(q.url), Entries: entries})
	if err != nil {
		answers(items, err, nil, nil)
	} else {
		answers(items, nil, named(func(yield func(string)) {
			for _, s := range out.Successful {
				yield(aws.ToString(s.Id))
			}
		}), out.Failed)
	}
	settleErrors(items)
}

func (b *Broker) visibleBatch(ctx context.Context, q queue, items []*item[lease, struct{}]) {
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(items))
	for i, it := range items {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{
			Id: entryID(i), ReceiptHandle: aws.String(it.entry.receipt), VisibilityTimeout: it.entry.seconds,
		}
	}
	ctx, cancel := b.briefly(ctx)
	defer cancel()
	out, err := b.api.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: aws.String(q.url), Entries: entries})
	if err != nil {
		answers(items, err, nil, nil)
	} else {
		answers(items, nil, named(func(yield func(string)) {
			for _, s := range out.Successful {
				yield(aws.ToString(s.Id))
			}
		}), out.Failed)
	}
	settleErrors(items)
}

// settleErrors explains what went wrong with receipts.
func settleErrors[E any](items []*item[E, struct{}]) {
	for _, it := range items {
		if it.err == nil {
			continue
		}
		if it.err = leaseError(it.err); !errors.Is(it.err, broker.ErrLeaseLost) && codeOf(it.err) == "" {
			it.err = fmt.Errorf("%w: %w", broker.ErrUnknown, it.err)
		}
	}
}

// prepare makes an entry of a message, checked against every limit.
func prepare(m outgoing, q queue, delay int32) (types.SendMessageBatchRequestEntry, int, error) {
	if m.publishID == "" {
		m.publishID = rand.Text()
	}
	s, err := seal(m, q.fifo)
	if err != nil {
		return types.SendMessageBatchRequestEntry{}, 0, err
	}
	if s.size > maxMessage {
		return types.SendMessageBatchRequestEntry{}, 0, &broker.TooLargeError{Size: s.size, Limit: maxMessage}
	}
	e := types.SendMessageBatchRequestEntry{MessageBody: aws.String(s.body), MessageAttributes: s.attributes}
	if s.group != "" {
		e.MessageGroupId = aws.String(s.group)
	}
	if q.fifo {
		e.MessageDeduplicationId = aws.String(s.dedupe)
	} else {
		e.DelaySeconds = delay
	}
	return e, s.size, nil
}

// parcel is one message on its way to one queue.
type parcel struct {
	index int
	line  *batcher[types.SendMessageBatchRequestEntry, string]
	item  *item[types.SendMessageBatchRequestEntry, string]
	queue queue
}

// Publish stores messages, in batches. In a FIFO queue messages of one key keep
// their order, unless one of them fails.
func (b *Broker) Publish(ctx context.Context, messages []broker.Outbound) []error {
	errs := make([]error, len(messages))
	var parcels []parcel
	for i := range messages {
		var made []parcel
		if made, errs[i] = b.parcels(ctx, i, &messages[i]); errs[i] == nil {
			parcels = append(parcels, made...)
		}
	}
	// What goes to one queue is put in line at once, so that requests are full.
	byLine := map[*batcher[types.SendMessageBatchRequestEntry, string]][]*item[types.SendMessageBatchRequestEntry, string]{}
	for _, p := range parcels {
		byLine[p.line] = append(byLine[p.line], p.item)
	}
	for line, items := range byLine {
		line.add(items...)
	}
	for _, p := range parcels {
		if _, err := p.line.wait(ctx, p.item); err != nil {
			errs[p.index] = errors.Join(errs[p.index], fmt.Errorf("send to queue %q: %w", p.queue.name, err))
		}
	}
	return errs
}

// parcels prepares a message for each of its targets. It is sent to none if it
// cannot be sent to one.
func (b *Broker) parcels(ctx context.Context, index int, o *broker.Outbound) ([]parcel, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", errNotSent, cause(ctx))
	}
	if o.Queue == broker.QueueHeartbeats && len(o.Key) == 0 {
		return nil, fmt.Errorf("a message for %s needs a key", o.Queue)
	}
	targets, err := b.targets(ctx, o.Queue)
	if err != nil {
		return nil, err
	}
	m := outgoing{
		body: o.Body, headers: o.Headers, envelope: o.Envelope, key: o.Key, id: o.ID, publishID: o.ID, expiresAt: o.ExpiresAt,
	}
	out := make([]parcel, 0, len(targets))
	for _, q := range targets {
		e, size, err := prepare(m, q, 0)
		if err != nil {
			return nil, fmt.Errorf("send to queue %q: %w", q.name, err)
		}
		out = append(out, parcel{index, b.linesOf(q).send, newItem[types.SendMessageBatchRequestEntry, string](e, size), q})
	}
	return out, nil
}

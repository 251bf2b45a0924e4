package redrivesqs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/redrive-dev/redrive/broker"
)

const (
	// drainLease is how long letters that a sink is given stay ours.
	drainLease = 2 * time.Minute
	// drainWait is how long an empty queue is waited for: a request that does not wait
	// asks only some of the servers, and finds a queue empty that is not.
	drainWait = time.Second
	// latestWindow is the number of heartbeats of which the newest of each key are
	// handed over.
	latestWindow = 1000
)

// letters are the messages of one queue.
type letters struct {
	b     *Broker
	queue queue
	// latest says that only the newest message of each key counts.
	latest bool
}

// Letters gives access to a queue. SQS has no way to look at one: a receive counts,
// hides what it shows, and shows a sample. Only Drain reads.
func (b *Broker) Letters(ctx context.Context, name string) (broker.Letters, error) {
	if kind := broker.KindOf(name); kind == broker.KindRetry || kind == broker.KindReplay {
		return nil, fmt.Errorf("letters of %q: its messages lie in the queue that the subscription consumes: %w", name, broker.ErrUnsupported)
	}
	q, err := b.queue(ctx, b.layout.native(name))
	if err != nil {
		return nil, err
	}
	return letters{b, q, name == broker.QueueHeartbeats}, nil
}

// Mode returns DrainOnly.
func (l letters) Mode() broker.Mode { return broker.DrainOnly }

func (l letters) unsupported(what string) error {
	return fmt.Errorf("%s queue %q, whose messages can only be taken out of it: %w", what, l.queue.name, broker.ErrUnsupported)
}

// Scan is not supported.
func (l letters) Scan(context.Context, broker.Cursor, int) ([]broker.Letter, broker.Cursor, error) {
	return nil, "", l.unsupported("scan")
}

// Get is not supported.
func (l letters) Get(context.Context, string) (broker.Letter, error) {
	return broker.Letter{}, l.unsupported("read a letter of")
}

// Remove is not supported.
func (l letters) Remove(context.Context, string) error {
	return l.unsupported("remove a letter of")
}

// taken is a letter that is hidden from others.
type taken struct {
	letter  broker.Letter
	receipt string
}

// Drain takes letters. One whose removal fails comes again, with the same identity.
// Letters that somebody else holds are not waited for.
func (l letters) Drain(ctx context.Context, batch int, sink func(context.Context, []broker.Letter) error) error {
	set, err := l.b.settings(ctx, l.queue)
	if err != nil {
		return err
	}
	newest := map[string]time.Time{}
	for {
		want := max(batch, 1)
		if l.latest {
			want = latestWindow
		}
		if l.queue.fifo {
			// Ten of a group are shown, and the others when those are gone.
			want = min(want, maxBatch)
		}
		all, err := l.take(ctx, l.b.cluster(set.arn), want)
		if err != nil {
			return l.giveBack(ctx, all, err)
		}
		if len(all) == 0 {
			return nil
		}
		shown := all
		if l.latest {
			shown = newestOf(all, newest)
		}
		for len(shown) > 0 {
			part := shown[:min(len(shown), max(batch, 1))]
			shown = shown[len(part):]
			out := make([]broker.Letter, len(part))
			for i, t := range part {
				out[i] = t.letter
			}
			if err := sink(ctx, out); err != nil {
				return l.giveBack(ctx, all, err)
			}
		}
		if err := l.remove(ctx, all); err != nil {
			return err
		}
	}
}

// newestOf leaves the newest letter of each key, and none that is older than what was
// handed over before.
func newestOf(all []taken, before map[string]time.Time) []taken {
	last := map[string]int{}
	for i, t := range all {
		key := string(t.letter.Message.Key)
		if at, ok := before[key]; ok && t.letter.StoredAt.Before(at) {
			continue
		}
		if j, ok := last[key]; !ok || !t.letter.StoredAt.Before(all[j].letter.StoredAt) {
			last[key] = i
		}
	}
	var out []taken
	for i, t := range all {
		if j, ok := last[string(t.letter.Message.Key)]; ok && i == j {
			before[string(t.letter.Message.Key)] = t.letter.StoredAt
			out = append(out, t)
		}
	}
	return out
}

// take receives up to n letters. It returns fewer when the queue is empty.
func (l letters) take(ctx context.Context, cluster string, n int) ([]taken, error) {
	var all []taken
	for len(all) < n {
		asking, cancel := context.WithTimeoutCause(ctx, drainWait+l.b.config.RequestTimeout, errTimeout)
		out, err := l.b.api.ReceiveMessage(asking, receiveInput(l.queue, min(n-len(all), maxBatch), drainLease, drainWait))
		cancel()
		if err != nil {
			return all, fmt.Errorf("receive from queue %q: %w", l.queue.name, err)
		}
		if len(out.Messages) == 0 {
			return all, nil
		}
		for _, m := range out.Messages {
			r := open(m)
			all = append(all, taken{receipt: r.receipt, letter: broker.Letter{
				Message: r.message, Identity: broker.Incarnation{Cluster: cluster, Queue: l.queue.name, Position: r.messageID},
				Position: r.messageID, StoredAt: r.sent,
			}})
		}
	}
	return all, nil
}

// giveBack shows letters to others again, and returns the error that was the reason.
func (l letters) giveBack(ctx context.Context, all []taken, reason error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.b.config.RequestTimeout)
	defer cancel()
	line := l.b.linesOf(l.queue).visible
	items := make([]*item[lease, struct{}], len(all))
	for i, t := range all {
		items[i] = newItem[lease, struct{}](lease{t.receipt, 0}, 0)
	}
	line.add(items...)
	for _, it := range items {
		_, _ = line.wait(ctx, it) // Else its lease ends by itself.
	}
	return reason
}

// remove deletes letters that are durable elsewhere.
func (l letters) remove(ctx context.Context, all []taken) error {
	line := l.b.linesOf(l.queue).remove
	items := make([]*item[string, struct{}], len(all))
	for i, t := range all {
		items[i] = newItem[string, struct{}](t.receipt, 0)
	}
	line.add(items...)
	var errs []error
	for _, it := range items {
		if _, err := line.wait(ctx, it); err != nil && !errors.Is(err, broker.ErrLeaseLost) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove letters of queue %q, which come again: %w", l.queue.name, err)
	}
	return nil
}

// cluster names the broker in identities.
func (b *Broker) cluster(arn string) string {
	if b.config.Cluster != "" {
		return b.config.Cluster
	}
	return cluster(arn)
}

// receiveInput asks for messages. SQS takes full seconds, and 0 would not be sent.
func receiveInput(q queue, n int, lease, wait time.Duration) *sqs.ReceiveMessageInput {
	return &sqs.ReceiveMessageInput{
		QueueUrl: aws.String(q.url), MaxNumberOfMessages: int32(n),
		VisibilityTimeout: max(wholeSeconds(lease), 1), WaitTimeSeconds: wholeSeconds(wait),
		MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{
			types.MessageSystemAttributeNameApproximateReceiveCount, types.MessageSystemAttributeNameSentTimestamp,
			types.MessageSystemAttributeNameMessageGroupId, types.MessageSystemAttributeNameAWSTraceHeader,
			types.MessageSystemAttributeNameDeadLetterQueueSourceArn,
		},
	}
}

package redrivesqs

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/redrive-dev/redrive/broker"
)

// queue is a queue that exists.
type queue struct {
	// name is the native name.
	name, url string
	fifo      bool
}

// urlLife is how long the URL of a queue is believed without a look. A queue that is
// gone is found at the next request to it.
const urlLife = 5 * time.Minute

// maxRoutes bounds what is remembered.
const maxRoutes = 10_000

// routes remembers for a while where queues are.
type routes struct {
	b      *Broker
	mu     sync.Mutex
	urls   map[string]cached[queue]
	groups map[string]cached[[]queue]
}

type cached[T any] struct {
	value T
	at    time.Time
}

func newRoutes(b *Broker) *routes {
	return &routes{b: b, urls: map[string]cached[queue]{}, groups: map[string]cached[[]queue]{}}
}

func (r *routes) forget(q queue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.urls, q.name)
	clear(r.groups)
}

// queue returns a queue by its native name. No answer is remembered for one that
// does not exist.
func (b *Broker) queue(ctx context.Context, native string) (queue, error) {
	r, now := b.routes, time.Now()
	r.mu.Lock()
	known, ok := r.urls[native]
	r.mu.Unlock()
	if ok && now.Sub(known.at) < urlLife {
		return known.value, nil
	}
	return b.look(ctx, native)
}

// look asks SQS for a queue.
func (b *Broker) look(ctx context.Context, native string) (queue, error) {
	now := time.Now()
	ctx, cancel := b.briefly(ctx)
	defer cancel()
	out, err := b.api.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(native)})
	switch {
	case queueMissing(err):
		return queue{}, fmt.Errorf("queue %q does not exist: %w", native, broker.ErrUnroutable)
	case err != nil:
		return queue{}, fmt.Errorf("find queue %q: %w", native, err)
	}
	return b.remember(queue{name: native, url: aws.ToString(out.QueueUrl), fifo: strings.HasSuffix(native, fifoSuffix)}, now), nil
}

func (b *Broker) remember(q queue, now time.Time) queue {
	r := b.routes
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.urls) >= maxRoutes {
		clear(r.urls)
	}
	r.urls[q.name] = cached[queue]{q, now}
	return q
}

// targets returns the queues that a publication to a logical name goes to: for a
// source also those of its further consumer groups.
func (b *Broker) targets(ctx context.Context, name string) ([]queue, error) {
	q, err := b.queue(ctx, b.layout.native(name))
	if err != nil {
		return nil, err
	}
	if broker.KindOf(name) != broker.KindSource {
		return []queue{q}, nil
	}
	groups, err := b.groups(ctx, name)
	if err != nil {
		return nil, err
	}
	return append([]queue{q}, groups...), nil
}

// groups returns the queues of the further consumer groups of a source.
func (b *Broker) groups(ctx context.Context, source string) ([]queue, error) {
	r, now := b.routes, time.Now()
	r.mu.Lock()
	known, ok := r.groups[source]
	r.mu.Unlock()
	if ok && now.Sub(known.at) < routeLife {
		return known.value, nil
	}
	urls, err := b.list(ctx, b.layout.groupPrefix(source))
	if err != nil {
		return nil, err
	}
	var found []queue
	for _, url := range urls {
		q := queueAt(url)
		group, err := b.groupOf(ctx, q)
		if err != nil {
			return nil, err
		}
		if group != "" && group != broker.DefaultGroup && b.layout.group(source, group) == q.name {
			found = append(found, q)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.groups) >= maxRoutes {
		clear(r.groups)
	}
	r.groups[source] = cached[[]queue]{found, now}
	return found, nil
}

// queueAt makes a queue of its URL, which ends with the name.
func queueAt(url string) queue {
	name := url[strings.LastIndexByte(url, '/')+1:]
	return queue{name: name, url: url, fifo: strings.HasSuffix(name, fifoSuffix)}
}

// Tags of queues whose names had to be shortened: the logical name, and for the
// queue of a consumer group the group, in base64 for URLs.
const (
	tagName  = "redrive-name"
	tagGroup = "redrive-group"
	// maxTag is the longest value of a tag.
	maxTag = 256
)

// groupOf returns the consumer group whose queue it is, empty if it is none.
func (b *Broker) groupOf(ctx context.Context, q queue) (string, error) {
	if name, ok := b.layout.logical(q.name); ok {
		base, ok := strings.CutSuffix(name, groupEnd)
		if !ok {
			return "", nil
		}
		_, group, _ := subscriptionOf(base)
		return group, nil
	}
	return b.tag(ctx, q, tagGroup)
}

func (b *Broker) tag(ctx context.Context, q queue, tag string) (string, error) {
	ctx, cancel := b.briefly(ctx)
	defer cancel()
	out, err := b.api.ListQueueTags(ctx, &sqs.ListQueueTagsInput{QueueUrl: aws.String(q.url)})
	switch {
	case queueMissing(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("tags of queue %q: %w", q.name, err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(out.Tags[tag]) // Else it is no tag of ours.
	return string(raw), nil
}

// list returns the URLs of the queues whose names have a prefix.
func (b *Broker) list(ctx context.Context, prefix string) ([]string, error) {
	// Without MaxResults the answer ends at a thousand queues and does not say so.
	in := &sqs.ListQueuesInput{MaxResults: aws.Int32(1000)}
	if prefix != "" {
		in.QueueNamePrefix = aws.String(prefix)
	}
	var urls []string
	for {
		out, err := b.listPage(ctx, in)
		if err != nil {
			if strings.Contains(codeOf(err), codeAccessDenied) {
				return nil, fmt.Errorf("list queues, among which those of other consumer groups are: allow sqs:ListQueues: %w", err)
			}
			return nil, fmt.Errorf("list queues: %w", err)
		}
		urls = append(urls, out.QueueUrls...)
		if aws.ToString(out.NextToken) == "" {
			return urls, nil
		}
		in.NextToken = out.NextToken
	}
}

func (b *Broker) listPage(ctx context.Context, in *sqs.ListQueuesInput) (*sqs.ListQueuesOutput, error) {
	ctx, cancel := b.briefly(ctx)
	defer cancel()
	return b.api.ListQueues(ctx, in)
}

// settings are the attributes of a queue that say something. Zero means that the
// server does not tell.
type settings struct {
	queue                  queue
	arn                    string
	retention, delay       time.Duration
	maxMessage             int
	redrive                *RedrivePolicy
	ready, hidden, delayed int64
}

// settings reads the attributes of a queue.
func (b *Broker) settings(ctx context.Context, q queue) (settings, error) {
	ctx, cancel := b.briefly(ctx)
	defer cancel()
	out, err := b.api.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: aws.String(q.url), AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
	})
	switch {
	case queueMissing(err):
		b.routes.forget(q)
		return settings{}, fmt.Errorf("queue %q does not exist: %w", q.name, broker.ErrUnroutable)
	case err != nil:
		return settings{}, fmt.Errorf("attributes of queue %q: %w", q.name, err)
	}
	return parseSettings(q, out.Attributes)
}

func parseSettings(q queue, a map[string]string) (settings, error) {
	var errs []error
	number := func(name types.QueueAttributeName) int64 {
		raw, ok := a[string(name)]
		if !ok {
			return 0
		}
		n, err := strconv.ParseInt(raw, 10, 64)
		if err != nil {
			errs = append(errs, fmt.Errorf("attribute %s of queue %q: %w", name, q.name, err))
		}
		return n
	}
	s := settings{
		queue: q, arn: a[string(types.QueueAttributeNameQueueArn)],
		retention:  time.Duration(number(types.QueueAttributeNameMessageRetentionPeriod)) * time.Second,
		delay:      time.Duration(number(types.QueueAttributeNameDelaySeconds)) * time.Second,
		maxMessage: int(number(types.QueueAttributeNameMaximumMessageSize)),
		ready:      number(types.QueueAttributeNameApproximateNumberOfMessages),
		hidden:     number(types.QueueAttributeNameApproximateNumberOfMessagesNotVisible),
		delayed:    number(types.QueueAttributeNameApproximateNumberOfMessagesDelayed),
	}
	if raw := a[string(types.QueueAttributeNameRedrivePolicy)]; raw != "" {
		policy, err := parseRedrivePolicy(raw)
		if err != nil {
			errs = append(errs, fmt.Errorf("redrive policy of queue %q: %w", q.name, err))
		}
		s.redrive = &policy
	}
	return s, errors.Join(errs...)
}

// cluster names the broker from the ARN of one of its queues:
// arn:aws:sqs:<region>:<account>:<name>.
func cluster(arn string) string {
	parts := strings.Split(arn, ":")
	if len(parts) < 6 {
		return "sqs"
	}
	return parts[3] + ":" + parts[4]
}

// RedrivePolicy is SQS's own dead-lettering: a queue's messages move to another
// queue when they are received once more after MaxReceiveCount receives, with no word
// about why.
type RedrivePolicy struct {
	// Target is the ARN of the queue that they move to.
	Target string
	// MaxReceiveCount is 1 to 1000.
	MaxReceiveCount int
}

// parseRedrivePolicy reads the attribute, whose count is a number or, from some
// tools, a string.
func parseRedrivePolicy(raw string) (RedrivePolicy, error) {
	var p struct {
		Target string          `json:"deadLetterTargetArn"`
		Count  json.RawMessage `json:"maxReceiveCount"`
	}
	if err := json.Unmarshal([]byte(raw), &p); err != nil {
		return RedrivePolicy{}, err
	}
	n, err := strconv.Atoi(strings.Trim(string(p.Count), `"`))
	if err != nil {
		return RedrivePolicy{}, fmt.Errorf("maxReceiveCount %s is no number", p.Count)
	}
	return RedrivePolicy{Target: p.Target, MaxReceiveCount: n}, nil
}

// RedrivePolicy returns the redrive policy of a queue, nil if it has none.
func (b *Broker) RedrivePolicy(ctx context.Context, name string) (*RedrivePolicy, error) {
	q, err := b.queue(ctx, b.layout.native(name))
	if err != nil {
		return nil, err
	}
	set, err := b.settings(ctx, q)
	return set.redrive, err
}

// SetRedrivePolicy replaces the redrive policy of a queue; nil removes it. redrive
// itself never calls it. On a queue that a worker consumes a MaxReceiveCount below
// 100 dead-letters messages that only wait for the end of an outage.
func (b *Broker) SetRedrivePolicy(ctx context.Context, name string, policy *RedrivePolicy) error {
	q, err := b.queue(ctx, b.layout.native(name))
	if err != nil {
		return err
	}
	value := ""
	if policy != nil {
		if policy.Target == "" || policy.MaxReceiveCount < 1 || policy.MaxReceiveCount > 1000 {
			return fmt.Errorf("redrive policy of queue %q: Target %q must be an ARN and MaxReceiveCount %d 1 to 1000", q.name, policy.Target, policy.MaxReceiveCount)
		}
		raw, err := json.Marshal(map[string]any{"deadLetterTargetArn": policy.Target, "maxReceiveCount": policy.MaxReceiveCount})
		if err != nil {
			return fmt.Errorf("redrive policy of queue %q: %w", q.name, err)
		}
		value = string(raw)
	}
	ctx, cancel := b.briefly(ctx)
	defer cancel()
	_, err = b.api.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{
		QueueUrl: aws.String(q.url), Attributes: map[string]string{string(types.QueueAttributeNameRedrivePolicy): value},
	})
	if err != nil {
		return fmt.Errorf("set the redrive policy of queue %q: %w", q.name, err)
	}
	return nil
}

// MoveAll lets SQS itself move everything from a dead-letter queue to another queue:
// all or nothing, unedited, at most 500 messages a second, without a word in the
// audit log. It returns as soon as the move has begun. The queue has to be the target
// of a redrive policy. ErrUnsupported if the server cannot.
func (b *Broker) MoveAll(ctx context.Context, from, to string) error {
	var arns [2]string
	for i, name := range []string{from, to} {
		q, err := b.queue(ctx, b.layout.native(name))
		if err != nil {
			return err
		}
		set, err := b.settings(ctx, q)
		if err != nil {
			return err
		}
		arns[i] = set.arn
	}
	ctx, cancel := b.briefly(ctx)
	defer cancel()
	_, err := b.once.StartMessageMoveTask(ctx, &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(arns[0]), DestinationArn: aws.String(arns[1])})
	switch code := codeOf(err); {
	case err == nil:
		return nil
	case code == codeUnsupported, code == codeUnknownAction, code == codeInvalidAction:
		return fmt.Errorf("move everything from %q to %q: %w: %w", from, to, broker.ErrUnsupported, err)
	}
	return fmt.Errorf("move everything from %q to %q: %w", from, to, err)
}

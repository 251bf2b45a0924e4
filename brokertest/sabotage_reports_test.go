package brokertest_test

import (
	"context"
	"slices"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest"
)

func reportSabotages() []sabotage {
	return []sabotage{
		{name: "outcomes have a limit", send: afterwards(broker.QueueOutcomes, func(all []broker.Letter) []broker.Letter {
			return all[:max(0, len(all)-100)]
		})},
		{name: "outcomes keep the last of a key", send: afterwards(broker.QueueOutcomes, olderOfAKey)},
		{name: "restart forgets outcomes", restart: func(b *redrivetest.Broker) { forget(b, broker.KindOutcomes) }},
		{name: "heartbeats keep all", send: rekeyed(func(o *broker.Outbound) { o.Key = append(slices.Clone(o.Key), o.Body...) })},
		{name: "heartbeats keep the last of all", send: rekeyed(func(o *broker.Outbound) { o.Key = []byte("worker") })},
		{name: "heartbeats take one without a key", send: rekeyed(func(o *broker.Outbound) {
			if o.Key == nil {
				o.Key = []byte("none")
			}
		})},
		{name: "heartbeats keep the first", send: firstOfAKey()},
		{name: "no queues for reports", topo: func(t broker.Topology) broker.Topology { return withoutReports{t} }},
	}
}

// afterwards removes letters of a queue after each publication.
func afterwards(queue string, drop func([]broker.Letter) []broker.Letter) func(broker.Broker, context.Context, []broker.Outbound) []error {
	return func(b broker.Broker, ctx context.Context, ms []broker.Outbound) []error {
		errs := b.Publish(ctx, ms)
		if l, err := b.Letters(ctx, queue); err == nil {
			all, _, _ := l.Scan(ctx, "", 1000)
			for _, letter := range drop(all) {
				_ = l.Remove(ctx, letter.Position)
			}
		}
		return errs
	}
}

func olderOfAKey(all []broker.Letter) []broker.Letter {
	var older []broker.Letter
	for i, letter := range all {
		if letter.Message.Key != nil && slices.ContainsFunc(all[i+1:], func(l broker.Letter) bool {
			return slices.Equal(l.Message.Key, letter.Message.Key)
		}) {
			older = append(older, letter)
		}
	}
	return older
}

// rekeyed changes heartbeats before they are published.
func rekeyed(change func(*broker.Outbound)) func(broker.Broker, context.Context, []broker.Outbound) []error {
	return func(b broker.Broker, ctx context.Context, ms []broker.Outbound) []error {
		ms = slices.Clone(ms)
		for i := range ms {
			if ms[i].Queue == broker.QueueHeartbeats {
				change(&ms[i])
			}
		}
		return b.Publish(ctx, ms)
	}
}

// firstOfAKey confirms a heartbeat and drops it if there is one of its key.
func firstOfAKey() func(broker.Broker, context.Context, []broker.Outbound) []error {
	return func(b broker.Broker, ctx context.Context, ms []broker.Outbound) []error {
		errs := make([]error, len(ms))
		for i := range ms {
			if l, err := b.Letters(ctx, broker.QueueHeartbeats); err == nil && ms[i].Queue == broker.QueueHeartbeats {
				all, _, _ := l.Scan(ctx, "", 1000)
				if slices.ContainsFunc(all, func(l broker.Letter) bool { return slices.Equal(l.Message.Key, ms[i].Key) }) {
					continue
				}
			}
			errs[i] = b.Publish(ctx, ms[i:i+1])[0]
		}
		return errs
	}
}

// withoutReports hides what Ensure made.
type withoutReports struct{ broker.Topology }

func (t withoutReports) Queues(ctx context.Context) ([]broker.Queue, error) {
	got, err := t.Topology.Queues(ctx)
	return slices.DeleteFunc(got, func(q broker.Queue) bool {
		return q.Kind == broker.KindOutcomes || q.Kind == broker.KindHeartbeats
	}), err
}

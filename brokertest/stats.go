package brokertest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

func statsCases() []Case {
	return []Case{
		{Name: "C13-stats-equal-a-count", Promise: "after any operations, depth and oldest age of every queue equal a count by hand", Proves: []string{"true-stats"}, run: statsEqualCount},
	}
}

// ledger is the count by hand: where each message is, and when it came there.
type ledger struct {
	e    *env
	sub  broker.Subscription
	rand *rand.Rand
	next int
	// at lists the messages of each queue, by body.
	at map[string]map[string]stay
	// held are the deliveries that are out.
	held []broker.Delivery
}

// stay is a message in a queue: it came between the two times.
type stay struct{ after, before time.Time }

// statsSlack is how much a broker's clock may differ from this one.
const statsSlack = 2 * time.Second

func statsEqualCount(e *env) {
	seed := rand.Uint64()
	l := &ledger{e: e, sub: e.open(e.b, unhurried), rand: rand.New(rand.NewPCG(seed, 0)), at: map[string]map[string]stay{
		e.source: {}, e.names.Retry: {}, e.names.DeadLetter: {},
	}}
	const operations = 40
	for i := range operations {
		switch n := l.rand.IntN(10); {
		case n < 4:
			l.publish(1 + l.rand.IntN(3))
		case n < 7 || len(l.held) == 0:
			l.receive()
		default:
			l.settle()
		}
		if err := l.compare(); err != "" {
			e.Fatalf("after %d operations with seed %d: %s", i+1, seed, err)
		}
	}
}

func (l *ledger) publish(n int) {
	after := time.Now()
	var out []broker.Outbound
	for range n {
		body := fmt.Sprint("counted ", l.next)
		l.next++
		out = append(out, broker.Outbound{Queue: l.e.source, ID: l.e.pubID(body), Body: []byte(body)})
	}
	l.e.publish(out...)
	for _, o := range out {
		l.at[l.e.source][string(o.Body)] = stay{after, time.Now()}
	}
}

func (l *ledger) receive() {
	waiting := len(l.at[l.e.source]) - len(l.held)
	if waiting == 0 {
		return
	}
	l.held = append(l.held, l.e.receive(l.sub, 1+l.rand.IntN(min(waiting, 3)))...)
}

// settle ends one delivery. Retries wait for an hour, so that they stay where
// they are counted.
func (l *ledger) settle() {
	i := l.rand.IntN(len(l.held))
	d := l.held[i]
	l.held = slices.Delete(l.held, i, i+1)
	body, after := string(d.Msg().Body), time.Now()
	to := ""
	switch l.rand.IntN(4) {
	case 0:
		l.e.settle(d, broker.Done{})
	case 1:
		l.e.settle(d, broker.Release{})
		return
	case 2:
		l.e.retryAt(d, after.Add(time.Hour), body)
		to = l.e.names.Retry
	case 3:
		l.e.deadLetter(d, l.e.names.DeadLetter, broker.DefaultGroup)
		to = l.e.names.DeadLetter
	}
	delete(l.at[l.e.source], body)
	if to != "" {
		l.at[to][body] = stay{after, time.Now()}
	}
}

// compare says what differs, nothing if all is equal.
func (l *ledger) compare() string {
	for _, queue := range []string{l.e.source, l.e.names.Retry, l.e.names.DeadLetter} {
		want := l.at[queue]
		st, err := l.e.b.Stats(l.e.ctx, queue)
		switch {
		case err != nil:
			return fmt.Sprintf("stats of %s: %v", queue, err)
		case !st.Exact:
			l.e.depth(queue, int64(len(want)))
			continue
		case st.Depth() != int64(len(want)):
			return fmt.Sprintf("%s: depth %d, counted %d", queue, st.Depth(), len(want))
		case queue == l.e.source && st.InFlight < int64(len(l.held)):
			// There may be more: what a client has fetched and not handed out yet.
			return fmt.Sprintf("%s: %d in flight, counted %d", queue, st.InFlight, len(l.held))
		case queue == l.e.names.Retry && st.Delayed != int64(len(want)):
			return fmt.Sprintf("%s: %d delayed, counted %d", queue, st.Delayed, len(want))
		}
		if diff := oldestDiffers(st.Oldest, want); diff != "" {
			return queue + ": " + diff
		}
	}
	return ""
}

func oldestDiffers(got time.Time, want map[string]stay) string {
	if len(want) == 0 {
		if !got.IsZero() {
			return fmt.Sprintf("empty, and the oldest message is of %v", got)
		}
		return ""
	}
	var oldest stay
	for _, s := range want {
		if oldest.after.IsZero() || s.after.Before(oldest.after) {
			oldest = s
		}
	}
	if got.Before(oldest.after.Add(-statsSlack)) || got.After(oldest.before.Add(statsSlack)) {
		return fmt.Sprintf("oldest message of %v, counted between %v and %v", got, oldest.after, oldest.before)
	}
	return ""
}

package brokertest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redrive-dev/redrive/broker"
)

func reportCases() []Case {
	return []Case{
		{Name: "reports-have-queues", Promise: "Ensure makes the queues for outcomes and heartbeats, Queues lists them, and Open refuses them", run: reportsDeclared},
		{Name: "outcomes-keep-all", Promise: "the queue for outcomes keeps every record until it is removed, whatever its key, and a look changes nothing", run: outcomesKeepAll},
		{Name: "heartbeats-keep-the-last", Promise: "the queue for heartbeats shows the newest record of each key, and refuses one without", run: heartbeatsKeepLast},
		{Name: "outcomes-survive-a-restart", Promise: "confirmed outcomes survive a restart of the broker", Restarts: true, run: outcomesSurvive},
	}
}

func reportsDeclared(e *env) {
	queues, err := e.b.Topology().Queues(e.ctx)
	if err != nil {
		e.Fatalf("queues: %v", err)
	}
	for name, kind := range map[string]broker.QueueKind{broker.QueueOutcomes: broker.KindOutcomes, broker.QueueHeartbeats: broker.KindHeartbeats} {
		i := slices.IndexFunc(queues, func(q broker.Queue) bool { return q.Name == name })
		if i < 0 || queues[i].Kind != kind {
			e.Errorf("queues are %+v, want %s of kind %s among them", queues, name, kind)
		}
		if sub, err := e.b.Open(e.ctx, broker.Spec{Source: name}); err == nil {
			e.Errorf("%s can be consumed: whoever did so would take what others have to read", name)
			if err := sub.Close(e.ctx); err != nil {
				e.Logf("close %s: %v", name, err)
			}
		}
		if _, err := e.b.Stats(e.ctx, name); err != nil {
			e.Errorf("stats of %s: %v", name, err)
		}
	}
}

// manyOutcomes is more than a limit that somebody sets by mistake for a test.
const manyOutcomes = 300

// outcomes publishes n records, half of them with one key.
func (e *env) outcomes(n int) (want []string) {
	e.Helper()
	var out []broker.Outbound
	for i := range n {
		body := fmt.Sprintf("%s outcome %03d", e.source, i)
		want = append(want, body)
		o := broker.Outbound{Queue: broker.QueueOutcomes, ID: "oc:" + body, Body: []byte(body)}
		if i%2 == 0 {
			o.Key = []byte(e.source)
		}
		out = append(out, o)
	}
	e.publish(out...)
	return want
}

// own are the bodies of this case's records: all cases share the queue.
func (e *env) own(queue string) []string {
	e.Helper()
	var out []string
	for _, l := range e.look(queue) {
		if body := string(l.Message.Body); strings.HasPrefix(body, e.source+" ") {
			out = append(out, body)
		}
	}
	return out
}

func (e *env) wantOutcomes(want []string) {
	e.Helper()
	const queue = broker.QueueOutcomes
	var got []string
	e.until(func() string {
		got = e.own(queue)
		if len(got) < len(want) {
			return fmt.Sprintf("%s holds %d of %d records", queue, len(got), len(want))
		}
		return ""
	})
	if !e.sameLetters(got, want) {
		e.Errorf("%s holds %q, want %q", queue, got, want)
	}
}

func outcomesKeepAll(e *env) {
	want := e.outcomes(manyOutcomes)
	for range 3 {
		e.wantOutcomes(want)
	}
	st, err := e.b.Stats(e.ctx, broker.QueueOutcomes)
	if err != nil || e.caps.LettersMode == broker.Observe && st.Exact && st.Depth() < int64(len(want)) {
		e.Errorf("depth of %s is %d, %v, want at least %d", broker.QueueOutcomes, st.Depth(), err, len(want))
	}
	caps, err := e.b.Caps(e.ctx, broker.QueueOutcomes)
	if err != nil {
		e.Fatalf("caps of %s: %v", broker.QueueOutcomes, err)
	}
	if caps.DedupeWindow > 0 {
		e.outcomes(2)
		e.wantOutcomes(want)
	}
	if e.caps.LettersMode != broker.Observe {
		return
	}
	letters := e.look(broker.QueueOutcomes)
	i := slices.IndexFunc(letters, func(l broker.Letter) bool { return string(l.Message.Body) == want[1] })
	if i < 0 {
		e.Fatalf("record %q is gone", want[1])
	}
	if e.removeIfAble(broker.QueueOutcomes, letters[i]) {
		e.wantOutcomes(slices.Delete(want, 1, 2))
	}
}

func heartbeatsKeepLast(e *env) {
	beat := func(worker string, n int) broker.Outbound {
		return broker.Outbound{
			Queue: broker.QueueHeartbeats, Key: []byte(e.source + "/" + worker),
			Body: fmt.Appendf(nil, "%s %s beat %d", e.source, worker, n),
		}
	}
	const beats = 5
	for n := range beats {
		e.publish(beat("worker 1", n))
		e.publish(beat("worker/2 é", n), beat("w", n))
	}
	e.publish(beat("w", beats))
	var want []string
	for worker, n := range map[string]int{"worker 1": beats - 1, "worker/2 é": beats - 1, "w": beats} {
		want = append(want, string(beat(worker, n).Body))
	}
	slices.Sort(want)
	for range 3 {
		e.until(func() string {
			got := e.own(broker.QueueHeartbeats)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return fmt.Sprintf("%s shows %q, want %q", broker.QueueHeartbeats, got, want)
			}
			return ""
		})
	}
	bad := beat("", 0)
	bad.Key = nil
	if errs := e.b.Publish(e.ctx, []broker.Outbound{bad}); len(errs) != 1 || errs[0] == nil {
		e.Errorf("a heartbeat without a key: %v, want an error", errs)
	}
	if got := e.own(broker.QueueHeartbeats); len(got) != len(want) {
		e.Errorf("%s shows %q after one was refused, want %d", broker.QueueHeartbeats, got, len(want))
	}
}

func outcomesSurvive(e *env) {
	want := e.outcomes(3)
	e.restart()
	e.until(func() string {
		if _, err := e.b.Stats(e.ctx, broker.QueueOutcomes); err != nil {
			return fmt.Sprintf("stats of %s: %v", broker.QueueOutcomes, err)
		}
		return ""
	})
	e.wantOutcomes(want)
}

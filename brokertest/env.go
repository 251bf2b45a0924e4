package brokertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
)

// env is what a case works with: a client, and a subscription of its own.
type env struct {
	T
	h      Harness
	ctx    context.Context //nolint:containedctx // the deadline of the whole case
	b      broker.Broker
	caps   broker.Caps
	source string
	names  broker.Names
	// drained holds what was taken from queues that can only be read by taking.
	drained map[string][]broker.Letter
	// receives counts calls, to end a case whose broker delivers without end.
	receives int
	// handed counts deliveries, every second of which settles without waiting.
	handed int
}

// mostReceives is far above what any case needs.
const mostReceives = 10_000

func newEnv(t T, h Harness) *env {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), h.Timeout)
	t.Cleanup(cancel)
	e := &env{T: t, h: h, ctx: ctx, drained: map[string][]broker.Letter{}}
	e.source = h.Queue(t, "orders")
	e.names = broker.NamesFor(e.source, "")
	e.b = h.Open(t)
	e.ensure("")
	caps, err := e.b.Caps(ctx, e.source)
	if err != nil {
		t.Fatalf("caps of %s: %v", e.source, err)
	}
	e.caps = caps
	return e
}

// uniqueName tells the names of one run from those of an earlier one on the same
// server.
func uniqueName(_ T, name string) string {
	return fmt.Sprintf("%s.%016x", name, rand.Uint64())
}

func (e *env) ensure(group string) {
	e.Helper()
	if err := e.b.Topology().Ensure(e.ctx, broker.Spec{Source: e.source, Group: group}); err != nil {
		e.Fatalf("ensure %s for group %q: %v", e.source, group, err)
	}
}

// open subscribes with the harness's lease unless edit says otherwise.
func (e *env) open(b broker.Broker, edit ...func(*broker.Spec)) broker.Subscription {
	e.Helper()
	spec := broker.Spec{Source: e.source, Lease: e.h.Lease, Worker: "brokertest"}
	for _, f := range edit {
		f(&spec)
	}
	sub, err := b.Open(e.ctx, spec)
	if err != nil {
		e.Fatalf("open %s: %v", spec.Source, err)
	}
	e.Cleanup(func() {
		// The case's own deadline may be over; what it leaves behind still has to go.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), e.h.Tolerance)
		defer cancel()
		if err := sub.Close(ctx); err != nil {
			e.Logf("close %s: %v", spec.Source, err)
		}
	})
	return sub
}

// unhurried gives a lease that does not run out during the case.
func unhurried(s *broker.Spec) { s.Lease = max(30*time.Second, 30*s.Lease) }

func inGroup(name string) func(*broker.Spec) {
	return func(s *broker.Spec) { s.Group = name }
}

func (e *env) publish(messages ...broker.Outbound) {
	e.Helper()
	errs := e.b.Publish(e.ctx, messages)
	if len(errs) != len(messages) {
		e.Fatalf("publish of %d messages returned %d results: want one each", len(messages), len(errs))
	}
	for i, err := range errs {
		if err != nil {
			e.Fatalf("publish message %d of %d to %s: %v", i+1, len(errs), messages[i].Queue, err)
		}
	}
}

// send publishes n small messages to the source and returns their bodies.
func (e *env) send(n int) []string {
	e.Helper()
	var out []broker.Outbound
	var bodies []string
	for i := range n {
		body := fmt.Sprintf("message %d", i)
		bodies = append(bodies, body)
		out = append(out, broker.Outbound{Queue: e.source, ID: e.pubID(body), Body: []byte(body)})
	}
	e.publish(out...)
	return bodies
}

func (e *env) pubID(what string) string { return "pub:" + e.source + "/" + what }

// receive returns n deliveries, and fails if they do not come.
func (e *env) receive(sub broker.Subscription, n int) []broker.Delivery {
	e.Helper()
	return e.receiveWithin(sub, n, 4*e.h.Lease+e.h.Tolerance)
}

func (e *env) receiveWithin(sub broker.Subscription, n int, within time.Duration) []broker.Delivery {
	e.Helper()
	got, err := e.tryReceive(sub, n, within)
	if err != nil {
		e.Fatalf("%d of %d deliveries came within %v: %v", len(got), n, within, err)
	}
	return got
}

// tryReceive returns up to n deliveries, with an error if there are fewer.
func (e *env) tryReceive(sub broker.Subscription, n int, within time.Duration) ([]broker.Delivery, error) {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, within)
	defer cancel()
	var got []broker.Delivery
	for len(got) < n {
		more, err := sub.Receive(ctx, n-len(got))
		more = e.alternate(more)
		if len(more) > n-len(got) {
			e.Fatalf("receive of at most %d returned %d", n-len(got), len(more))
		}
		got = append(got, more...)
		if e.receives++; e.receives > mostReceives {
			e.Fatalf("more than %d receives: the broker delivers settled messages again, or nothing at once", mostReceives)
		}
		if err != nil {
			return got, err
		}
		if err := ctx.Err(); err != nil {
			return got, err
		}
	}
	return got, nil
}

func (e *env) one(sub broker.Subscription) broker.Delivery {
	e.Helper()
	return e.receive(sub, 1)[0]
}

// none fails if anything comes within d.
func (e *env) none(sub broker.Subscription, d time.Duration) {
	e.Helper()
	got, err := e.tryReceive(sub, 1, d)
	if len(got) > 0 {
		e.Fatalf("received %q, earlier deliveries %d, want nothing", clip(got[0].Msg().Body), got[0].Deliveries().Earlier)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		e.Fatalf("receive with nothing to come: %v, want the context's error", err)
	}
}

func (e *env) settle(d broker.Delivery, o broker.Outcome) broker.Receipt {
	e.Helper()
	r, err := d.Settle(e.ctx, o)
	if err != nil {
		e.Fatalf("settle %q with %T: %v", clip(d.Msg().Body), o, err)
	}
	return r
}

// wait lets time pass.
func (e *env) wait(d time.Duration) {
	e.Helper()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.ctx.Done():
		e.Fatalf("waiting for %v: %v", d, e.ctx.Err())
	}
}

// until polls ok, which says what is still missing, until it says nothing.
func (e *env) until(ok func() string) {
	e.Helper()
	end := time.NewTimer(e.h.Tolerance)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := ok()
		if missing == "" {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			e.Fatalf("after %v: %s", e.h.Tolerance, missing)
		}
	}
}

// kill ends the client b.
func (e *env) kill(b broker.Broker) {
	if e.h.Kill != nil {
		e.h.Kill(e, b)
	}
}

// envelope returns an encoded envelope that belongs to the message.
func (e *env) envelope(m *broker.Message, note string) []byte {
	e.Helper()
	raw, _, err := envelope.Encode(envelope.Envelope{
		ID: "id", Key: "key of " + e.source, Source: e.source, Group: broker.DefaultGroup,
		BodyDigest: envelope.Digest(m.Body), Message: note, Count: 1,
		Attempts: []envelope.Attempt{{ErrorType: "test"}},
	}, envelope.DefaultLimit)
	if err != nil {
		e.Fatalf("encode envelope: %v", err)
	}
	return raw
}

// deadLetter moves a delivery to the queue under an id made of its identity, as
// a worker does.
func (e *env) deadLetter(d broker.Delivery, queue, group string) []byte {
	e.Helper()
	env := e.envelope(d.Msg(), "dead")
	e.settle(d, broker.Dead{Queue: queue, Envelope: env, PublishID: e.deadID(d, group)})
	return env
}

func (e *env) deadID(d broker.Delivery, group string) string {
	id := d.Identity().String()
	if id == "" {
		id = uniqueName(e, "inc")
	}
	return "dl:" + id + ":" + group
}

// letters waits for n letters in the queue and fails if there are more.
func (e *env) letters(queue string, n int) []broker.Letter {
	e.Helper()
	var got []broker.Letter
	e.until(func() string {
		got = e.look(queue)
		if len(got) < n {
			return fmt.Sprintf("%s holds %d letters, want %d", queue, len(got), n)
		}
		return ""
	})
	if len(got) > n {
		e.Fatalf("%s holds %d letters, want %d", queue, len(got), n)
	}
	return got
}

// look returns all letters of a queue, by scanning where that is possible.
func (e *env) look(queue string) []broker.Letter {
	e.Helper()
	l := e.lettersOf(queue)
	if l.Mode() == broker.DrainOnly {
		err := l.Drain(e.ctx, 100, func(_ context.Context, got []broker.Letter) error {
			e.drained[queue] = append(e.drained[queue], got...)
			return nil
		})
		if err != nil {
			e.Fatalf("drain %s: %v", queue, err)
		}
		return e.drained[queue]
	}
	return e.scan(l, 100)
}

func (e *env) lettersOf(queue string) broker.Letters {
	e.Helper()
	l, err := e.b.Letters(e.ctx, queue)
	if err != nil {
		e.Fatalf("letters of %s: %v", queue, err)
	}
	return l
}

// scan reads a whole queue in pages of n.
func (e *env) scan(l broker.Letters, n int) []broker.Letter {
	e.Helper()
	var all []broker.Letter
	var cursor broker.Cursor
	const mostPages = 1000
	for range mostPages {
		got, next, err := l.Scan(e.ctx, cursor, n)
		if err != nil {
			e.Fatalf("scan: %v", err)
		}
		if len(got) > n {
			e.Fatalf("scan of at most %d letters returned %d", n, len(got))
		}
		all = append(all, got...)
		if len(got) < n {
			return all
		}
		cursor = next
	}
	e.Fatalf("%d pages of %d letters and no end: the cursor does not go on", mostPages, n)
	return nil
}

func clip(body []byte) string {
	const most = 40
	if len(body) > most {
		return string(body[:most]) + "..."
	}
	return string(body)
}

func bodies(ds []broker.Delivery) map[string]int {
	out := map[string]int{}
	for _, d := range ds {
		out[string(d.Msg().Body)]++
	}
	return out
}

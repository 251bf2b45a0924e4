package redriverabbitmq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redriverabbitmq"
)

// patience is that with a loaded machine.
const patience = 60 * time.Second

// newDeadline returns a function that says whether the patience is over.
func newDeadline() func() bool {
	end := time.Now().Add(patience)
	return func() bool { return time.Now().After(end) }
}

// bench is a subscription of one test on a server that several share.
type bench struct {
	*testing.T
	r      *rig
	b      *redriverabbitmq.Broker
	source string
	names  broker.Names
}

func newBench(t *testing.T, r *rig, edit func(*config)) *bench {
	t.Helper()
	b, _ := r.open(t, edit)
	e := &bench{T: t, r: r, b: b, source: r.harness().Queue(t, "r")}
	e.names = broker.NamesFor(e.source, "")
	return e
}

func (e *bench) open() broker.Subscription {
	e.Helper()
	sub, err := e.b.Open(e.Context(), broker.Spec{Source: e.source, Lease: time.Minute, MaxInFlight: 20_000})
	if err != nil {
		e.Fatalf("open: %v", err)
	}
	return sub
}

// receive waits for n deliveries over errors of a server that is starting.
func (e *bench) receive(sub broker.Subscription, n int) []broker.Delivery {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), patience)
	defer cancel()
	var got []broker.Delivery
	var last error
	for len(got) < n && ctx.Err() == nil {
		more, err := sub.Receive(ctx, n-len(got))
		got = append(got, more...)
		if err != nil {
			last = err
		}
	}
	if len(got) < n {
		e.Fatalf("%d of %d deliveries came: %v", len(got), n, last)
	}
	return got
}

func (e *bench) publish(messages ...broker.Outbound) {
	e.Helper()
	for i, err := range e.b.Publish(e.Context(), messages) {
		if err != nil {
			e.Fatalf("publish message %d: %v", i, err)
		}
	}
}

func (e *bench) send(n int) {
	e.Helper()
	out := make([]broker.Outbound, n)
	for i := range out {
		out[i] = broker.Outbound{Queue: e.source, ID: fmt.Sprintf("pub:%s/%d", e.source, i), Body: fmt.Appendf(nil, "message %05d", i)}
	}
	e.publish(out...)
}

func (e *bench) settle(d broker.Delivery, o broker.Outcome) {
	e.Helper()
	if _, err := d.Settle(e.Context(), o); err != nil {
		e.Fatalf("settle with %T: %v", o, err)
	}
}

func (e *bench) dead(d broker.Delivery) {
	e.Helper()
	e.settle(d, broker.Dead{Queue: e.names.DeadLetter, Envelope: []byte("{}"), PublishID: "dl:" + e.source + string(d.Msg().Body)})
}

func (e *bench) drain(queue string, n int) []broker.Letter {
	e.Helper()
	l, err := e.b.Letters(e.Context(), queue)
	if err != nil {
		e.Fatalf("letters: %v", err)
	}
	var all []broker.Letter
	for end := time.Now().Add(patience); len(all) < n && time.Now().Before(end); {
		if err := l.Drain(e.Context(), 100, func(_ context.Context, got []broker.Letter) error { all = append(all, got...); return nil }); err != nil {
			e.Fatalf("drain: %v", err)
		}
	}
	if len(all) != n {
		e.Fatalf("%d letters, want %d", len(all), n)
	}
	return all
}

func (e *bench) declare(name string, arguments amqp.Table) {
	e.Helper()
	if _, err := e.r.plain(e).QueueDeclare(name, true, false, false, false, arguments); err != nil {
		e.Fatalf("declare %s: %v", name, err)
	}
	e.Cleanup(func() { e.r.remove(e, name) })
}

// policy sets a policy on one queue.
func (e *bench) policy(queue, definition string) {
	e.Helper()
	body := fmt.Sprintf(`{"pattern": "^%s$", "apply-to": "queues", "definition": %s}`, strings.ReplaceAll(queue, ".", `\\.`), definition)
	at := e.r.server.Settings["management"] + "/api/policies/%2F/" + url.PathEscape(queue)
	request, err := http.NewRequestWithContext(e.Context(), http.MethodPut, at, bytes.NewReader([]byte(body)))
	if err != nil {
		e.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		e.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		e.Fatalf("set a policy: %s", answer.Status)
	}
}

// TestBehaviours runs what the documentation says of RabbitMQ on each version.
func TestBehaviours(t *testing.T) {
	for _, version := range versions("4.3") {
		t.Run(version, func(t *testing.T) {
			r := newRig(t, version, over091)
			for name, test := range map[string]func(*testing.T, *rig){
				"R1-KillWhenDelaysEnd":             killWhenDelaysEnd,
				"R3-UnroutableIsAFailure":          unroutableIsAFailure,
				"R5-LargeHeadersDegrade":           largeHeadersDegrade,
				"R7-RefusedLettersKeepTheirPlaces": refusedLettersKeepTheirPlaces,
				"R9-RoundsThroughTiers":            roundsThroughTiers,
				"R10-HeldForTooLong":               heldForTooLong,
				"R13-EveryFieldType":               everyFieldType,
				"R14-TransientBecomesPersistent":   transientBecomesPersistent,
				"ForeignDeadLettersOfAKill":        foreignLetters,
			} {
				if name[:3] == "R1-" {
					t.Run(name, func(t *testing.T) { test(t, r) })
					continue
				}
				defer t.Run(name, func(t *testing.T) { test(t, r) })
			}
		})
	}
}

// killWhenDelaysEnd kills the broker in the moment in which messages leave their
// tier.
func killWhenDelaysEnd(t *testing.T, r *rig) {
	t.Helper()
	e := newBench(t, r, func(c *config) { c.RetryWindow = 20_000 })
	n := 1000
	if os.Getenv("REDRIVE_FULL") == "1" {
		n = 20_000
	}
	sub := e.open()
	e.send(n)
	due := time.Now().Add(time.Duration(n)*5*time.Millisecond + 15*time.Second)
	for _, d := range e.receive(sub, n) {
		e.settle(d, broker.Retry{At: due, Envelope: []byte("{}"), PublishID: "rt:" + string(d.Msg().Body)})
	}
	r.server.Kill()
	left := time.Until(due)
	r.server.Restart()
	if left > 0 {
		timer := time.NewTimer(time.Until(due))
		defer timer.Stop()
		<-timer.C
		r.server.Kill()
		r.server.Restart()
	}
	seen := map[string]int{}
	again := 0
	for end := time.Now().Add(2 * patience); len(seen) < n && time.Now().Before(end); {
		got, err := sub.Receive(t.Context(), 1000)
		if err != nil {
			continue // It is starting.
		}
		for _, d := range got {
			if time.Now().Before(due) {
				t.Fatalf("%q came %v early", d.Msg().Body, time.Until(due))
			}
			if seen[string(d.Msg().Body)]++; seen[string(d.Msg().Body)] > 1 {
				again++
			}
			_, _ = d.Settle(t.Context(), broker.Done{}) // Else it comes again.
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d retries are lost", n-len(seen), n)
	}
	t.Logf("%d retries over two kills: %d lost, %d came again", n, n-len(seen), again)
}

func unroutableIsAFailure(t *testing.T, r *rig) {
	t.Helper()
	e := newBench(t, r, func(*config) {})
	sub := e.open()
	e.send(1)
	d := e.receive(sub, 1)[0]
	if _, err := r.plain(t).QueueDelete(e.names.DeadLetter, false, false, false); err != nil {
		t.Fatal(err)
	}
	dead := broker.Dead{Queue: e.names.DeadLetter, Envelope: []byte("{}"), PublishID: "dl:1"}
	for range 3 {
		if _, err := d.Settle(t.Context(), dead); !errors.Is(err, broker.ErrUnroutable) || errors.Is(err, broker.ErrUnknown) {
			t.Errorf("a dead letter for a queue that is gone: %v, want ErrUnroutable", err)
		}
	}
	if err := e.b.Topology().Ensure(t.Context(), broker.Spec{Source: e.source}); err != nil {
		t.Fatal(err)
	}
	e.settle(d, dead)
	e.drain(e.names.DeadLetter, 1)
}

func largeHeadersDegrade(t *testing.T, r *rig) {
	t.Helper()
	e := newBench(t, r, func(*config) {})
	sub := e.open()
	e.send(1)
	d := e.receive(sub, 1)[0]
	dead := broker.Dead{Queue: e.names.DeadLetter, Envelope: bytes.Repeat([]byte("h"), 140_000), PublishID: "dl:1"}
	var large *broker.TooLargeError
	if _, err := d.Settle(t.Context(), dead); !errors.As(err, &large) || large.Limit < 130_000 || large.Limit > 131_072 || large.Size < 140_000 {
		t.Errorf("headers of 140 kB: %v, want a TooLargeError", err)
	}
	dead.Envelope = bytes.Repeat([]byte("h"), large.Limit-1000)
	e.settle(d, dead)
	if l := e.drain(e.names.DeadLetter, 1); !bytes.Equal(l[0].Message.Envelope, dead.Envelope) {
		t.Errorf("an envelope of %d bytes came back with %d", len(dead.Envelope), len(l[0].Message.Envelope))
	}
}

func refusedLettersKeepTheirPlaces(t *testing.T, r *rig) {
	t.Helper()
	const n = 5
	e := newBench(t, r, func(*config) {})
	sub := e.open()
	e.send(n)
	for _, d := range e.receive(sub, n) {
		e.dead(d)
	}
	l, err := e.b.Letters(t.Context(), e.names.DeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("full")
	for range 25 {
		if err := l.Drain(t.Context(), n, func(context.Context, []broker.Letter) error { return full }); !errors.Is(err, full) {
			t.Fatalf("drain into a sink that refuses: %v", err)
		}
	}
	for i, letter := range e.drain(e.names.DeadLetter, n) {
		if want := fmt.Sprintf("message %05d", i); string(letter.Message.Body) != want {
			t.Errorf("letter %d is %q, want %q", i, letter.Message.Body, want)
		}
	}
}

func roundsThroughTiers(t *testing.T, r *rig) {
	t.Helper()
	e := newBench(t, r, func(*config) {})
	sub := e.open()
	e.publish(broker.Outbound{Queue: e.source, ID: "pub:round", Body: []byte("round")})
	for round := range 4 {
		d := e.receive(sub, 1)[0]
		if len(d.Msg().Control) > 0 {
			t.Errorf("round %d: control headers %v", round, d.Msg().Control)
		}
		due := time.Now().Add(2200 * time.Millisecond)
		e.settle(d, broker.Retry{At: due, Envelope: fmt.Appendf(nil, "round %d", round), PublishID: fmt.Sprintf("rt:%d", round)})
	}
	e.settle(e.receive(sub, 1)[0], broker.Done{})
}

// heldForTooLong keeps a message for longer than the server's timeout allows: it
// goes back by itself, and its neighbour is not touched.
func heldForTooLong(t *testing.T, r *rig) {
	t.Helper()
	e := newBench(t, r, func(c *config) { c.ConsumerTimeout = 10 * time.Second })
	sub := e.open()
	e.send(1)
	held := e.receive(sub, 1)[0]
	began := time.Now()
	for time.Since(began) < patience {
		if err := held.Extend(t.Context(), time.Hour); err != nil {
			if !errors.Is(err, broker.ErrLeaseLost) {
				t.Errorf("extend: %v, want ErrLeaseLost", err)
			}
			break
		}
		<-time.NewTimer(50 * time.Millisecond).C
	}
	if took := time.Since(began); took < 4*time.Second || took > 9*time.Second {
		t.Logf("it went back after %v", took)
	}
	again := e.receive(sub, 1)[0]
	if again.Deliveries().Earlier != 1 {
		t.Errorf("earlier deliveries: %d, want 1", again.Deliveries().Earlier)
	}
	e.settle(again, broker.Done{})
}

func everyFieldType(t *testing.T, r *rig) {
	t.Helper()
	e := newBench(t, r, func(*config) {})
	sub := e.open()
	want := amqp.Publishing{
		ContentType: "application/json", ContentEncoding: "gzip", CorrelationId: "c", ReplyTo: "amq.reply", MessageId: "m", Type: "t", AppId: "a",
		Priority: 3, Timestamp: time.Unix(1_700_000_000, 0), Body: []byte("typed"), Headers: amqp.Table{
			"string": "s", "bytes": []byte{0, 255}, "bool": true, "int8": int8(-8), "byte": byte(8), "int16": int16(-16), "uint16": uint16(16),
			"int32": int32(-32), "uint32": uint32(32), "int64": int64(1) << 60, "float32": float32(1.5), "float64": 1e300, "null": nil,
			"decimal": amqp.Decimal{Scale: 2, Value: 12345}, "time": time.Unix(1_600_000_000, 0),
			"list": []any{"a", int32(1), amqp.Table{"in": int16(2)}}, "table": amqp.Table{"nested": amqp.Table{"deep": []any{true, nil}}, "t": time.Unix(5, 0)},
		},
	}
	ch := r.plain(t)
	if err := ch.PublishWithContext(t.Context(), "", e.source, true, false, want); err != nil {
		t.Fatal(err)
	}
	e.dead(e.receive(sub, 1)[0])
	m := e.drain(e.names.DeadLetter, 1)[0].Message
	if err := sub.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.publish(broker.Outbound{Queue: e.names.Replay, ID: "rp:1", Key: m.Key, Body: m.Body, Headers: m.Headers})
	got, ok, err := ch.Get(e.names.Retry, true)
	if err != nil || !ok {
		t.Fatalf("the replay is not there: %v", err)
	}
	for name := range got.Headers {
		if strings.HasPrefix(name, "redrive") || name == "x-delivery-count" { // The broker's own, on 3.10.
			delete(got.Headers, name)
		}
	}
	if a, b := fmt.Sprintf("%#v", stable(got.Headers)), fmt.Sprintf("%#v", stable(want.Headers)); a != b {
		t.Errorf("fields\n%s\nwant\n%s", a, b)
	}
	a := []any{got.ContentType, got.ContentEncoding, got.CorrelationId, got.ReplyTo, got.MessageId, got.Type, got.AppId, got.Priority, got.Timestamp.Unix()}
	b := []any{want.ContentType, want.ContentEncoding, want.CorrelationId, want.ReplyTo, want.MessageId, want.Type, want.AppId, want.Priority, want.Timestamp.Unix()}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("properties %v, want %v", a, b)
	}
}

// stable makes fields comparable by their text: maps print sorted, times do not.
func stable(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.Unix()
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = stable(v[i])
		}
		return out
	case amqp.Table:
		out := map[string]any{}
		for name := range v {
			out[name] = stable(v[name])
		}
		return out
	}
	return v
}

func transientBecomesPersistent(t *testing.T, r *rig) {
	t.Helper()
	e := newBench(t, r, func(*config) {})
	sub := e.open()
	ch := r.plain(t)
	if err := ch.PublishWithContext(t.Context(), "", e.source, true, false, amqp.Publishing{DeliveryMode: amqp.Transient, Body: []byte("transient")}); err != nil {
		t.Fatal(err)
	}
	e.dead(e.receive(sub, 1)[0])
	for end := time.Now().Add(patience); time.Now().Before(end); {
		got, ok, err := ch.Get(e.names.DeadLetter, true)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			if got.DeliveryMode != amqp.Persistent {
				t.Errorf("the copy of a transient message has delivery mode %d", got.DeliveryMode)
			}
			return
		}
	}
	t.Error("the letter is not there")
}

// foreignLetters drains what the broker itself dead-lettered.
func foreignLetters(t *testing.T, r *rig) {
	t.Helper()
	e := newBench(t, r, func(*config) {})
	dlq := r.harness().Queue(t, "foreign")
	e.declare(dlq, nil)
	e.declare(e.source, amqp.Table{"x-message-ttl": int32(1), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dlq})
	if err := r.plain(t).PublishWithContext(t.Context(), "", e.source, true, false, amqp.Publishing{Body: []byte("expired")}); err != nil {
		t.Fatal(err)
	}
	l := e.drain(dlq, 1)[0]
	found := false
	for _, h := range l.Message.Control {
		found = found || h.Name == "x-death" && strings.Contains(string(h.Value), e.source)
	}
	if !found || time.Since(l.StoredAt) > 10*patience {
		t.Errorf("letter stored at %v with control headers %v", l.StoredAt, l.Message.Control)
	}
}

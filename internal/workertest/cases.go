package workertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/redrivetest"
)

// Cases returns every case, in a fixed order.
func Cases() []brokertest.Case {
	return slices.Concat(outcomeCases(), killCases(), loadCases())
}

// with makes a case of a function on a bench.
func with(f func(*bench)) func(brokertest.T, brokertest.Harness) {
	return func(t brokertest.T, h brokertest.Harness) {
		t.Helper()
		f(newBench(t, h))
	}
}

func outcomeCases() []brokertest.Case {
	return []brokertest.Case{
		{Name: "C1-worker-handles-once", Promise: "two workers handle each message once, and never one at the same time", Proves: []string{"exclusive-lease"}, Test: with(handlesOnce)},
		{Name: "C2-worker-retries", Promise: "a failed message runs again at the announced time or later, with its attempt counted", Proves: []string{"never-early"}, Test: with(retries)},
		{Name: "C5-worker-exhausted", Promise: "a message out of attempts is dead-lettered once, with its whole history", Test: with(exhausted)},
		{Name: "C5-worker-content", Promise: "any body, key and headers come through handler, retry, dead-letter queue and replay, with one idempotency key", Proves: []string{"any-content", "hostile-headers"}, Test: with(content)},
		{Name: "C6-worker-dead-letter-refused", Promise: "while dead letters are refused the original stays, each try is told, pauses grow, and the handler does not run again", Restarts: true, Proves: []string{"unroutable-refused", "settle-failure"}, Test: with(deadLetterRefused)},
		{Name: "C7-worker-oversize", Promise: "a history that does not fit beside the body gives way, and the body arrives whole", Test: with(oversize)},
		{Name: "C8-worker-crash-loop", Promise: "a message whose handler kills the process is quarantined, and its neighbours succeed", Test: with(crashLoop)},
		{Name: "worker-slow-handler-keeps-its-lease", Promise: "a handler of three leases runs once, and nobody else gets its message", Proves: []string{"exclusive-lease"}, Test: with(slowHandler)},
	}
}

func handlesOnce(e *bench) {
	brief := func(ctx context.Context, _ *redrive.Message, _ int) error {
		pass(ctx, time.Millisecond)
		return nil
	}
	e.start(e.h.Open(e), brief)
	e.start(e.h.Open(e), brief)
	bodies := numbered("message", 60)
	e.publish(bodies...)
	e.until(e.patience(), func() string {
		if n := e.books.handled(); n < len(bodies) {
			return fmt.Sprintf("%d of %d messages handled", n, len(bodies))
		}
		return ""
	})
	e.drained(e.patience())
	e.once(bodies...)
	e.apart()
}

func retries(e *bench) {
	const failures = 2
	bodies := numbered("flaky", 5)
	e.publish(bodies...)
	e.start(e.h.Open(e), func(_ context.Context, _ *redrive.Message, n int) error {
		if n < failures {
			return redrive.Local(errAway)
		}
		return nil
	})
	e.until(e.patience(), func() string {
		if n := e.books.handled(); n < len(bodies) {
			return fmt.Sprintf("%d of %d messages handled after their retries", n, len(bodies))
		}
		return ""
	})
	e.drained(e.patience())
	e.once(bodies...)
	due := map[string][]time.Time{}
	for _, f := range e.books.of(redrive.EventFailed) {
		due[string(f.Message.Body)] = append(due[string(f.Message.Body)], f.At.Add(f.Delay))
	}
	for _, body := range bodies {
		for i, r := range e.books.runsOf(body) {
			if r.message.Attempt != i+1 {
				e.Errorf("run %d of %q is attempt %d", i+1, body, r.message.Attempt)
			}
			if i > 0 && i <= len(due[body]) && r.began.Before(due[body][i-1]) {
				e.Errorf("run %d of %q began %v before it was due", i+1, body, due[body][i-1].Sub(r.began))
			}
		}
		if len(due[body]) != failures {
			e.Errorf("%q failed %d times, want %d", body, len(due[body]), failures)
		}
	}
}

func exhausted(e *bench) {
	const attempts = 3
	e.publish("hopeless")
	e.start(e.h.Open(e), func(_ context.Context, m *redrive.Message, _ int) error {
		if string(m.Body) == "hopeless" {
			return redrive.Transient(errAway)
		}
		return nil
	}, func(c *redrive.Config) { c.Policy.Retry.Attempts = attempts })
	// Others succeed meanwhile: else it could be an outage.
	i := 0
	e.until(e.patience(), func() string {
		if i < 15 {
			e.publish(fmt.Sprint("good ", i))
			i++
		}
		if len(e.books.of(redrive.EventDeadLettered)) == 0 {
			return "the message is not dead-lettered"
		}
		return ""
	})
	e.drained(e.patience())
	letters := e.letters(e.names.DeadLetter)
	if len(letters) != 1 || string(letters[0].Message.Body) != "hopeless" {
		e.Fatalf("%d letters, want that of the hopeless message alone", len(letters))
	}
	env, err := envelope.Decode(letters[0].Message.Envelope)
	if err != nil {
		e.Fatalf("envelope of the letter: %v", err)
	}
	if env.Count != attempts || len(env.Attempts) < attempts || env.Reason != envelope.ReasonAttempts || env.Category != failure.Transient ||
		env.Source != e.source || !strings.Contains(env.Message, errAway.Error()) || env.FirstFailure.IsZero() || env.LastFailure.Before(env.FirstFailure) {
		e.Errorf("history of the letter is %+v", env)
	}
	for _, r := range e.books.runsOf("hopeless") {
		if r.message.IdempotencyKey != env.Key {
			e.Errorf("idempotency key %q became %q", r.message.IdempotencyKey, env.Key)
		}
	}
}

// content sends hostile content through everything that redrive does with a
// message.
func content(e *bench) {
	m := e.outbound("content")
	m.Key = []byte("\x00 key \xff")
	m.Body = bytes.Repeat([]byte("\xff\x00\xc3\x28 body\r\n"), 500)
	for i := range 100 {
		m.Headers = append(m.Headers, broker.Header{Name: fmt.Sprintf("x-%02d", (i*37)%100), Value: fmt.Appendf(nil, "value %d", i)})
	}
	plain := m.Headers
	if errs := e.b.Publish(e.ctx, []broker.Outbound{{Queue: m.Queue, ID: m.ID, Key: m.Key, Body: m.Body, Headers: slices.Concat(plain, e.h.Hostile)}}); errs[0] != nil {
		e.publishAll(m) // The adapter refuses such headers, which is safe too.
	}
	replayed := make(chan struct{})
	p := func(_ context.Context, got *redrive.Message, n int) error {
		switch n {
		case 0:
			return redrive.Local(errAway)
		case 1:
			return redrive.Business(errors.New("refused"))
		}
		defer close(replayed)
		return nil
	}
	e.start(e.h.Open(e), p)
	e.until(e.patience(), func() string {
		if len(e.books.of(redrive.EventDeadLettered)) == 0 {
			return "the message is not dead-lettered"
		}
		return ""
	})
	letters := e.letters(e.names.DeadLetter)
	if len(letters) != 1 {
		e.Fatalf("%d letters, want one", len(letters))
	}
	l := letters[0].Message
	if len(l.Control) > 0 {
		e.Errorf("the letter carries %d headers that steer a broker", len(l.Control))
	}
	e.publishAll(broker.Outbound{Queue: e.names.Replay, ID: "rp:" + e.source + ":1", Key: l.Key, Body: l.Body, Headers: l.Headers, Envelope: l.Envelope})
	select {
	case <-replayed:
	case <-e.ctx.Done():
		e.Fatalf("the replay was not handled: %v", e.ctx.Err())
	}
	e.drained(e.patience())
	runs := e.books.runsOf(string(m.Body))
	for i, r := range runs {
		got := r.message
		if sha256.Sum256(got.Body) != sha256.Sum256(m.Body) || !bytes.Equal(got.Key, m.Key) {
			e.Errorf("run %d: body or key differ", i+1)
		}
		if !slices.EqualFunc(own(got.Headers), plain, func(a, b broker.Header) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }) {
			e.Errorf("run %d: headers differ: %v", i+1, got.Headers)
		}
		if got.IdempotencyKey != runs[0].message.IdempotencyKey || got.IdempotencyKey == "" && e.caps.StableIdentity {
			e.Errorf("run %d: idempotency key %q, first was %q", i+1, got.IdempotencyKey, runs[0].message.IdempotencyKey)
		}
	}
	if len(runs) != 3 {
		e.Errorf("%d runs, want 3: first, retry and replay", len(runs))
	}
}

// own leaves out the headers that redrive or the broker add.
func own(headers []broker.Header) []broker.Header {
	return slices.DeleteFunc(slices.Clone(headers), func(h broker.Header) bool { return !strings.HasPrefix(h.Name, "x-") || len(h.Name) != len("x-00") })
}

func deadLetterRefused(e *bench) {
	const refusals = 5
	e.publish("bad")
	client, heal := e.refusing()
	e.start(client, func(context.Context, *redrive.Message, int) error {
		return redrive.Business(errors.New("refused"))
	}, func(c *redrive.Config) { c.SettleTimeout = 2 * time.Second })
	e.until(10*time.Second+e.h.Tolerance, func() string {
		if n := len(e.books.of(redrive.EventMoveFailed)); n < refusals {
			return fmt.Sprintf("%d failed moves were told", n)
		}
		return ""
	})
	e.until(2*statsLag, func() string {
		st, err := e.b.Stats(e.ctx, e.source)
		if err != nil || st.Depth() != 1 {
			return fmt.Sprintf("depth %d, %v while the copy is refused: the original must stay", st.Depth(), err)
		}
		return ""
	})
	heal()
	e.drained(10*time.Second + e.patience())
	if n := len(e.books.runsOf("bad")); n != 1 {
		e.Errorf("the handler ran %d times for one move", n)
	}
	if n := len(e.letters(e.names.DeadLetter)); n != 1 {
		e.Errorf("%d letters, want one", n)
	}
	// 50 ms doubled, four times: anything near it is no hot loop.
	failed := e.books.of(redrive.EventMoveFailed)
	if took := failed[refusals-1].At.Sub(failed[0].At); took < 500*time.Millisecond {
		e.Errorf("%d tries within %v: the pauses do not grow", refusals, took)
	}
}

// refusing opens a client whose dead letters are refused until heal.
func (e *bench) refusing() (client broker.Broker, heal func()) {
	e.Helper()
	if e.h.Refuse != nil {
		return e.h.Open(e), e.h.Refuse(e, e.names.DeadLetter)
	}
	b, link := redrivetest.WithLink(e.h.Open(e))
	link.DropSettlements()
	return b, link.Heal
}

func oversize(e *bench) {
	if e.caps.MaxMessage == 0 {
		e.Logf("the broker names no limit")
		return
	}
	m := e.outbound("oversize")
	m.Body = bytes.Repeat([]byte("0123456789abcdef"), (e.caps.MaxMessage-2<<10)/16)
	e.publishAll(m)
	e.start(e.h.Open(e), func(context.Context, *redrive.Message, int) error {
		return redrive.Business(errors.New(strings.Repeat("a long story ", 10_000)))
	})
	e.drained(e.patience())
	letters := e.letters(e.names.DeadLetter)
	if len(letters) != 1 {
		e.Fatalf("%d letters, want one", len(letters))
	}
	if sha256.Sum256(letters[0].Message.Body) != sha256.Sum256(m.Body) {
		e.Errorf("the body of %d bytes came as %d bytes", len(m.Body), len(letters[0].Message.Body))
	}
	if env, err := envelope.Decode(letters[0].Message.Envelope); err != nil || env.Count != 1 {
		e.Errorf("envelope %+v, %v: want what is left of the history", env, err)
	}
}

func crashLoop(e *bench) {
	if !e.caps.Marks {
		e.Logf("Caps have no marks: crash loops are not detected on this broker")
		return
	}
	neighbours := numbered("neighbour", 4)
	e.publish(slices.Concat(neighbours[:2], []string{"killer"}, neighbours[2:])...)
	crashes := 0
	for end := time.Now().Add(e.h.Timeout / 2); len(e.books.of(redrive.EventQuarantined)) == 0; {
		client := e.h.Open(e)
		dead := make(chan struct{}, 1)
		w := e.start(client, func(ctx context.Context, m *redrive.Message, _ int) error {
			if string(m.Body) != "killer" {
				return nil
			}
			e.h.Kill(e, client)
			dead <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}, dies)
		e.until(e.h.Timeout/2, func() string {
			select {
			case <-dead:
				crashes++
				return ""
			default:
			}
			if len(e.books.of(redrive.EventQuarantined)) > 0 {
				return ""
			}
			return "neither a crash nor a quarantine"
		})
		_ = w.stop() // It is dead: that it leaves handlers behind is no news.
		if time.Now().After(end) {
			e.Fatalf("%d crashes and no quarantine", crashes)
		}
	}
	e.start(e.h.Open(e), func(context.Context, *redrive.Message, int) error { return nil })
	e.drained(e.patience())
	if most := 2 + 3; crashes > most {
		e.Errorf("%d crashes before the quarantine, want at most %d", crashes, most)
	}
	letters := e.letters(e.names.Quarantine(failure.Crash))
	if len(letters) != 1 || string(letters[0].Message.Body) != "killer" {
		e.Fatalf("in quarantine: %v, want the killer alone", bodies(letters))
	}
	if env, err := envelope.Decode(letters[0].Message.Envelope); err != nil || env.Reason != envelope.ReasonCrashLoop || env.Category != failure.Crash {
		e.Errorf("envelope %+v, %v", env, err)
	}
	for _, body := range neighbours {
		if e.books.successes(body) < 1 {
			e.Errorf("%q was not handled", body)
		}
	}
}

func slowHandler(e *bench) {
	slow := func(ctx context.Context, _ *redrive.Message, _ int) error {
		pass(ctx, 3*e.h.Lease)
		return ctx.Err()
	}
	e.publish("slow")
	e.start(e.h.Open(e), slow)
	e.start(e.h.Open(e), slow)
	e.drained(3*e.h.Lease + e.patience())
	e.once("slow")
	e.apart()
}

// bodies lists what letters hold.
func bodies(letters []broker.Letter) []string {
	all := make([]string, len(letters))
	for i := range letters {
		all[i] = string(letters[i].Message.Body)
	}
	return all
}

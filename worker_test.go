package redrive_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/redrivetest"
	"github.com/redrive-dev/redrive/retry"
)

const source = "orders"

// bench is one subscription on the in-memory broker, inside a bubble.
type bench struct {
	t      *testing.T
	ctx    context.Context //nolint:containedctx // the life of the bubble
	broker *redrivetest.Broker
	events *recorder
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, &bench{t: t, ctx: t.Context(), broker: redrivetest.NewBroker(), events: &recorder{}})
	})
}

// publish stores messages with these bodies.
func (b *bench) publish(bodies ...string) {
	b.t.Helper()
	out := make([]broker.Outbound, len(bodies))
	for i, body := range bodies {
		out[i] = broker.Outbound{Queue: source, ID: "pub:" + body, Body: []byte(body)}
	}
	for i, err := range b.broker.Publish(b.ctx, out) {
		if err != nil {
			b.t.Fatalf("publish %q: %v", bodies[i], err)
		}
	}
}

// start runs a worker and returns a function that stops it and returns Run's
// error.
func (b *bench) start(over broker.Broker, h redrive.Handler, edit func(*redrive.Config)) (*redrive.Worker, func() error) {
	b.t.Helper()
	c := redrive.Config{Source: source, Name: "w", Observers: []redrive.Observer{b.events}, Test: redrive.TestConfig{Seed: 42}}
	if edit != nil {
		edit(&c)
	}
	if over == nil {
		over = b.broker.Client()
	}
	w, err := redrive.NewWorker(over, h, c)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	synctest.Wait()
	stopped := false
	stop := func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	b.t.Cleanup(func() { _ = stop() })
	return w, stop
}

// pass lets virtual time go on.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (b *bench) letters(queue string) []broker.Letter {
	b.t.Helper()
	l, err := b.broker.Client().Letters(b.ctx, queue)
	if err != nil {
		b.t.Fatal(err)
	}
	all, _, err := l.Scan(b.ctx, "", 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

func (b *bench) bodies(queue string) []string {
	var bodies []string
	for _, l := range b.letters(queue) {
		bodies = append(bodies, string(l.Message.Body))
	}
	slices.Sort(bodies)
	return bodies
}

func (b *bench) depth(queue string) int64 {
	b.t.Helper()
	s, err := b.broker.Client().Stats(b.ctx, queue)
	if err != nil {
		b.t.Fatal(err)
	}
	return s.Depth()
}

func (b *bench) want(queue string, bodies ...string) {
	b.t.Helper()
	slices.Sort(bodies)
	if got := b.bodies(queue); !slices.Equal(got, bodies) {
		b.t.Errorf("%s holds %q, want %q", queue, got, bodies)
	}
}

func envelopeOf(t *testing.T, l broker.Letter) envelope.Envelope {
	t.Helper()
	e, err := envelope.Decode(l.Message.Envelope)
	if err != nil {
		t.Fatalf("envelope of a letter: %v", err)
	}
	return e
}

// recorder keeps the events of a worker.
type recorder struct {
	mu     sync.Mutex
	events []redrive.Event
}

func (r *recorder) Observe(e *redrive.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, *e)
}

func (r *recorder) count(k redrive.EventKind) int { return len(r.of(k)) }

func (r *recorder) of(k redrive.EventKind) []redrive.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []redrive.Event
	for _, e := range r.events {
		if e.Kind == k {
			found = append(found, e)
		}
	}
	return found
}

// script answers per body: a list of errors for the runs in order, then nil.
type script struct {
	mu    sync.Mutex
	plan  map[string][]error
	calls map[string][]redrive.Message
	times map[string][]time.Time
}

func newScript(plan map[string][]error) *script {
	return &script{plan: plan, calls: map[string][]redrive.Message{}, times: map[string][]time.Time{}}
}

func (s *script) handle(_ context.Context, m *redrive.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	body := string(m.Body)
	n := len(s.calls[body])
	s.calls[body] = append(s.calls[body], *m)
	s.times[body] = append(s.times[body], time.Now())
	if n < len(s.plan[body]) {
		return s.plan[body][n]
	}
	return nil
}

func (s *script) runs(body string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls[body])
}

func always(err error) []error {
	return slices.Repeat([]error{err}, 1000)
}

// call returns the message of the n-th run.
func (s *script) call(body string, n int) redrive.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n >= len(s.calls[body]) {
		return redrive.Message{}
	}
	return s.calls[body][n]
}

// at returns the time of the n-th run, the zero time if there was none.
func (s *script) at(body string, n int) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n >= len(s.times[body]) {
		return time.Time{}
	}
	return s.times[body][n]
}

var errDown = failure.AsTransient(errors.New("downstream is away"))

func TestHandledMessagesAreDone(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("a", "b", "c")
		s := newScript(nil)
		w, stop := b.start(nil, s.handle, nil)
		pass(time.Second)
		if w.Ready() != nil {
			t.Error(w.Ready())
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if w.Ready() == nil {
			t.Error("ready after the end of Run")
		}
		if got := b.events.count(redrive.EventHandled); got != 3 {
			t.Errorf("%d handled, want 3", got)
		}
		if d := b.depth(source); d != 0 {
			t.Errorf("%d left in the source", d)
		}
	})
}

func TestTransientFailuresAreRetriedWithTheDelayThatIsReported(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("a")
		s := newScript(map[string][]error{"a": {errDown, errDown}})
		b.start(nil, s.handle, nil)
		pass(time.Minute)
		calls := s.calls["a"]
		if len(calls) != 3 {
			t.Fatalf("%d runs, want 3", len(calls))
		}
		for i, m := range calls {
			if m.Attempt != i+1 || m.MaxAttempts != 5 {
				t.Errorf("run %d: attempt %d of %d", i, m.Attempt, m.MaxAttempts)
			}
			if m.IdempotencyKey != calls[0].IdempotencyKey || m.IdempotencyKey == "" {
				t.Errorf("run %d: key %q, first %q", i, m.IdempotencyKey, calls[0].IdempotencyKey)
			}
		}
		if calls[0].FirstFailure != (time.Time{}) || !calls[2].FirstFailure.Equal(s.at("a", 0)) {
			t.Errorf("first failure: %v then %v, want %v", calls[0].FirstFailure, calls[2].FirstFailure, s.at("a", 0))
		}
		for i, e := range b.events.of(redrive.EventFailed) {
			if due := e.At.Add(e.Delay); s.at("a", i+1).Before(due) || s.at("a", i+1).After(due.Add(50*time.Millisecond)) {
				t.Errorf("retry %d at %v, announced for %v", i, s.at("a", i+1), due)
			}
		}
	})
}

func TestPermanentFailuresAreDeadLetteredAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("bad", "worse", "good")
		s := newScript(map[string][]error{
			"bad":   always(redrive.Schema(errors.New("no such field"))),
			"worse": always(redrive.Quarantine(redrive.Business(errors.New("fraud")))),
		})
		b.start(nil, s.handle, nil)
		pass(time.Second)
		b.want("orders.dlq", "bad")
		b.want("orders.dlq.quarantine.business", "worse")
		if s.runs("bad") != 1 || s.runs("good") != 1 {
			t.Errorf("runs: bad %d, good %d", s.runs("bad"), s.runs("good"))
		}
		e := envelopeOf(t, b.letters("orders.dlq")[0])
		if e.Category != failure.Schema || e.Reason != envelope.ReasonPermanent || e.Count != 1 || len(e.Attempts) != 1 ||
			e.Message != "no such field" || e.Source != source || e.Signature == "" || e.Attempts[0].Worker != "w" {
			t.Errorf("envelope: %+v", e)
		}
	})
}

func TestPanicsAreRecoveredAndQuarantinedAsCrash(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("boom", "fine")
		w, _ := b.start(nil, func(_ context.Context, m *redrive.Message) error {
			if string(m.Body) == "boom" {
				panic("kaboom")
			}
			return nil
		}, nil)
		pass(time.Minute)
		b.want("orders.dlq.quarantine.crash", "boom")
		e := envelopeOf(t, b.letters("orders.dlq.quarantine.crash")[0])
		if e.Count != 5 || e.Reason != envelope.ReasonPanic || !strings.Contains(e.Stack, "worker_test") {
			t.Errorf("envelope: count %d, reason %q, stack %.60q", e.Count, e.Reason, e.Stack)
		}
		if w.Snapshot().Breaker.Openings != 0 {
			t.Error("panics opened the breaker")
		}
	})
}

// A message that kills the process is found by the deliveries that nobody
// explained, run alone and quarantined; its neighbours are handled.
func TestCrashLoopsAreQuarantinedAndNeighboursAreNot(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("n1", "n2", "killer", "n3", "n4")
		crashes := 0
		handled := map[string]bool{}
		for range 20 {
			client := b.broker.Client()
			dead := make(chan struct{})
			var once sync.Once
			var mu sync.Mutex
			_, stop := b.start(client, func(ctx context.Context, m *redrive.Message) error {
				if string(m.Body) == "killer" {
					client.Kill()
					once.Do(func() { close(dead) })
					<-ctx.Done()
					return ctx.Err()
				}
				mu.Lock()
				defer mu.Unlock()
				handled[string(m.Body)] = true
				return nil
			}, func(c *redrive.Config) { c.StopTimeout = time.Millisecond; c.SettleTimeout = time.Millisecond })
			select {
			case <-dead:
				crashes++
				_ = stop()
				pass(31 * time.Second) // the leases of the dead process run out
				continue
			case <-time.After(40 * time.Second):
			}
			_ = stop()
			break
		}
		b.want("orders.dlq.quarantine.crash", "killer")
		if len(handled) != 4 {
			t.Errorf("handled %v, want all four neighbours", handled)
		}
		if crashes > 5 {
			t.Errorf("%d crashes before the quarantine, want at most 2 + 3", crashes)
		}
		e := envelopeOf(t, b.letters("orders.dlq.quarantine.crash")[0])
		if e.Reason != envelope.ReasonCrashLoop || e.Category != failure.Crash {
			t.Errorf("envelope: %+v", e)
		}
	})
}

func TestACleanStopExplainsItsReleases(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("a", "b", "c", "d")
		for range 6 {
			_, stop := b.start(nil, func(ctx context.Context, _ *redrive.Message) error {
				<-ctx.Done()
				return ctx.Err()
			}, func(c *redrive.Config) { c.Concurrency = 2; c.StopTimeout = 10 * time.Millisecond })
			pass(time.Second)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		}
		s := newScript(nil)
		b.start(nil, s.handle, nil)
		pass(time.Second)
		if got := b.events.count(redrive.EventSuspect); got != 0 {
			t.Errorf("%d suspects after clean stops", got)
		}
		if got := b.events.count(redrive.EventHandled); got != 4 {
			t.Errorf("%d handled", got)
		}
		if m := s.call("a", 0); m.Attempt != 1 {
			t.Errorf("stops cost attempts: now at %d", m.Attempt)
		}
	})
}

func TestAHandlerThatRunsOutOfTime(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("late", "obedient", "fine")
		s := newScript(nil)
		b.start(nil, func(ctx context.Context, m *redrive.Message) error {
			switch {
			case string(m.Body) == "late":
				<-time.After(40 * time.Second) // ignores its context, and succeeds in its grace
			case string(m.Body) == "obedient" && m.Attempt == 1:
				<-ctx.Done()
				return fmt.Errorf("call the bank: %w", ctx.Err())
			}
			return s.handle(ctx, m)
		}, nil)
		pass(2 * time.Minute)
		if s.runs("late") != 1 {
			t.Errorf("a late success ran %d times", s.runs("late"))
		}
		if s.runs("obedient") != 1 || s.call("obedient", 0).Attempt != 2 {
			t.Errorf("obedient: %+v", s.calls["obedient"])
		}
		failed := b.events.of(redrive.EventFailed)
		if len(failed) != 1 || !failed[0].Failure.Timeout || !failed[0].Failure.Downstream {
			t.Fatalf("failures: %+v", failed)
		}
	})
}

func TestStuckHandlersStopTheIntake(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		hang := make(chan struct{})
		b.publish("h1", "h2", "x1", "x2")
		w, _ := b.start(nil, func(_ context.Context, m *redrive.Message) error {
			if m.Body[0] == 'h' {
				<-hang
			}
			return nil
		}, func(c *redrive.Config) { c.Concurrency = 8 })
		pass(61 * time.Second)
		if s := w.Snapshot(); s.Stuck != 2 {
			t.Fatalf("stuck: %d, want 2", s.Stuck)
		}
		if w.Ready() == nil {
			t.Error("ready although a quarter of the handlers is stuck")
		}
		if got := b.events.count(redrive.EventStuck); got != 1 {
			t.Errorf("%d alerts, want 1", got)
		}
		b.publish("x3")
		pass(time.Minute)
		if got := b.depth(source); got != 1 {
			t.Errorf("took a message while stuck: %d left", got)
		}
		close(hang)
		pass(time.Minute)
		if err := w.Ready(); err != nil {
			t.Error(err)
		}
		if got := b.depth(source); got != 0 {
			t.Errorf("%d left after recovery", got)
		}
	})
}

func TestAFailedDeadLetterWriteKeepsTheMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("bad")
		s := newScript(map[string][]error{"bad": always(redrive.Business(errors.New("no")))})
		full := redrivetest.FailDead("*.dlq").Every(1).Times(3).With(broker.ErrFull)
		b.start(redrivetest.Inject(b.broker.Client(), full), s.handle, nil)
		pass(200 * time.Millisecond)
		b.want("orders.dlq")
		if b.depth(source) != 1 {
			t.Fatal("the message is gone although its copy was refused")
		}
		pass(time.Minute)
		b.want("orders.dlq", "bad")
		if s.runs("bad") != 1 {
			t.Errorf("the handler ran %d times for one move", s.runs("bad"))
		}
		if got := b.events.count(redrive.EventMoveFailed); got != 3 {
			t.Errorf("%d alerts, want 3", got)
		}
		if full.Seen() > 5 {
			t.Errorf("%d tries in a minute: a hot loop", full.Seen())
		}
	})
}

func TestAPendingMoveIsRepeatedAfterACrashAndNotTheHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("bad")
		s := newScript(map[string][]error{"bad": always(redrive.Business(errors.New("no")))})
		client := b.broker.Client()
		full := redrivetest.FailDead("*.dlq").Every(1).With(broker.ErrFull)
		_, stop := b.start(redrivetest.Inject(client, full), s.handle, func(c *redrive.Config) { c.SettleTimeout = time.Second })
		pass(time.Second)
		client.Kill()
		_ = stop()
		pass(31 * time.Second)
		b.start(nil, s.handle, nil)
		pass(time.Second)
		b.want("orders.dlq", "bad")
		if s.runs("bad") != 1 {
			t.Errorf("the handler ran %d times", s.runs("bad"))
		}
	})
}

func TestALostConfirmationMakesOneLetter(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("bad")
		s := newScript(map[string][]error{"bad": always(redrive.Business(errors.New("no")))})
		b.start(redrivetest.Inject(b.broker.Client(), redrivetest.FailDead("*.dlq").Nth(1).ApplyThenLose()), s.handle, nil)
		pass(time.Minute)
		b.want("orders.dlq", "bad")
		if b.depth(source) != 0 {
			t.Error("still in the source")
		}
	})
}

func TestALargeCopyGivesUpItsEnvelopeBeforeItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := redrivetest.NewBroker(redrivetest.WithCaps(func(c *broker.Caps) { c.MaxMessage = 64 << 10 }))
		b := &bench{t: t, ctx: t.Context(), broker: mem, events: &recorder{}}
		body := strings.Repeat("x", 64<<10-2500)
		b.publish(body)
		b.start(nil, func(context.Context, *redrive.Message) error {
			panic(strings.Repeat("long message ", 300))
		}, func(c *redrive.Config) { c.Policy.Retry.Attempts = 1 })
		pass(time.Minute)
		letters := b.letters("orders.dlq.quarantine.crash")
		if len(letters) != 1 || string(letters[0].Message.Body) != body {
			t.Fatalf("%d letters", len(letters))
		}
		if e := envelopeOf(t, letters[0]); len(e.Trimmed) == 0 || e.Category != failure.Crash {
			t.Errorf("trimmed %v, category %v", e.Trimmed, e.Category)
		}
	})
}

func TestExpiredMessagesAreParkedAndNotRun(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		errs := b.broker.Publish(b.ctx, []broker.Outbound{{Queue: source, ID: "pub:1", Body: []byte("old"), ExpiresAt: time.Now().Add(-time.Second)}})
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
		s := newScript(nil)
		b.start(nil, s.handle, nil)
		pass(time.Second)
		b.want("orders.dlq", "old")
		if s.runs("old") != 0 {
			t.Error("an expired message was run")
		}
		if e := envelopeOf(t, b.letters("orders.dlq")[0]); e.Reason != envelope.ReasonExpired {
			t.Errorf("reason %q", e.Reason)
		}
	})
}

// A service that consumes one message and publishes two, with all headers
// copied: both are new messages, with attempts and keys of their own.
func TestCopiedEnvelopesAreNotBelieved(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("origin")
		s := newScript(map[string][]error{"origin": {errDown, errDown, errDown}})
		sub, err := b.broker.Client().Open(b.ctx, broker.Spec{Source: source})
		if err != nil {
			t.Fatal(err)
		}
		_ = sub.Close(b.ctx)
		var stolen []byte
		b.start(redrivetest.Inject(b.broker.Client()), func(ctx context.Context, m *redrive.Message) error {
			return s.handle(ctx, m)
		}, nil)
		pass(10 * time.Millisecond)
		letters := b.letters("orders.retry")
		if len(letters) != 1 {
			t.Fatalf("%d in the retry queue", len(letters))
		}
		stolen = letters[0].Message.Envelope
		for _, body := range []string{"copy 1", "copy 2"} {
			errs := b.broker.Publish(b.ctx, []broker.Outbound{{Queue: source, ID: "pub:" + body, Body: []byte(body), Envelope: stolen}})
			if errs[0] != nil {
				t.Fatal(errs[0])
			}
		}
		pass(time.Minute)
		for _, body := range []string{"copy 1", "copy 2"} {
			if s.runs(body) != 1 || s.call(body, 0).Attempt != 1 {
				t.Errorf("%s: %d runs, first attempt %d", body, s.runs(body), s.call(body, 0).Attempt)
			}
		}
		if s.call("copy 1", 0).IdempotencyKey == s.call("copy 2", 0).IdempotencyKey ||
			s.call("copy 1", 0).IdempotencyKey == s.call("origin", 0).IdempotencyKey {
			t.Error("copies share a key")
		}
	})
}

func TestInbox(t *testing.T) {
	header := []broker.Header{{Name: "X-Event-Id", Value: []byte("e1")}}
	start := func(b *bench, store idempotency.Store, h redrive.Handler) {
		b.start(nil, h, func(c *redrive.Config) { c.Inbox, c.IdempotencyHeader = store, "X-Event-Id" })
	}
	send := func(b *bench, id, body string) {
		b.t.Helper()
		if errs := b.broker.Publish(b.ctx, []broker.Outbound{{Queue: source, ID: id, Body: []byte(body), Headers: header}}); errs[0] != nil {
			b.t.Fatal(errs[0])
		}
	}
	t.Run("a duplicate is settled without an effect", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bench) {
			s := newScript(nil)
			start(b, idempotency.NewMemory(), s.handle)
			send(b, "pub:1", "a")
			pass(time.Second)
			send(b, "pub:2", "a")
			pass(time.Second)
			if s.runs("a") != 1 || b.events.count(redrive.EventDuplicate) != 1 || b.depth(source) != 0 {
				t.Errorf("runs %d, duplicates %d, left %d", s.runs("a"), b.events.count(redrive.EventDuplicate), b.depth(source))
			}
		})
	})
	t.Run("another body under the key is dead-lettered", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bench) {
			s := newScript(nil)
			start(b, idempotency.NewMemory(), s.handle)
			send(b, "pub:1", "a")
			pass(time.Second)
			send(b, "pub:2", "b")
			pass(time.Second)
			b.want("orders.dlq", "b")
			if e := envelopeOf(t, b.letters("orders.dlq")[0]); e.Reason != envelope.ReasonKeyConflict {
				t.Errorf("reason %q", e.Reason)
			}
		})
	})
	t.Run("a failed attempt is no duplicate", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bench) {
			s := newScript(map[string][]error{"a": {errDown}})
			start(b, idempotency.NewMemory(), s.handle)
			send(b, "pub:1", "a")
			pass(time.Minute)
			if s.runs("a") != 2 || b.events.count(redrive.EventHandled) != 1 {
				t.Errorf("runs %d, handled %d", s.runs("a"), b.events.count(redrive.EventHandled))
			}
		})
	})
	t.Run("a live claim of another is waited for", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bench) {
			store := idempotency.NewMemory()
			if _, err := store.Claim(b.ctx, "e1", idempotency.Scope(source, "default"), envelope.Digest([]byte("a")), 20*time.Second); err != nil {
				t.Fatal(err)
			}
			s := newScript(nil)
			send(b, "pub:1", "a")
			begin := time.Now()
			start(b, store, s.handle)
			pass(time.Minute)
			if s.runs("a") != 1 || s.at("a", 0).Sub(begin) < 20*time.Second || s.call("a", 0).Attempt != 1 {
				t.Errorf("runs %d after %v", s.runs("a"), s.times["a"])
			}
		})
	})
	t.Run("an inbox that is away is waited for", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bench) {
			store := &flaky{Store: idempotency.NewMemory()}
			store.down.Store(true)
			s := newScript(nil)
			send(b, "pub:1", "a")
			start(b, store, s.handle)
			pass(30 * time.Second)
			if s.runs("a") != 0 || b.depth(source) != 1 {
				t.Fatalf("runs %d, left %d", s.runs("a"), b.depth(source))
			}
			if store.calls.Load() > 20 {
				t.Errorf("%d calls in 30 s: a hot loop", store.calls.Load())
			}
			store.down.Store(false)
			pass(30 * time.Second)
			if s.runs("a") != 1 || b.depth(source) != 0 {
				t.Errorf("runs %d, left %d", s.runs("a"), b.depth(source))
			}
		})
	})
}

type flaky struct {
	idempotency.Store
	down  atomic.Bool
	calls atomic.Int64
}

func (f *flaky) Claim(ctx context.Context, key, group, fingerprint string, lease time.Duration) (idempotency.Result, error) {
	f.calls.Add(1)
	if f.down.Load() {
		return idempotency.Result{}, errors.New("no connection")
	}
	return f.Store.Claim(ctx, key, group, fingerprint, lease)
}

func TestThrottlingHoldsTheSubscriptionAndCostsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("a")
		s := newScript(map[string][]error{"a": slices.Repeat([]error{redrive.Throttled(20*time.Second, errors.New("429"))}, 8)})
		b.start(nil, s.handle, nil)
		pass(10 * time.Millisecond)
		begin := time.Now()
		b.publish("b")
		pass(10 * time.Minute)
		if s.runs("a") != 9 || s.call("a", 8).Attempt != 1 {
			t.Errorf("runs %d, last attempt %d", s.runs("a"), s.call("a", 8).Attempt)
		}
		if got := s.at("b", 0).Sub(begin); got < 19*time.Second {
			t.Errorf("another message was sent to the throttled downstream after %s", got)
		}
	})
}

func TestANamedDependencyHoldsOnlyThoseWhoNeedIt(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		var healed atomic.Bool
		var calls atomic.Int64
		w, _ := b.start(nil, func(ctx context.Context, m *redrive.Message) error {
			if m.Body[0] != 'p' {
				return nil
			}
			return redrive.Dependency(ctx, "payments", func(context.Context) error {
				calls.Add(1)
				if healed.Load() {
					return nil
				}
				return errDown
			})
		}, nil)
		for i := range 50 {
			b.publish(fmt.Sprintf("p%d", i), fmt.Sprintf("other%d", i))
			pass(100 * time.Millisecond)
		}
		pass(5 * time.Minute)
		during := calls.Load()
		if got := b.events.count(redrive.EventHandled); got != 50 {
			t.Errorf("%d of the others handled, want 50", got)
		}
		if w.Snapshot().Breaker.Openings != 0 {
			t.Error("the subscription's breaker opened for one dependency")
		}
		if during > 100 {
			t.Errorf("%d calls in 5 min of outage", during)
		}
		healed.Store(true)
		pass(2 * time.Minute)
		if got := b.events.count(redrive.EventHandled); got != 100 {
			t.Errorf("%d handled after recovery, want 100", got)
		}
		b.want("orders.dlq")
	})
}

func TestAFailingMessageDelaysNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		s := newScript(map[string][]error{"slow to heal": slices.Repeat([]error{redrive.RetryAfter(time.Minute, errors.New("later"))}, 2)})
		b.publish("slow to heal")
		b.start(nil, s.handle, func(c *redrive.Config) { c.Concurrency = 1; c.Policy.Breaker.Consecutive = 100 })
		pass(time.Second)
		begin := time.Now()
		b.publish("a", "b", "c")
		pass(time.Second)
		for _, body := range []string{"a", "b", "c"} {
			if s.runs(body) != 1 || s.at(body, 0).Sub(begin) > 10*time.Millisecond {
				t.Errorf("%s waited: %v", body, s.times[body])
			}
		}
		pass(3 * time.Minute)
		if s.runs("slow to heal") != 3 {
			t.Errorf("%d runs", s.runs("slow to heal"))
		}
	})
}

func TestLongHandlersKeepTheirLease(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("a")
		var running, most atomic.Int64
		h := func(context.Context, *redrive.Message) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			<-time.After(3 * time.Minute)
			return nil
		}
		edit := func(c *redrive.Config) { c.Policy.HandlerTimeout = 10 * time.Minute }
		b.start(nil, h, edit)
		b.start(nil, h, edit)
		pass(10 * time.Minute)
		if most.Load() != 1 || b.events.count(redrive.EventHandled) != 1 {
			t.Errorf("at most %d at once, handled %d", most.Load(), b.events.count(redrive.EventHandled))
		}
	})
}

func TestALostLeaseCancelsTheHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("a")
		cancelled := make(chan error, 1)
		lost := redrivetest.FailExtend().Nth(1).LoseLease()
		first := true
		b.start(redrivetest.Inject(b.broker.Client(), lost), func(ctx context.Context, _ *redrive.Message) error {
			if !first {
				return nil
			}
			first = false
			<-ctx.Done()
			cancelled <- context.Cause(ctx)
			return ctx.Err()
		}, nil)
		pass(2 * time.Minute)
		select {
		case err := <-cancelled:
			if !errors.Is(err, broker.ErrLeaseLost) {
				t.Errorf("cause: %v", err)
			}
		default:
			t.Fatal("the handler went on without its lease")
		}
		if b.events.count(redrive.EventFailed) != 0 {
			t.Error("a lost lease cost an attempt")
		}
		if b.depth(source) != 0 || b.events.count(redrive.EventHandled) != 1 {
			t.Errorf("left %d, handled %d", b.depth(source), b.events.count(redrive.EventHandled))
		}
	})
}

func TestJSONDecodesOrDeadLetters(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish(`{"id":9007199254740993}`, `{"id":`, `{"id":"x"}`, `{} {}`)
		type order struct {
			ID int64 `json:"id"`
		}
		var got atomic.Int64
		b.start(nil, redrive.JSON(func(_ context.Context, _ *redrive.Message, o order) error {
			got.Store(o.ID)
			return nil
		}), nil)
		pass(time.Second)
		if got.Load() != 9007199254740993 {
			t.Errorf("id %d", got.Load())
		}
		b.want("orders.dlq", `{"id":`, `{"id":"x"}`, `{} {}`)
		for _, l := range b.letters("orders.dlq") {
			if e := envelopeOf(t, l); e.Category != failure.Schema {
				t.Errorf("%s: category %s", l.Message.Body, e.Category)
			}
		}
	})
}

type validator func(*redrive.Message) error

func (v validator) Validate(_ context.Context, m *redrive.Message) error { return v(m) }

func TestTheValidatorStandsBeforeTheHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("good", "bad", "crash")
		s := newScript(nil)
		b.start(nil, s.handle, func(c *redrive.Config) {
			c.Policy.Retry.Attempts = 1
			c.Validator = validator(func(m *redrive.Message) error {
				switch string(m.Body) {
				case "bad":
					return errors.New("no such field")
				case "crash":
					panic("validator")
				}
				return nil
			})
		})
		pass(time.Second)
		b.want("orders.dlq", "bad")
		b.want("orders.dlq.quarantine.crash", "crash")
		if s.runs("good") != 1 || s.runs("bad") != 0 {
			t.Errorf("good %d, bad %d", s.runs("good"), s.runs("bad"))
		}
	})
}

func TestConfigListsEveryProblem(t *testing.T) {
	_, err := redrive.NewWorker(nil, nil, redrive.Config{Concurrency: -1, Lease: -1, Policy: redrive.Policy{HoldMax: -1, Retry: retry.Policy{Attempts: -3}, Breaker: breaker.Config{Probes: -1}}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"broker", "handler", "Source", "Concurrency", "Lease", "HoldMax", "Attempts", "Probes"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in:\n%v", want, err)
		}
	}
}

func TestAnInboxNeedsAStableKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := redrivetest.NewBroker(redrivetest.WithCaps(func(c *broker.Caps) { c.StableIdentity = false }))
		w, err := redrive.NewWorker(mem, func(context.Context, *redrive.Message) error { return nil }, redrive.Config{Source: source, Inbox: idempotency.NewMemory()})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "IdempotencyHeader") {
			t.Errorf("got %v", err)
		}
	})
}

func TestAWrongDecisionIsPossibleInTestsOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish("a")
		s := newScript(map[string][]error{"a": always(errDown)})
		b.start(nil, s.handle, func(c *redrive.Config) {
			c.Test.Decide = func(in *decision.Input) decision.Verdict {
				v := decision.Decide(in)
				if v.Action == decision.Retry {
					v = decision.Verdict{Action: decision.DeadLetter, Category: failure.Transient, Reason: envelope.ReasonAttempts}
				}
				return v
			}
		})
		pass(time.Second)
		b.want("orders.dlq", "a")
	})
}

func TestAnEnvelopeOfANewerReleaseIsLeftToNewerWorkers(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		s := newScript(nil)
		errs := b.broker.Publish(b.ctx, []broker.Outbound{{Queue: source, ID: "pub:1", Body: []byte("a"), Envelope: []byte(`{"v":99}`)}})
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
		b.start(nil, s.handle, nil)
		pass(10 * time.Minute)
		if s.runs("a") != 0 || b.depth(source) != 1 {
			t.Errorf("runs %d, in the source %d", s.runs("a"), b.depth(source))
		}
		if got := b.events.count(redrive.EventReleased); got > 25 {
			t.Errorf("released %d times in 10 min: a hot loop", got)
		}
	})
}

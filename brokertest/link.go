package brokertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// damage is one way in which a connection fails.
type damage struct {
	name, text string
	do         func(Link)
}

func damages() []damage {
	return []damage{
		{"request-lost", "the request is lost", Link.DropRequests},
		{"answer-lost", "the request takes effect and the answer is lost", Link.DropAnswers},
		{"cut", "the connection is cut", Link.Cut},
	}
}

// linkCases break the connection at each step and in each direction.
func linkCases() []Case {
	var all []Case
	add := func(step string, d damage, promise string, run func(*env, damage), proves ...string) {
		all = append(all, Case{
			Name: "link-" + step + "-" + d.name, Promise: fmt.Sprintf(promise, d.text), Proves: append(proves, "connection-loss"),
			run: func(e *env) {
				if e.h.Link == nil {
					e.Logf("the harness has no Link: nothing is shown about lost connections")
					return
				}
				run(e, d)
			},
		})
	}
	for _, d := range damages() {
		add("open", d, "when %s, Open is an error, and works after the connection is back", linkOpen)
		add("publish", d, "when %s, Publish is an error and never a confirmation, and a repeat makes one message", linkPublish, "confirmed-or-error", "lost-confirmation")
		add("receive", d, "when %s, Receive goes on by itself after the connection is back, and nothing is lost", linkReceive)
		add("extend-and-mark", d, "when %s, Extend and Mark are errors, and the lease is not called lost", linkExtend)
		add("letters-and-stats", d, "when %s, Scan and Stats are errors and never an empty queue", linkLetters)
	}
	between := damage{"between-copy-and-settlement", "the connection ends between the copy and the settlement", Link.DropSettlements}
	for _, d := range append(damages(), between) {
		for _, m := range moves() {
			if d.name == between.name && !m.copies {
				continue
			}
			add("settle-"+m.name, d, "when %s, Settle is an error, and its repeat ends the message once", func(e *env, d damage) { linkSettle(e, d, m) }, "settle-failure", "lost-confirmation")
		}
	}
	return all
}

// briefly is a context for one call on a damaged connection. It ends before a
// patient lease does.
func (e *env) briefly() (context.Context, context.CancelFunc) {
	return context.WithTimeout(e.ctx, 2*e.h.Lease)
}

func (e *env) link() (broker.Broker, Link) {
	e.Helper()
	b, l := e.h.Link(e)
	e.Cleanup(l.Heal) // Else Close would wait for a damaged connection.
	return b, l
}

// openOver subscribes over a link, whose client may be too impatient for a loaded
// machine.
func (e *env) openOver(b broker.Broker, edit ...func(*broker.Spec)) broker.Subscription {
	e.Helper()
	spec := broker.Spec{Source: e.source, Lease: e.h.Lease, Worker: "brokertest"}
	for _, f := range edit {
		f(&spec)
	}
	var sub broker.Subscription
	e.until(func() string {
		opened, err := b.Open(e.ctx, spec)
		if err != nil {
			return fmt.Sprintf("open %s: %v", spec.Source, err)
		}
		sub = opened
		return ""
	})
	e.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), e.h.Tolerance)
		defer cancel()
		if err := sub.Close(ctx); err != nil {
			e.Logf("close %s: %v", spec.Source, err)
		}
	})
	return sub
}

// patient is a lease that outlives a damage and ends within the case.
func patient(s *broker.Spec) { s.Lease *= 4 }

func linkOpen(e *env, d damage) {
	b, l := e.link()
	e.send(1)
	d.do(l)
	ctx, cancel := e.briefly()
	defer cancel()
	if sub, err := b.Open(ctx, broker.Spec{Source: e.source, Lease: e.h.Lease}); err == nil {
		_ = sub.Close(ctx)
		e.Errorf("a subscription was opened although %s", d.text)
	}
	l.Heal()
	sub := e.openOver(b)
	got := e.patiently(sub, 1, 4*e.h.Lease+e.h.Tolerance)
	e.settle(got[0], broker.Done{})
}

func linkPublish(e *env, d damage) {
	b, l := e.link()
	sub := e.open(e.b, unhurried)
	var out []broker.Outbound
	for i := range 3 {
		body := fmt.Sprint("published ", i)
		out = append(out, broker.Outbound{Queue: e.source, ID: e.pubID(body), Body: []byte(body)})
	}
	// A client may have to look first where the queue lies: then it has.
	warm := broker.Outbound{Queue: e.source, ID: e.pubID("warm"), Body: []byte("warm")}
	e.until(func() string {
		if err := b.Publish(e.ctx, []broker.Outbound{warm})[0]; err != nil {
			return fmt.Sprintf("publish: %v", err)
		}
		return ""
	})
	e.settle(e.one(sub), broker.Done{})
	d.do(l)
	ctx, cancel := e.briefly()
	errs := b.Publish(ctx, out)
	cancel()
	if len(errs) != len(out) {
		e.Fatalf("publish of %d messages returned %d results", len(out), len(errs))
	}
	for i, err := range errs {
		if err == nil {
			e.Errorf("message %d was confirmed although %s", i, d.text)
		}
	}
	l.Heal()
	// What is there already must have been called unknown: nothing else is true.
	arrived, _ := e.tryReceive(sub, len(out), e.h.Lease/2)
	for _, got := range arrived {
		for i, err := range errs {
			if string(out[i].Body) == string(got.Msg().Body) && !errors.Is(err, broker.ErrUnknown) {
				e.Errorf("%q is stored, and Publish said for certain that it is not: %v", out[i].Body, err)
			}
		}
	}
	e.until(func() string {
		for _, err := range b.Publish(e.ctx, out) {
			if err != nil {
				return fmt.Sprintf("repeat after the connection is back: %v", err)
			}
		}
		return ""
	})
	rest, _ := e.tryReceive(sub, len(out), e.h.Lease)
	got := bodies(append(arrived, rest...))
	for _, m := range out {
		if n := got[string(m.Body)]; n < 1 || n > 1 && e.caps.DedupeWindow > 0 {
			e.Errorf("%q was published again after an unknown outcome: it came %d times, want once", m.Body, n)
		}
	}
}

func linkReceive(e *env, d damage) {
	b, l := e.link()
	sub := e.openOver(b)
	e.send(3)
	e.settle(e.patiently(sub, 1, 4*e.h.Lease+e.h.Tolerance)[0], broker.Done{})
	d.do(l)
	for i := range 5 {
		body := fmt.Sprint("meanwhile ", i)
		e.publish(broker.Outbound{Queue: e.source, ID: e.pubID(body), Body: []byte(body)})
		// It may fail or wait; what it brings is worked on below.
		if got, _ := e.tryReceive(sub, 1, e.h.Lease/10); len(got) > 0 {
			e.Logf("received %q although %s", got[0].Msg().Body, d.text)
		}
	}
	l.Heal()
	healed := time.Now()
	first := time.Duration(0)
	e.until(func() string {
		if got, _ := e.tryReceive(sub, 1, e.h.Lease); len(got) > 0 {
			if first == 0 {
				first = time.Since(healed)
			}
			for _, d := range got {
				// A refused settlement means that it comes again.
				_, _ = d.Settle(e.ctx, broker.Done{})
			}
		}
		st, err := e.b.Stats(e.ctx, e.source)
		if err != nil {
			e.Fatalf("stats: %v", err)
		}
		if left := st.Depth(); left > 0 {
			return fmt.Sprintf("%d messages were not received after the connection was back", left)
		}
		return ""
	})
	e.Logf("received again %v after the connection was back", first.Round(time.Millisecond))
}

func linkExtend(e *env, d damage) {
	b, l := e.link()
	sub := e.openOver(b, patient)
	e.send(1)
	got := e.patiently(sub, 1, 4*e.h.Lease+e.h.Tolerance)[0]
	d.do(l)
	ctx, cancel := e.briefly()
	defer cancel()
	if err := got.Extend(ctx, e.h.Lease); err == nil || errors.Is(err, broker.ErrLeaseLost) && time.Since(got.Msg().Time) < e.h.Lease {
		e.Errorf("extend although %s: %v, want an error that is not a lost lease", d.text, err)
	}
	if err := got.Mark(ctx, broker.Mark{Explained: 1}); err == nil {
		e.Errorf("a mark was confirmed although %s", d.text)
	}
	l.Heal()
	// Held or not, the message is not lost.
	e.until(func() string {
		if _, err := got.Settle(e.ctx, broker.Release{}); err != nil && !errors.Is(err, broker.ErrLeaseLost) {
			return fmt.Sprintf("release after the connection is back: %v", err)
		}
		return ""
	})
	if err := sub.Close(e.ctx); err != nil {
		e.Logf("close: %v", err)
	}
	e.settle(e.receiveWithin(e.open(e.b), 1, 8*e.h.Lease+2*e.h.Tolerance)[0], broker.Done{})
}

func linkLetters(e *env, d damage) {
	want := len(e.dead(3))
	b, l := e.link()
	view, err := b.Letters(e.ctx, e.names.DeadLetter)
	if err != nil {
		e.Fatalf("letters: %v", err)
	}
	d.do(l)
	ctx, cancel := e.briefly()
	defer cancel()
	if view.Mode() != broker.DrainOnly {
		if got, _, err := view.Scan(ctx, "", 10); err == nil {
			e.Errorf("a scan showed %d letters although %s: an empty queue and a lost connection must not look the same", len(got), d.text)
		}
	}
	ctx, cancel = e.briefly()
	defer cancel()
	if st, err := b.Stats(ctx, e.names.DeadLetter); err == nil {
		e.Errorf("stats show a depth of %d although %s", st.Depth(), d.text)
	}
	l.Heal()
	e.until(func() string {
		st, err := b.Stats(e.ctx, e.names.DeadLetter)
		if err != nil || st.Depth() != int64(want) && st.Exact {
			return fmt.Sprintf("stats after the connection is back: depth %d, %v", st.Depth(), err)
		}
		return ""
	})
	e.letters(e.names.DeadLetter, want)
}

// move is one way to end a delivery, and how it shows afterwards that it was
// ended once.
type move struct {
	name   string
	copies bool
	make   func(*env, broker.Delivery) broker.Outcome
	ended  func(*env, broker.Subscription, broker.Outcome)
}

func moves() []move {
	return []move{
		{"done", false, func(*env, broker.Delivery) broker.Outcome { return broker.Done{} }, func(*env, broker.Subscription, broker.Outcome) {}},
		{"release", false, func(*env, broker.Delivery) broker.Outcome { return broker.Release{} }, releaseEnded},
		{"retry", true, func(e *env, d broker.Delivery) broker.Outcome {
			return broker.Retry{At: time.Now().Add(2 * e.h.Lease), Envelope: e.envelope(d.Msg(), "retry"), PublishID: e.pubID("linked retry"), Counted: true}
		}, retryEnded},
		{"dead", true, func(e *env, d broker.Delivery) broker.Outcome {
			return broker.Dead{Queue: e.names.DeadLetter, Envelope: e.envelope(d.Msg(), "dead"), PublishID: e.deadID(d, "")}
		}, deadEnded},
	}
}

func releaseEnded(e *env, other broker.Subscription, _ broker.Outcome) {
	d := e.receiveWithin(other, 1, 8*e.h.Lease+2*e.h.Tolerance)[0]
	if e.caps.Count != broker.CountNone && d.Deliveries().Earlier < 1 {
		e.Errorf("the released message came back as if it had never been delivered")
	}
	e.settle(d, broker.Done{})
}

func retryEnded(e *env, other broker.Subscription, o broker.Outcome) {
	r, _ := o.(broker.Retry)
	d := e.receiveWithin(other, 1, 8*e.h.Lease+2*e.h.Tolerance)[0]
	e.notEarly(r.At)
	e.sameEnvelope("retried", r.Envelope, d.Msg())
	e.settle(d, broker.Done{})
	if again, _ := e.tryReceive(other, 1, e.h.Lease); len(again) > 0 {
		if e.caps.DedupeWindow > 0 {
			e.Errorf("the repeated retry made a second copy")
		}
		e.settle(again[0], broker.Done{})
	}
	e.depth(e.names.Retry, 0)
}

func deadEnded(e *env, _ broker.Subscription, o broker.Outcome) {
	dead, _ := o.(broker.Dead)
	got := e.look(e.names.DeadLetter)
	if len(got) < 1 || len(got) > 1 && e.caps.DedupeWindow > 0 {
		e.Fatalf("the repeated dead-lettering made %d letters, want one", len(got))
	}
	e.sameEnvelope("dead-lettered", dead.Envelope, &got[0].Message)
}

func linkSettle(e *env, d damage, m move) {
	b, l := e.link()
	sub := e.openOver(b, patient)
	e.send(1)
	got := e.patiently(sub, 1, 4*e.h.Lease+e.h.Tolerance)[0]
	o := m.make(e, got)
	d.do(l)
	ctx, cancel := e.briefly()
	_, err := got.Settle(ctx, o)
	cancel()
	if err == nil {
		e.Errorf("Settle with %T was confirmed although %s", o, d.text)
	}
	l.Heal()
	lost := false
	e.until(func() string {
		_, err := got.Settle(e.ctx, o)
		if lost = errors.Is(err, broker.ErrLeaseLost); err == nil || lost {
			return ""
		}
		return fmt.Sprintf("repeat of %T after the connection is back: %v", o, err)
	})
	// From here on another client looks; nothing of the first one is in the way.
	if err := sub.Close(e.ctx); err != nil {
		e.Logf("close: %v", err)
	}
	other := e.open(e.h.Open(e))
	if lost {
		// The lease ran out meanwhile: whoever has the message next ends it.
		e.endAgain(other, got.Identity(), o)
	}
	m.ended(e, other, o)
	e.depth(e.source, 0)
	e.none(other, e.h.Lease/2)
}

// endAgain ends a message that came back. A copy of it that was made already goes
// back: it is looked at later.
func (e *env) endAgain(sub broker.Subscription, identity broker.Incarnation, o broker.Outcome) {
	e.Helper()
	for end := time.Now().Add(8*e.h.Lease + e.h.Tolerance); time.Now().Before(end); {
		again, _ := e.tryReceive(sub, 1, time.Until(end))
		for _, d := range again {
			if !e.caps.StableIdentity || d.Identity() == identity {
				e.settle(d, o)
				return
			}
			e.settle(d, broker.Release{})
		}
	}
}

package brokertest

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

func retryCases() []Case {
	return []Case{
		{Name: "C2-retry-never-early", Promise: "a retry is delivered at its time or later, never before, as a fresh copy with its envelope", Proves: []string{"never-early"}, run: retryNeverEarly},
		{Name: "C2-retry-due-now", Promise: "a retry that is due already comes at once", Proves: []string{"never-early"}, run: retryDueNow},
		{Name: "C2-retries-of-many-delays", Promise: "a long delay does not hold up a shorter one, and no retry is early", Proves: []string{"never-early"}, run: retriesOfManyDelays},
		{Name: "C2-retry-of-a-retry", Promise: "a message can be retried again and again, each time with the newest envelope", run: retryOfRetry},
		{Name: "C2-retry-settles-the-source", Promise: "a retried message leaves its source, and a second Settle is ErrSettled", run: retrySettles},
		{Name: "C4-retry-repeated", Promise: "a retry repeated under one publish id makes one copy where the broker can, and never none", run: retryRepeated},
		{Name: "retry-without-envelope-fails-nothing", Promise: "a retry with no envelope comes back without one", run: retryWithoutEnvelope},
		{Name: "retry-too-large", Promise: "a retry that is too large is a TooLargeError, and the original stays", run: func(e *env) { tooLargeStays(e, true) }},
		{Name: "retry-beyond-max-delay", Promise: "a retry beyond MaxDelay is not delivered early", Proves: []string{"never-early"}, run: retryBeyondMaxDelay},
	}
}

func (e *env) retryAt(d broker.Delivery, at time.Time, note string) []byte {
	e.Helper()
	env := e.envelope(d.Msg(), note)
	e.settle(d, broker.Retry{At: at, Envelope: env, PublishID: e.pubID("retry " + note), Counted: true})
	return env
}

func retryNeverEarly(e *env) {
	sub := e.open(e.b)
	e.send(1)
	d := e.one(sub)
	at := time.Now().Add(2 * e.h.Lease)
	env := e.retryAt(d, at, "first")
	again := e.receiveWithin(sub, 1, 2*e.h.Lease+e.h.Tolerance)[0]
	e.notEarly(at)
	e.counted(again, 0)
	e.sameEnvelope("retried", env, again.Msg())
	if string(again.Msg().Body) != "message 0" {
		e.Errorf("body became %q", again.Msg().Body)
	}
	// Where order is kept a message may wait in its place, without a copy.
	if e.caps.StableIdentity && !e.caps.Ordered && again.Identity() == d.Identity() {
		e.Errorf("the copy has the identity of the original, %v", d.Identity())
	}
	e.settle(again, broker.Done{})
	e.none(sub, 2*e.h.Lease)
}

func retryDueNow(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(2)
	for i, at := range []time.Time{time.Now(), time.Now().Add(-time.Hour)} {
		d := e.one(sub)
		env := e.retryAt(d, at, strconv.Itoa(i))
		for {
			again := e.one(sub)
			if string(again.Msg().Envelope) == string(env) {
				e.settle(again, broker.Done{})
				break
			}
			e.settle(again, broker.Release{})
		}
	}
	e.none(sub, e.h.Lease/2)
}

func retriesOfManyDelays(e *env) {
	sub := e.open(e.b, unhurried)
	due := map[string]time.Time{}
	e.send(5)
	for i, d := range e.receive(sub, 5) {
		at := time.Now().Add(e.h.Lease / 2 * time.Duration([]int{8, 2, 6, 4, 1}[i]))
		due[string(d.Msg().Body)] = at
		e.retryAt(d, at, strconv.Itoa(i))
	}
	end := time.Now().Add(4*e.h.Lease + e.h.Tolerance)
	for len(due) > 0 {
		d := e.receiveWithin(sub, 1, time.Until(end))[0]
		at, ok := due[string(d.Msg().Body)]
		if !ok {
			e.Fatalf("%q came twice", d.Msg().Body)
		}
		e.notEarly(at)
		if late := time.Since(at); late > e.h.Tolerance {
			e.Errorf("%q came %v late", d.Msg().Body, late)
		}
		delete(due, string(d.Msg().Body))
		e.settle(d, broker.Done{})
	}
	e.none(sub, e.h.Lease/2)
}

func retryOfRetry(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	d := e.one(sub)
	for i := range 4 {
		at := time.Now().Add(e.h.Lease / 4)
		env := e.retryAt(d, at, fmt.Sprint("round ", i))
		d = e.one(sub)
		e.notEarly(at)
		e.sameEnvelope("retried", env, d.Msg())
		e.counted(d, 0)
	}
	e.settle(d, broker.Done{})
	e.none(sub, e.h.Lease/2)
}

func retrySettles(e *env) {
	sub := e.open(e.b)
	e.send(1)
	d := e.one(sub)
	at := time.Now().Add(6 * e.h.Lease)
	e.retryAt(d, at, "")
	if _, err := d.Settle(e.ctx, broker.Done{}); !errors.Is(err, broker.ErrSettled) {
		e.Errorf("Settle after Retry: %v, want ErrSettled", err)
	}
	e.none(sub, 3*e.h.Lease)
	e.settle(e.receiveWithin(sub, 1, 6*e.h.Lease+e.h.Tolerance)[0], broker.Done{})
	e.notEarly(at)
}

// retryRepeated plays a repeat after a crash with two messages of one content.
func retryRepeated(e *env) {
	sub := e.open(e.b, unhurried)
	for i := range 2 {
		e.publish(broker.Outbound{Queue: e.source, ID: e.pubID(fmt.Sprint("twin ", i)), Body: []byte("twin")})
	}
	at := time.Now().Add(2 * e.h.Lease)
	copies := false
	for _, d := range e.receive(sub, 2) {
		r := e.settle(d, broker.Retry{At: at, Envelope: e.envelope(d.Msg(), "twin"), PublishID: e.pubID("retry twin"), Counted: true})
		copies = copies || !r.Native
	}
	got, _ := e.tryReceive(sub, 3, 3*e.h.Lease+e.h.Tolerance/5)
	if len(got) < 1 || len(got) > 2 {
		e.Errorf("a repeated retry made %d copies", len(got))
	}
	// Messages that wait in their own places, with no copy made, stay two.
	if e.caps.DedupeWindow > 0 && copies && len(got) > 1 {
		e.Errorf("a retry repeated within the dedupe window made %d copies, want one", len(got))
	}
}

func retryWithoutEnvelope(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	d := e.one(sub)
	e.settle(d, broker.Retry{At: time.Now(), PublishID: e.pubID("bare")})
	d = e.one(sub)
	if len(d.Msg().Envelope) > 0 {
		e.Errorf("envelope %q, want none", d.Msg().Envelope)
	}
	e.settle(d, broker.Done{})
}

// tooLargeStays moves a message with an envelope that no broker takes, and then
// with one that it does.
func tooLargeStays(e *env, retry bool) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	d := e.one(sub)
	if e.caps.MaxMessage > 0 {
		huge := make([]byte, e.caps.MaxMessage+1)
		for i := range huge {
			huge[i] = 'x'
		}
		var o broker.Outcome = broker.Dead{Queue: e.names.DeadLetter, Envelope: huge, PublishID: e.pubID("huge")}
		if retry {
			o = broker.Retry{At: time.Now(), Envelope: huge, PublishID: e.pubID("huge")}
		}
		var tooLarge *broker.TooLargeError
		if _, err := d.Settle(e.ctx, o); !errors.As(err, &tooLarge) {
			e.Fatalf("settle with an envelope of %d bytes: %v, want a TooLargeError", len(huge), err)
		}
	}
	e.settle(d, broker.Release{})
	d = e.one(sub)
	if string(d.Msg().Body) != "message 0" {
		e.Errorf("body became %q", d.Msg().Body)
	}
	if retry {
		e.retryAt(d, time.Now(), "small")
		e.settle(e.one(sub), broker.Done{})
	} else {
		e.deadLetter(d, e.names.DeadLetter, broker.DefaultGroup)
		e.letters(e.names.DeadLetter, 1)
	}
	e.none(sub, e.h.Lease/2)
}

func retryBeyondMaxDelay(e *env) {
	sub := e.open(e.b)
	e.send(1)
	d := e.one(sub)
	at := time.Now().Add(e.caps.MaxDelay + 24*time.Hour)
	_, err := d.Settle(e.ctx, broker.Retry{At: at, Envelope: e.envelope(d.Msg(), ""), PublishID: e.pubID("far")})
	if err == nil {
		e.none(sub, 3*e.h.Lease)
		return
	}
	if e.caps.MaxDelay == 0 {
		e.Errorf("retry in a day, with no MaxDelay: %v", err)
	}
	e.settle(d, broker.Release{})
	e.settle(e.one(sub), broker.Done{})
}

package brokertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

func settleCases() []Case {
	return []Case{
		{Name: "C1-done-once", Promise: "Done removes the message for good, and a second Settle is ErrSettled", run: doneOnce},
		{Name: "C1-settle-concurrently", Promise: "of concurrent Settles of one delivery one succeeds, and the others are ErrSettled", run: settleConcurrently},
		{Name: "settle-async", Promise: "SettleAsync, where deliveries have it, does what Settle does, and calls done once", run: settleAsync},
		{Name: "first-delivery", Promise: "a first delivery has Earlier 0, no mark, and the identity that Caps promise", run: firstDelivery},
		{Name: "release-comes-back", Promise: "a released message comes back, counted as Caps say, with the same identity and body", run: releaseComesBack},
		{Name: "release-carries-mark", Promise: "the mark of a Release is seen by the next delivery", run: releaseCarriesMark},
		{Name: "release-after-delay", Promise: "a release with a delay within MaxRelease is not delivered earlier", run: releaseAfter},
		{Name: "mark-is-seen", Promise: "the newest Mark is seen by the next delivery, or Mark is ErrUnsupported", run: markSeen},
		{Name: "mark-stays-with-its-copy", Promise: "a mark belongs to one stored copy and no other", run: markOfOneCopy},
		{Name: "settle-cancelled", Promise: "a Settle that failed for certain left the message where it was", Proves: []string{"settle-failure"}, run: settleCancelled},
		{Name: "in-flight-is-bounded", Promise: "no more than MaxInFlight deliveries are out", run: inFlightBounded},
		{Name: "receive-honours-max", Promise: "Receive returns no more than it was asked for, and the rest comes later", run: receiveMax},
		{Name: "receive-cancelled", Promise: "a cancelled Receive returns the context's error and loses no message", run: receiveCancelled},
		{Name: "C14-order", Promise: "where Caps promise order, messages of one key come in order", run: ordered},
		{Name: "C14-retry-keeps-order", Promise: "where Caps promise order, no later message of a key overtakes one that waits for its retry", run: orderedRetry},
	}
}

func doneOnce(e *env) {
	sub := e.open(e.b)
	e.send(1)
	d := e.one(sub)
	e.settle(d, broker.Done{})
	for _, o := range []broker.Outcome{broker.Done{}, broker.Release{}, broker.Dead{Queue: e.names.DeadLetter, PublishID: e.pubID("x")}} {
		if _, err := d.Settle(e.ctx, o); !errors.Is(err, broker.ErrSettled) {
			e.Errorf("second Settle with %T: %v, want ErrSettled", o, err)
		}
	}
	e.none(sub, 2*e.h.Lease)
	e.letters(e.names.DeadLetter, 0)
}

func settleConcurrently(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	d := e.one(sub)
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = d.Settle(e.ctx, broker.Done{}) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, broker.ErrSettled):
			e.Errorf("concurrent Settle: %v, want ErrSettled", err)
		}
	}
	if won != 1 {
		e.Errorf("%d of %d concurrent Settles succeeded, want one", won, len(errs))
	}
}

func firstDelivery(e *env) {
	sub := e.open(e.b, unhurried)
	before := time.Now()
	e.send(2)
	a, b := e.one(sub), e.one(sub)
	e.counted(a, 0)
	if !a.Deliveries().Mark.IsZero() {
		e.Errorf("mark on the first delivery: %+v", a.Deliveries().Mark)
	}
	if a.Deliveries().Kind != e.caps.Count {
		e.Errorf("deliveries of kind %d, Caps say %d", a.Deliveries().Kind, e.caps.Count)
	}
	if e.caps.StableIdentity && (a.Identity().IsZero() || a.Identity() == b.Identity()) {
		e.Errorf("identities %v and %v: want two, and none zero", a.Identity(), b.Identity())
	}
	const skew = 5 * time.Second
	if at := a.Msg().Time; at.Before(before.Add(-skew)) || at.After(time.Now().Add(skew)) {
		e.Errorf("message stored at %v, published after %v", at, before)
	}
}

// counted checks the number of earlier deliveries as far as the broker counts.
func (e *env) counted(d broker.Delivery, want int) {
	e.Helper()
	got := d.Deliveries().Earlier
	ok := got == want
	switch e.caps.Count {
	case broker.CountNone:
		ok = got == 0
	case broker.CountFlag:
		ok = (got > 0) == (want > 0)
	case broker.CountApproximate:
		ok = got >= want
	case broker.CountExact:
	}
	if !ok {
		e.Errorf("earlier deliveries of %q: %d, want %d", clip(d.Msg().Body), got, want)
	}
}

func releaseComesBack(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	first := e.one(sub)
	for n := 1; n <= 3; n++ {
		d := first
		if n > 1 {
			d = e.one(sub)
			e.counted(d, n-1)
			if d.Identity() != first.Identity() {
				e.Errorf("identity %v became %v", first.Identity(), d.Identity())
			}
			if string(d.Msg().Body) != "message 0" {
				e.Errorf("body became %q", d.Msg().Body)
			}
		}
		e.settle(d, broker.Release{})
		if _, err := d.Settle(e.ctx, broker.Done{}); !errors.Is(err, broker.ErrSettled) {
			e.Errorf("Settle after Release: %v, want ErrSettled", err)
		}
	}
	e.settle(e.one(sub), broker.Done{})
}

func releaseCarriesMark(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	if !e.caps.Marks {
		e.settle(e.one(sub), broker.Release{})
		e.settle(e.one(sub), broker.Done{})
		return
	}
	e.settle(e.one(sub), broker.Release{Mark: broker.Mark{Explained: 1}})
	d := e.one(sub)
	e.marked(d, broker.Mark{Explained: 1})
	e.settle(d, broker.Release{})
	d = e.one(sub)
	e.marked(d, broker.Mark{Explained: 1})
}

func (e *env) marked(d broker.Delivery, want broker.Mark) {
	e.Helper()
	if got := d.Deliveries().Mark; !equalMarks(got, want) {
		e.Errorf("mark %+v, want %+v", got, want)
	}
}

func equalMarks(a, b broker.Mark) bool {
	if a.Pending == nil || b.Pending == nil {
		return a == b
	}
	p, q := *a.Pending, *b.Pending
	same := p.Retry == q.Retry && p.Queue == q.Queue && p.At.Equal(q.At) && string(p.Envelope) == string(q.Envelope) && p.PublishID == q.PublishID && p.Counted == q.Counted
	return same && a.Explained == b.Explained && a.StartedAlone == b.StartedAlone
}

func releaseAfter(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	d := e.one(sub)
	delay := min(2*e.h.Lease, e.caps.MaxRelease)
	from := time.Now()
	e.settle(d, broker.Release{After: delay})
	d = e.receiveWithin(sub, 1, delay+e.h.Tolerance)[0]
	e.notEarly(from.Add(delay))
	e.counted(d, 1)
}

// notEarly is called at the moment of a receipt.
func (e *env) notEarly(due time.Time) {
	e.Helper()
	if now := time.Now(); now.Before(due) {
		e.Errorf("delivered %v early", due.Sub(now))
	}
}

func markSeen(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	d := e.one(sub)
	if !e.caps.Marks {
		if err := d.Mark(e.ctx, broker.Mark{Explained: 1}); !errors.Is(err, broker.ErrUnsupported) {
			e.Errorf("Mark without the capability: %v, want ErrUnsupported", err)
		}
		e.settle(d, broker.Done{})
		return
	}
	want := broker.Mark{Explained: 2, StartedAlone: 3, Pending: &broker.Pending{
		Retry: true, Queue: e.names.DeadLetter, At: time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond),
		Envelope: []byte("pending \x00 envelope"), PublishID: "dl:1", Counted: true,
	}}
	for _, m := range []broker.Mark{{Explained: 1}, want} {
		if err := d.Mark(e.ctx, m); err != nil {
			e.Fatalf("mark: %v", err)
		}
	}
	e.settle(d, broker.Release{})
	e.marked(e.one(sub), want)
}

func markOfOneCopy(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(2)
	if !e.caps.Marks {
		return
	}
	a, b := e.one(sub), e.one(sub)
	if err := a.Mark(e.ctx, broker.Mark{StartedAlone: 1}); err != nil {
		e.Fatalf("mark: %v", err)
	}
	e.settle(b, broker.Release{})
	e.marked(e.one(sub), broker.Mark{})
	e.settle(a, broker.Retry{At: time.Now(), Envelope: e.envelope(a.Msg(), ""), PublishID: e.pubID("retry")})
	e.marked(e.one(sub), broker.Mark{})
}

func settleCancelled(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	d := e.one(sub)
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	dead := broker.Dead{Queue: e.names.DeadLetter, Envelope: e.envelope(d.Msg(), ""), PublishID: e.deadID(d, "")}
	if _, err := d.Settle(ctx, dead); err != nil {
		e.settle(d, dead)
	}
	e.letters(e.names.DeadLetter, 1)
	e.none(sub, e.h.Lease/2)
}

func inFlightBounded(e *env) {
	sub := e.open(e.b, unhurried, func(s *broker.Spec) { s.MaxInFlight = 2 })
	e.send(4)
	got := e.receive(sub, 2)
	for _, d := range got {
		if err := d.Extend(e.ctx, time.Minute); err != nil {
			e.Fatalf("extend: %v", err)
		}
	}
	e.none(sub, e.h.Lease/2)
	e.settle(got[0], broker.Done{})
	third := e.one(sub)
	e.none(sub, e.h.Lease/2)
	e.settle(got[1], broker.Done{})
	e.settle(third, broker.Done{})
	e.settle(e.one(sub), broker.Done{})
	e.none(sub, e.h.Lease/2)
}

func receiveMax(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(10)
	seen := map[string]int{}
	for _, n := range []int{1, 2, 3, 4} {
		for _, d := range e.receive(sub, n) {
			seen[string(d.Msg().Body)]++
			e.settle(d, broker.Done{})
		}
	}
	if len(seen) != 10 {
		e.Errorf("received %v, want each of 10 once", seen)
	}
}

func receiveCancelled(e *env) {
	sub := e.open(e.b)
	for range 5 {
		ctx, cancel := context.WithCancel(e.ctx)
		done := make(chan error, 1)
		go func() {
			_, err := sub.Receive(ctx, 1)
			done <- err
		}()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			e.Errorf("cancelled Receive: %v, want the context's error", err)
		}
	}
	e.send(5)
	seen := map[string]bool{}
	for len(seen) < 5 {
		d := e.one(sub)
		seen[string(d.Msg().Body)] = true
		e.settle(d, broker.Done{})
	}
}

func ordered(e *env) {
	sub := e.open(e.b, unhurried)
	var out []broker.Outbound
	for i := range byte(10) {
		out = append(out, broker.Outbound{Queue: e.source, ID: e.pubID(string('a' + i)), Key: []byte("one key"), Body: []byte{'a' + i}})
	}
	e.publish(out...)
	var order []byte
	for range out {
		d := e.one(sub)
		order = append(order, d.Msg().Body...)
		e.settle(d, broker.Done{})
	}
	if e.caps.Ordered && string(order) != "abcdefghij" {
		e.Errorf("received in the order %q, which Caps promise to keep", order)
	}
}

// orderedRetry retries the first message of a key. Another key is not held up.
func orderedRetry(e *env) {
	sub := e.open(e.b, unhurried)
	for _, m := range []string{"key 1st", "key 2nd", "other 1st"} {
		key, _, _ := strings.Cut(m, " ")
		e.publish(broker.Outbound{Queue: e.source, ID: e.pubID(m), Key: []byte(key), Body: []byte(m)})
	}
	if !e.caps.Ordered {
		e.Logf("Caps promise no order: nothing is shown but that each message comes")
	}
	var order []string
	retried := false
	for len(order) < 3 {
		d := e.one(sub)
		body := string(d.Msg().Body)
		if body == "key 1st" && !retried {
			retried = true
			e.retryAt(d, time.Now().Add(e.h.Lease), "1st")
			continue
		}
		order = append(order, body)
		e.settle(d, broker.Done{})
	}
	first, second := slices.Index(order, "key 1st"), slices.Index(order, "key 2nd")
	if first < 0 || second < 0 || e.caps.Ordered && second < first {
		e.Errorf("received in the order %q, although Caps promise order", order)
	}
}

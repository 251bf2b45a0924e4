package brokertest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

func lifecycleCases() []Case {
	return []Case{
		{Name: "pause-and-resume", Promise: "pausing keeps open deliveries, and resuming goes on where it stopped", Proves: []string{"pause-keeps-membership"}, run: pauseResume},
		{Name: "pause-keeps-membership", Promise: "a paused consumer keeps its place in the group and its open deliveries, while others work", Proves: []string{"pause-keeps-membership"}, run: pauseMembership},
		{Name: "drain-then-settle", Promise: "after Drain open deliveries can be settled and nothing more is received", run: drainThenSettle},
		{Name: "drain-ends-receive", Promise: "Drain and Close end a waiting Receive", run: drainEndsReceive},
		{Name: "close-gives-back", Promise: "Close is idempotent, and what was not settled comes back", run: closeGivesBack},
		{Name: "C16-graceful-stop", Promise: "a graceful stop under load settles what it has and loses nothing", Proves: []string{"clean-stop"}, run: gracefulStop},
		{Name: "concurrent-receives", Promise: "concurrent Receives on one subscription get each message once", run: concurrentReceives},
	}
}

func restartCases() []Case {
	return []Case{
		{Name: "C17-restart-keeps-everything", Promise: "source, retries, dead letters, counts and marks survive a restart of the broker", Restarts: true, Proves: []string{"broker-killed"}, run: restartKeeps},
		{Name: "C17-restart-with-full-hands", Promise: "a consumer that holds all it may when the broker is killed can settle, or learns that it holds nothing, and goes on", Restarts: true, Proves: []string{"broker-killed", "settle-failure"}, run: restartFullHands},
		{Name: "C3-restart-in-the-delay", Promise: "a retry survives a restart in its delay and is not early", Restarts: true, Proves: []string{"broker-killed"}, run: restartInDelay},
		{Name: "C17-restart-while-publishing", Promise: "while the broker is killed and started, every publication is confirmed and stored, or an error", Restarts: true, Proves: []string{"broker-killed", "confirmed-or-error"}, run: restartWhilePublishing},
	}
}

func pauseResume(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(2)
	d := e.one(sub)
	if err := sub.Pause(e.ctx); err != nil {
		e.Fatalf("pause: %v", err)
	}
	e.wait(e.h.Lease)
	if err := d.Extend(e.ctx, 10*e.h.Lease); err != nil {
		e.Errorf("extend while paused: %v", err)
	}
	e.settle(d, broker.Done{})
	for range 2 {
		if err := sub.Resume(e.ctx); err != nil {
			e.Fatalf("resume: %v", err)
		}
	}
	second := e.one(sub)
	if string(second.Msg().Body) == string(d.Msg().Body) {
		e.Errorf("%q came again after it was settled during the pause", d.Msg().Body)
	}
	e.settle(second, broker.Done{})
	e.none(sub, e.h.Lease/2)
}

func pauseMembership(e *env) {
	a := e.open(e.b)
	e.send(1)
	held := e.one(a)
	// To join takes longer than a short lease where a group has to agree.
	if err := held.Extend(e.ctx, 10*e.h.Lease+e.h.Tolerance); err != nil {
		e.Fatalf("extend: %v", err)
	}
	b := e.open(e.h.Open(e))
	if err := a.Pause(e.ctx); err != nil {
		e.Fatalf("pause: %v", err)
	}
	var out []broker.Outbound
	for i := range 4 {
		body := fmt.Sprint("while paused ", i)
		out = append(out, broker.Outbound{Queue: e.source, ID: e.pubID(body), Body: []byte(body)})
	}
	e.publish(out...)
	if e.caps.Partitioned {
		e.pausedShares(a, b, held, len(out))
		return
	}
	// The other consumer gets all of them, and never the one that is held, for
	// longer than its lease.
	deadline := time.Now().Add(4*e.h.Lease + e.h.Tolerance)
	for done, until := 0, time.Now().Add(2*e.h.Lease); done < len(out) || time.Now().Before(until); {
		if err := held.Extend(e.ctx, e.h.Lease); err != nil {
			e.Fatalf("extend while paused: %v", err)
		}
		got, _ := e.tryReceive(b, 1, e.h.Lease/3)
		for _, d := range got {
			if string(d.Msg().Body) == string(held.Msg().Body) {
				e.Fatalf("%q was given to another consumer while a paused one held it", held.Msg().Body)
			}
			e.settle(d, broker.Done{})
			done++
		}
		if time.Now().After(deadline) {
			e.Fatalf("%d of %d messages came to the other consumer while one was paused", done, len(out))
		}
	}
	e.settle(held, broker.Done{})
	if err := b.Close(e.ctx); err != nil {
		e.Fatalf("close: %v", err)
	}
	if err := a.Resume(e.ctx); err != nil {
		e.Fatalf("resume: %v", err)
	}
	e.publish(broker.Outbound{Queue: e.source, ID: e.pubID("resumed"), Body: []byte("resumed")})
	d := e.one(a)
	if string(d.Msg().Body) != "resumed" {
		e.Errorf("received %q after the pause", d.Msg().Body)
	}
	e.settle(d, broker.Done{})
	e.depth(e.source, 0)
}

// pausedShares shows the same where consumers have shares of the queue: what lies in
// those of the paused one comes when it goes on.
func (e *env) pausedShares(a, b broker.Subscription, held broker.Delivery, n int) {
	e.Helper()
	done := 0
	take := func(sub broker.Subscription, within time.Duration) {
		e.Helper()
		got, _ := e.tryReceive(sub, 1, within)
		for _, d := range got {
			if string(d.Msg().Body) == string(held.Msg().Body) {
				e.Fatalf("%q was delivered again while a paused consumer held it", held.Msg().Body)
			}
			e.settle(d, broker.Done{})
			done++
		}
	}
	for until := time.Now().Add(2 * e.h.Lease); time.Now().Before(until); {
		if err := held.Extend(e.ctx, e.h.Lease); err != nil {
			e.Fatalf("extend while paused: %v", err)
		}
		take(b, e.h.Lease/3)
	}
	e.settle(held, broker.Done{})
	if err := a.Resume(e.ctx); err != nil {
		e.Fatalf("resume: %v", err)
	}
	for deadline := time.Now().Add(4*e.h.Lease + e.h.Tolerance); done < n; {
		take(a, e.h.Lease/6)
		take(b, e.h.Lease/6)
		if time.Now().After(deadline) {
			e.Fatalf("%d of %d messages came after the pause", done, n)
		}
	}
	e.depth(e.source, 0)
}

func drainThenSettle(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(3)
	got := e.receive(sub, 2)
	for range 2 {
		if err := sub.Drain(e.ctx); err != nil {
			e.Fatalf("drain: %v", err)
		}
	}
	if _, err := e.tryReceive(sub, 1, e.h.Tolerance); !errors.Is(err, broker.ErrClosed) {
		e.Errorf("receive after Drain: %v, want ErrClosed", err)
	}
	e.settle(got[0], broker.Done{})
	e.deadLetter(got[1], e.names.DeadLetter, broker.DefaultGroup)
	e.letters(e.names.DeadLetter, 1)
	rest := e.one(e.open(e.h.Open(e)))
	if body := string(rest.Msg().Body); body == string(got[0].Msg().Body) || body == string(got[1].Msg().Body) {
		e.Errorf("%q came again after it was settled", body)
	}
	e.settle(rest, broker.Done{})
}

func drainEndsReceive(e *env) {
	ends := map[string]func(broker.Subscription, context.Context) error{
		"Drain": broker.Subscription.Drain,
		"Close": broker.Subscription.Close,
	}
	for name, end := range ends {
		sub := e.open(e.b)
		done := make(chan error, 1)
		ctx, cancel := context.WithTimeout(e.ctx, e.h.Tolerance)
		go func() {
			var err error
			for i := 0; err == nil && i < mostReceives; i++ {
				_, err = sub.Receive(ctx, 1)
			}
			done <- err
		}()
		if err := end(sub, e.ctx); err != nil {
			e.Errorf("%s: %v", name, err)
		}
		if err := <-done; !errors.Is(err, broker.ErrClosed) {
			e.Errorf("Receive that waits while %s: %v, want ErrClosed", name, err)
		}
		cancel()
	}
}

func closeGivesBack(e *env) {
	sub := e.open(e.b)
	e.send(4)
	got := e.receive(sub, 2)
	e.settle(got[0], broker.Done{})
	for i := range 2 {
		if err := sub.Close(e.ctx); err != nil {
			e.Fatalf("close number %d: %v", i+1, err)
		}
	}
	if _, err := sub.Receive(e.ctx, 1); !errors.Is(err, broker.ErrClosed) {
		e.Errorf("receive after Close: %v, want ErrClosed", err)
	}
	next := e.open(e.b)
	back := map[string]int{}
	for range 3 {
		d := e.one(next)
		back[string(d.Msg().Body)]++
		e.settle(d, broker.Done{})
	}
	if len(back) != 3 || back[string(got[0].Msg().Body)] > 0 {
		e.Errorf("after Close %v came, want the three that were not settled", back)
	}
	e.none(next, 2*e.h.Lease)
}

func gracefulStop(e *env) {
	const n = 30
	sub := e.open(e.b)
	e.send(n)
	seen := map[string]int{}
	got := e.receive(sub, 10)
	if err := sub.Drain(e.ctx); err != nil {
		e.Fatalf("drain: %v", err)
	}
	for _, d := range got {
		seen[string(d.Msg().Body)]++
		e.settle(d, broker.Done{})
	}
	if err := sub.Close(e.ctx); err != nil {
		e.Fatalf("close: %v", err)
	}
	next := e.open(e.h.Open(e))
	for len(seen) < n {
		d := e.one(next)
		seen[string(d.Msg().Body)]++
		e.settle(d, broker.Done{})
	}
	e.none(next, 2*e.h.Lease)
	for body, times := range seen {
		if times != 1 {
			e.Errorf("%q came %d times", body, times)
		}
	}
}

func concurrentReceives(e *env) {
	const n, workers = 60, 4
	sub := e.open(e.b, unhurried)
	ctx, cancel := context.WithTimeout(e.ctx, e.h.Tolerance+4*e.h.Lease)
	defer cancel()
	var left atomic.Int64
	left.Store(n)
	results := make(chan map[string]int, workers)
	for range workers {
		go func() {
			seen := map[string]int{}
			defer func() { results <- seen }()
			for left.Load() > 0 {
				got, err := sub.Receive(ctx, 7)
				if err != nil {
					return
				}
				for _, d := range got {
					seen[string(d.Msg().Body)]++
					if _, err := d.Settle(ctx, broker.Done{}); err != nil {
						e.Errorf("settle: %v", err)
					}
					if left.Add(-1) == 0 {
						cancel()
					}
				}
			}
		}()
	}
	e.send(n)
	all := map[string]int{}
	for range workers {
		for body, times := range <-results {
			all[body] += times
		}
	}
	for i := range n {
		if body := fmt.Sprint("message ", i); all[body] != 1 {
			e.Errorf("%q was received %d times, want once", body, all[body])
		}
	}
}

// restart restarts the broker if the harness can, and the client otherwise.
func (e *env) restart() {
	e.Helper()
	if e.h.Restart != nil {
		e.h.Restart(e)
		return
	}
	e.b = e.h.Open(e)
}

// patiently receives n deliveries across errors of a broker that is coming up,
// and opens the subscription again if it has to.
func (e *env) patiently(sub broker.Subscription, n int, within time.Duration) []broker.Delivery { //nolint:unparam // how many is the first thing to say
	e.Helper()
	end := time.Now().Add(within)
	var got []broker.Delivery
	var last error
	for len(got) < n && time.Now().Before(end) && e.ctx.Err() == nil {
		more, err := e.tryReceive(sub, n-len(got), time.Until(end))
		got = append(got, more...)
		if err != nil {
			last = err
			e.wait(20 * time.Millisecond)
		}
		if errors.Is(err, broker.ErrClosed) {
			sub = e.open(e.b)
		}
	}
	if len(got) < n {
		e.Fatalf("%d of %d deliveries came within %v of a restart: %v", len(got), n, within, last)
	}
	return got
}

func restartKeeps(e *env) {
	sub := e.open(e.b)
	e.send(5)
	got := e.receive(sub, 4)
	e.settle(got[0], broker.Done{})
	env := e.deadLetter(got[1], e.names.DeadLetter, broker.DefaultGroup)
	e.retryAt(got[2], time.Now().Add(e.h.Lease), "over the restart")
	if e.caps.Marks {
		if err := got[3].Mark(e.ctx, broker.Mark{StartedAlone: 2}); err != nil {
			e.Fatalf("mark: %v", err)
		}
	}
	e.restart()
	settled := map[string]bool{string(got[0].Msg().Body): true, string(got[1].Msg().Body): true}
	seen := map[string]bool{}
	for len(seen) < 3 {
		d := e.patiently(sub, 1, 8*e.h.Lease+2*e.h.Tolerance)[0]
		body := string(d.Msg().Body)
		switch {
		case settled[body]:
			// Some brokers flush acknowledgements late: allowed, and worth knowing.
			e.Logf("%q came again after a confirmed settlement", body)
		case body == string(got[3].Msg().Body):
			e.counted(d, 1)
			if e.caps.Marks {
				e.marked(d, broker.Mark{StartedAlone: 2})
			}
			seen[body] = true
		default:
			seen[body] = true
		}
		e.settle(d, broker.Done{})
	}
	letter := e.letters(e.names.DeadLetter, 1)[0]
	e.sameEnvelope("after a restart", env, &letter.Message)
}

func restartWhilePublishing(e *env) {
	sub := e.open(e.b)
	ctx, cancel := context.WithCancel(e.ctx)
	results := make(chan map[string]error, 1)
	go func() {
		published := map[string]error{}
		defer func() { results <- published }()
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			body := fmt.Sprint("published ", i)
			//nolint:contextcheck // a publication is not interrupted by the end of the publishing
			errs := e.b.Publish(e.ctx, []broker.Outbound{{Queue: e.source, ID: e.pubID(body), Body: []byte(body)}})
			if len(errs) != 1 {
				e.Errorf("publish of one message returned %d results", len(errs))
				return
			}
			published[body] = errs[0]
			select {
			case <-pace.C:
			case <-ctx.Done():
			}
		}
	}()
	for range 2 {
		e.wait(e.h.Lease / 4)
		e.restart()
	}
	e.wait(e.h.Lease / 4)
	cancel()
	published := <-results
	confirmed, refused := 0, 0
	for _, err := range published {
		switch {
		case err == nil:
			confirmed++
		case !errors.Is(err, broker.ErrUnknown):
			refused++
		}
	}
	e.Logf("%d publications: %d confirmed, %d refused, %d unknown", len(published), confirmed, refused, len(published)-confirmed-refused)
	seen := map[string]bool{}
	e.until(func() string {
		got, _ := e.tryReceive(sub, 100, e.h.Lease/2)
		for _, d := range got {
			seen[string(d.Msg().Body)] = true
			_, _ = d.Settle(e.ctx, broker.Done{}) // Else it comes again.
		}
		if st, err := e.b.Stats(e.ctx, e.source); err != nil || st.Depth() > 0 {
			return fmt.Sprintf("%d messages left, %v", st.Depth(), err)
		}
		return ""
	})
	for body, err := range published {
		switch {
		case err == nil && !seen[body]:
			e.Errorf("%q was confirmed and is lost", body)
		case err != nil && !errors.Is(err, broker.ErrUnknown) && seen[body]:
			e.Errorf("%q is stored, and Publish said for certain that it is not: %v", body, err)
		}
	}
	for body := range seen {
		if _, ok := published[body]; !ok {
			e.Errorf("%q was never published", body)
		}
	}
}

// restartFullHands kills the broker right after it has delivered all that the
// consumer may hold, under leases that do not end during the case.
func restartFullHands(e *env) {
	const hands = 4
	sub := e.open(e.b, unhurried, func(s *broker.Spec) { s.MaxInFlight = hands })
	e.send(3 * hands)
	held := e.receive(sub, hands)
	e.restart()
	for _, d := range held {
		e.until(func() string {
			_, err := d.Settle(e.ctx, broker.Done{})
			if err == nil || errors.Is(err, broker.ErrLeaseLost) {
				return ""
			}
			return fmt.Sprintf("%q can neither be settled nor is its lease lost: %v", d.Msg().Body, err)
		})
	}
	e.until(func() string {
		got, _ := e.tryReceive(sub, 1, e.h.Lease)
		for _, d := range got {
			_, _ = d.Settle(e.ctx, broker.Done{}) // Else it comes again.
		}
		if st, err := e.b.Stats(e.ctx, e.source); err != nil || st.Depth() > 0 {
			return fmt.Sprintf("%d messages left, %v", st.Depth(), err)
		}
		return ""
	})
}

func restartInDelay(e *env) {
	sub := e.open(e.b)
	e.send(3)
	at := time.Now().Add(3 * e.h.Lease)
	for i, d := range e.receive(sub, 3) {
		e.retryAt(d, at, strconv.Itoa(i))
	}
	e.restart()
	seen := map[string]int{}
	for len(seen) < 3 {
		d := e.patiently(sub, 1, 8*e.h.Lease+2*e.h.Tolerance)[0]
		e.notEarly(at)
		seen[string(d.Msg().Body)]++
		e.settle(d, broker.Done{})
	}
}

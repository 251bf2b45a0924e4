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
		{Name: "pause-and-resume", Promise: "pausing keeps open deliveries, and resuming goes on where it stopped", run: pauseResume},
		{Name: "drain-then-settle", Promise: "after Drain open deliveries can be settled and nothing more is received", run: drainThenSettle},
		{Name: "drain-ends-receive", Promise: "Drain and Close end a waiting Receive", run: drainEndsReceive},
		{Name: "close-gives-back", Promise: "Close is idempotent, and what was not settled comes back", run: closeGivesBack},
		{Name: "C16-graceful-stop", Promise: "a graceful stop under load settles what it has and loses nothing", run: gracefulStop},
		{Name: "concurrent-receives", Promise: "concurrent Receives on one subscription get each message once", run: concurrentReceives},
	}
}

func restartCases() []Case {
	return []Case{
		{Name: "C17-restart-keeps-everything", Promise: "source, retries, dead letters, counts and marks survive a restart of the broker", Restarts: true, run: restartKeeps},
		{Name: "C3-restart-in-the-delay", Promise: "a retry survives a restart in its delay and is not early", Restarts: true, run: restartInDelay},
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
func (e *env) patiently(sub broker.Subscription, n int, within time.Duration) []broker.Delivery {
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

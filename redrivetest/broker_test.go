package redrivetest_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest"
)

func open(t *testing.T, b broker.Broker, spec broker.Spec) broker.Subscription {
	t.Helper()
	sub, err := b.Open(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func publish(t *testing.T, b broker.Broker, queue string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if err := b.Publish(t.Context(), []broker.Outbound{{Queue: queue, Body: []byte(body)}})[0]; err != nil {
			t.Fatal(err)
		}
	}
}

func receive(t *testing.T, sub broker.Subscription) broker.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	got, err := sub.Receive(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

func settle(t *testing.T, d broker.Delivery, o broker.Outcome) broker.Receipt {
	t.Helper()
	r, err := d.Settle(t.Context(), o)
	if err != nil {
		t.Fatalf("settle with %T: %v", o, err)
	}
	return r
}

// pass lets time pass, which in a bubble takes none.
func pass(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestLostLeases(t *testing.T) {
	lose := map[string]func(*testing.T, *redrivetest.Broker, broker.Subscription){
		"Lapse":   func(*testing.T, *redrivetest.Broker, broker.Subscription) { pass(time.Minute) },
		"Restart": func(_ *testing.T, b *redrivetest.Broker, _ broker.Subscription) { b.Restart() },
		"Close": func(t *testing.T, _ *redrivetest.Broker, s broker.Subscription) {
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"Kill": func(_ *testing.T, b *redrivetest.Broker, _ broker.Subscription) { b.Kill() },
		"Remove": func(t *testing.T, b *redrivetest.Broker, _ broker.Subscription) {
			l, err := b.Letters(t.Context(), "orders")
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Remove(t.Context(), "1"); err != nil {
				t.Error(err)
			}
		},
	}
	for name, f := range lose {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := redrivetest.NewBroker()
				sub := open(t, b, broker.Spec{Source: "orders"})
				publish(t, b, "orders", "a")
				d := receive(t, sub)
				f(t, b, sub)
				wantErr(t, "extend", d.Extend(t.Context(), time.Hour), broker.ErrLeaseLost)
				wantErr(t, "mark", d.Mark(t.Context(), broker.Mark{Explained: 1}), broker.ErrLeaseLost)
				_, err := d.Settle(t.Context(), broker.Done{})
				wantErr(t, "settle", err, broker.ErrLeaseLost)
				if name == "Remove" {
					return
				}
				again := receive(t, open(t, b.Client(), broker.Spec{Source: "orders"}))
				if again.Deliveries().Earlier != 1 || again.Identity() != d.Identity() {
					t.Errorf("came back with %d earlier deliveries as %v, want 1 as %v", again.Deliveries().Earlier, again.Identity(), d.Identity())
				}
			})
		})
	}
}

func TestOldDeliveryIsLostToANewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := redrivetest.NewBroker()
		sub := open(t, b, broker.Spec{Source: "orders"})
		publish(t, b, "orders", "a")
		old := receive(t, sub)
		newer := receive(t, sub)
		_, err := old.Settle(t.Context(), broker.Done{})
		wantErr(t, "settle by the old holder", err, broker.ErrLeaseLost)
		settle(t, newer, broker.Done{})
	})
}

func TestKillHoldsUntilLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := redrivetest.NewBroker()
		sub := open(t, b, broker.Spec{Source: "orders", Lease: time.Minute})
		publish(t, b, "orders", "a")
		receive(t, sub)
		start := time.Now()
		b.Kill()
		wantErr(t, "publish", b.Publish(t.Context(), []broker.Outbound{{Queue: "orders"}})[0], broker.ErrClosed)
		receive(t, open(t, b.Client(), broker.Spec{Source: "orders"}))
		if held := time.Since(start); held != time.Minute {
			t.Errorf("came back after %v, want the lease of a minute", held)
		}
	})
}

func TestRestartInterruptsReceiveOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := redrivetest.NewBroker()
		sub := open(t, b, broker.Spec{Source: "orders"})
		errs := make(chan error)
		go func() {
			_, err := sub.Receive(t.Context(), 1)
			errs <- err
		}()
		synctest.Wait()
		b.Restart()
		wantErr(t, "receive over a restart", <-errs, broker.ErrUnknown)
		publish(t, b, "orders", "a")
		receive(t, sub)
	})
}

func TestDedupeWindowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := redrivetest.NewBroker(redrivetest.WithCaps(func(c *broker.Caps) { c.DedupeWindow = time.Minute }))
		for _, step := range []struct {
			after time.Duration
			depth int64
		}{{0, 1}, {59 * time.Second, 1}, {time.Second, 2}, {0, 2}, {time.Minute, 3}} {
			pass(step.after)
			if err := b.Publish(t.Context(), []broker.Outbound{{Queue: "q", ID: "pub:1"}})[0]; err != nil {
				t.Fatal(err)
			}
			if st, err := b.Stats(t.Context(), "q"); err != nil || st.Depth() != step.depth {
				t.Errorf("after %v more: depth %d, %v, want %d", step.after, st.Depth(), err, step.depth)
			}
		}
	})
}

func TestClockIsInjected(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := redrivetest.NewBroker(redrivetest.WithClock(func() time.Time { return now }), redrivetest.WithCluster("c1"))
	sub, err := b.Subscribe(t.Context(), broker.Spec{Source: "orders", Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := b.NextDue(); ok {
		t.Errorf("an empty broker is due at %v", at)
	}
	publish(t, b, "orders", "a")
	got, err := sub.TryReceive(now, 5)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %d, %v", len(got), err)
	}
	if want := (broker.Incarnation{Cluster: "c1", Queue: "orders", Position: "1"}); got[0].Identity() != want {
		t.Errorf("identity %v, want %v", got[0].Identity(), want)
	}
	if at, ok := b.NextDue(); !ok || !at.Equal(now.Add(time.Minute)) {
		t.Errorf("next due %v, %v, want the end of the lease", at, ok)
	}
	now = now.Add(time.Minute)
	if got, err = sub.TryReceive(now, 5); err != nil || len(got) != 1 || got[0].Deliveries().Earlier != 1 {
		t.Errorf("after the lease: %d deliveries, %v", len(got), err)
	}
}

func TestWakeShowsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var passed atomic.Int64
		start := time.Now()
		b := redrivetest.NewBroker(redrivetest.WithClock(func() time.Time { return start.Add(time.Duration(passed.Load())) }))
		sub := open(t, b, broker.Spec{Source: "orders"})
		publish(t, b, "orders", "a")
		settle(t, receive(t, sub), broker.Retry{At: start.Add(time.Hour)})
		got := make(chan error, 1)
		go func() {
			_, err := sub.Receive(t.Context(), 1)
			got <- err
		}()
		synctest.Wait()
		b.Wake()
		synctest.Wait()
		if len(got) > 0 {
			t.Fatal("received before the clock moved")
		}
		passed.Store(int64(time.Hour))
		b.Wake()
		synctest.Wait()
		if len(got) != 1 || <-got != nil {
			t.Error("nothing received after the clock moved and Wake")
		}
	})
}

func TestPrivateMemory(t *testing.T) {
	b := redrivetest.NewBroker()
	sub := open(t, b, broker.Spec{Source: "orders"})
	body, header := []byte("body"), []byte("value")
	if err := b.Publish(t.Context(), []broker.Outbound{{Queue: "orders", Body: body, Headers: []broker.Header{{Name: "h", Value: header}}}})[0]; err != nil {
		t.Fatal(err)
	}
	body[0], header[0] = 'X', 'X'
	d := receive(t, sub)
	d.Msg().Body[1], d.Msg().Headers[0].Value[1] = 'X', 'X'
	settle(t, d, broker.Dead{Queue: "orders.dlq"})
	l, err := b.Letters(t.Context(), "orders.dlq")
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Get(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	want := broker.Message{Body: []byte("body"), Headers: []broker.Header{{Name: "h", Value: []byte("value")}}}
	if diff := cmp.Diff(want, broker.Message{Body: got.Message.Body, Headers: got.Message.Headers}); diff != "" {
		t.Errorf("somebody else's change is stored (-want +got):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	b := redrivetest.NewBroker()
	ctx := t.Context()
	sub := open(t, b, broker.Spec{Source: "orders"})
	publish(t, b, "orders", "a")
	d := receive(t, sub)
	l, err := b.Letters(ctx, "orders.dlq")
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	calls := map[string]func() error{
		"open without a source":   func() error { _, err := b.Open(ctx, broker.Spec{}); return err },
		"ensure without a source": func() error { return b.Topology().Ensure(ctx, broker.Spec{}) },
		"receive of none":         func() error { _, err := sub.Receive(ctx, 0); return err },
		"settle with nothing":     func() error { _, err := d.Settle(ctx, nil); return err },
		"settle cancelled":        func() error { _, err := d.Settle(cancelled, broker.Done{}); return err },
		"dead-letter to nowhere":  func() error { _, err := d.Settle(ctx, broker.Dead{}); return err },
		"extend by nothing":       func() error { return d.Extend(ctx, 0) },
		"publish to nowhere":      func() error { return b.Publish(ctx, make([]broker.Outbound, 1))[0] },
		"foreign cursor":          func() error { _, _, err := l.Scan(ctx, "x", 1); return err },
		"foreign position":        func() error { _, err := l.Get(ctx, "x"); return err },
		"foreign removal":         func() error { return l.Remove(ctx, "x") },
		"drain in batches of 0":   func() error { return l.Drain(ctx, 0, nil) },
		"caps cancelled":          func() error { _, err := b.Caps(cancelled, "q"); return err },
		"stats cancelled":         func() error { _, err := b.Stats(cancelled, "q"); return err },
		"letters cancelled":       func() error { _, err := b.Letters(cancelled, "q"); return err },
		"queues cancelled":        func() error { _, err := b.Topology().Queues(cancelled); return err },
		"pause cancelled":         func() error { return sub.Pause(cancelled) },
	}
	for name, call := range calls {
		if err := call(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	settle(t, d, broker.Done{})
}

func TestGroupsKeepWhatTheOtherNeeds(t *testing.T) {
	b := redrivetest.NewBroker()
	one := open(t, b, broker.Spec{Source: "orders"})
	two := open(t, b, broker.Spec{Source: "orders", Group: "audit"})
	publish(t, b, "orders", "a")
	settle(t, receive(t, one), broker.Done{})
	if st, _ := b.Stats(t.Context(), "orders"); st.Ready != 1 {
		t.Errorf("after one of two groups is done, %d ready, want 1", st.Ready)
	}
	settle(t, receive(t, two), broker.Done{})
	if st, _ := b.Stats(t.Context(), "orders"); st.Depth() != 0 {
		t.Errorf("after both are done, depth %d, want 0", st.Depth())
	}
	queues, err := b.Topology().Queues(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queues {
		if q.Name == "orders" && !cmp.Equal(q.Groups, []string{"audit", "default"}) {
			t.Errorf("groups %q", q.Groups)
		}
		if q.Kind != broker.KindOf(q.Name) {
			t.Errorf("queue %s is of kind %s", q.Name, q.Kind)
		}
	}
}

func BenchmarkBroker(b *testing.B) {
	ctx := b.Context()
	for _, depth := range []int{1, 100_000} {
		b.Run(fmt.Sprint("depth ", depth), func(b *testing.B) {
			br := redrivetest.NewBroker()
			sub, err := br.Subscribe(ctx, broker.Spec{Source: "q"})
			if err != nil {
				b.Fatal(err)
			}
			out := []broker.Outbound{{Queue: "q", Body: make([]byte, 512)}}
			for range depth {
				br.Publish(ctx, out)
			}
			for b.Loop() {
				br.Publish(ctx, out)
				got, err := sub.TryReceive(time.Now(), 1) //nolint:contextcheck // it never waits
				if err != nil || len(got) != 1 {
					b.Fatal(len(got), err)
				}
				if _, err := got[0].Settle(ctx, broker.Done{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A move that ends between its two steps leaves copy and original, and its repeat
// finds the copy.
func TestSplitMoveIsRepeated(t *testing.T) {
	ctx := t.Context()
	fail := errors.New("the process died")
	calls := 0
	b := redrivetest.NewBroker(redrivetest.WithSplitMoves(func(queue string) error {
		if calls++; calls == 1 {
			return fail
		}
		if queue != "orders.dlq" {
			t.Errorf("between was told of %s", queue)
		}
		return nil
	}))
	sub, err := b.Subscribe(ctx, broker.Spec{Source: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(ctx, []broker.Outbound{{Queue: "orders", Body: []byte("x")}})[0]; err != nil {
		t.Fatal(err)
	}
	got, err := sub.TryReceive(time.Now(), 1)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	move := broker.Dead{Queue: "orders.dlq", PublishID: "dl:1"}
	depths := func(source, dlq int64) {
		t.Helper()
		for queue, want := range map[string]int64{"orders": source, "orders.dlq": dlq} {
			if st, err := b.Stats(ctx, queue); err != nil || st.Depth() != want {
				t.Errorf("%s holds %d (%v), want %d", queue, st.Depth(), err, want)
			}
		}
	}
	if _, err := got[0].Settle(ctx, move); !errors.Is(err, fail) {
		t.Errorf("settle: %v", err)
	}
	depths(1, 1)
	if _, err := got[0].Settle(ctx, move); err != nil {
		t.Errorf("repeat: %v", err)
	}
	depths(0, 1)
	if _, err := got[0].Settle(ctx, move); !errors.Is(err, broker.ErrSettled) {
		t.Errorf("settled twice: %v", err)
	}
}

package redrivetest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest"
)

var errBoom = errors.New("boom")

// TestEveryFaultStrikesItsCall makes each kind of call fail, and shows that it
// had no effect and that the next one works.
func TestEveryFaultStrikesItsCall(t *testing.T) {
	type world struct {
		b broker.Broker
		s broker.Subscription
		d broker.Delivery
		l broker.Letters
	}
	settleWith := func(o broker.Outcome) func(context.Context, world) error {
		return func(ctx context.Context, w world) error { _, err := w.d.Settle(ctx, o); return err }
	}
	dead := broker.Dead{Queue: "orders.dlq", PublishID: "dl:1"}
	calls := map[string]struct {
		fault *redrivetest.Fault
		call  func(context.Context, world) error
	}{
		"Publish": {redrivetest.FailPublish("or*"), func(ctx context.Context, w world) error {
			return w.b.Publish(ctx, []broker.Outbound{{Queue: "other"}, {Queue: "orders", Body: []byte("b")}})[1]
		}},
		"Receive": {redrivetest.FailReceive("orders"), func(ctx context.Context, w world) error {
			_, err := w.s.Receive(ctx, 1)
			return err
		}},
		"Settle":  {redrivetest.FailSettle("*.dlq"), settleWith(dead)},
		"Done":    {redrivetest.FailDone("orders"), settleWith(broker.Done{})},
		"Release": {redrivetest.FailRelease(), settleWith(broker.Release{})},
		"Retry":   {redrivetest.FailRetry("*.retry"), settleWith(broker.Retry{})},
		"Dead":    {redrivetest.FailDead("orders.*"), settleWith(dead)},
		"Extend":  {redrivetest.FailExtend(), func(ctx context.Context, w world) error { return w.d.Extend(ctx, time.Hour) }},
		"Mark":    {redrivetest.FailMark(), func(ctx context.Context, w world) error { return w.d.Mark(ctx, broker.Mark{Explained: 1}) }},
		"Stats":   {redrivetest.FailStats("orders"), func(ctx context.Context, w world) error { _, err := w.b.Stats(ctx, "orders"); return err }},
		"Scan":    {redrivetest.FailLetters("orders"), func(ctx context.Context, w world) error { _, _, err := w.l.Scan(ctx, "", 1); return err }},
		"Get":     {redrivetest.FailLetters(), func(ctx context.Context, w world) error { _, err := w.l.Get(ctx, "1"); return err }},
		"Remove":  {redrivetest.FailLetters(), func(ctx context.Context, w world) error { return w.l.Remove(ctx, "7") }},
		"Drain": {redrivetest.FailLetters(), func(ctx context.Context, w world) error {
			return w.l.Drain(ctx, 1, func(context.Context, []broker.Letter) error { return nil })
		}},
	}
	for name, c := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := redrivetest.NewBroker()
				b := redrivetest.Inject(inner, c.fault.Times(1).With(errBoom))
				publish(t, inner, "orders", "a", "b")
				s := open(t, b, broker.Spec{Source: "orders", Lease: time.Hour})
				w := world{b: b, s: s}
				if name != "Receive" {
					w.d = receive(t, s)
				}
				var err error
				if w.l, err = b.Letters(t.Context(), "orders"); err != nil {
					t.Fatal(err)
				}
				wantErr(t, "first", c.call(t.Context(), w), errBoom)
				wantErr(t, "second", c.call(t.Context(), w), nil)
				if c.fault.Fired() != 1 || c.fault.Seen() != 2 {
					t.Errorf("fired %d of %d, want 1 of 2", c.fault.Fired(), c.fault.Seen())
				}
			})
		})
	}
}

func TestFaultSchedule(t *testing.T) {
	for name, c := range map[string]struct {
		fault *redrivetest.Fault
		want  string
	}{
		"Always":     {redrivetest.FailStats(), "xxxxxx"},
		"Nth":        {redrivetest.FailStats().Nth(2), ".x...."},
		"Every":      {redrivetest.FailStats().Every(2), ".x.x.x"},
		"Times":      {redrivetest.FailStats().Times(2), "xx...."},
		"EveryTimes": {redrivetest.FailStats().Every(2).Times(2), ".x.x.."},
		"OtherQueue": {redrivetest.FailStats("*.dlq"), "......"},
		"OtherCall":  {redrivetest.FailPublish(), "......"},
	} {
		t.Run(name, func(t *testing.T) {
			b := redrivetest.Inject(redrivetest.NewBroker(), c.fault)
			var got []byte
			for range c.want {
				if _, err := b.Stats(t.Context(), "orders"); errors.Is(err, redrivetest.ErrInjected) {
					got = append(got, 'x')
				} else {
					got = append(got, '.')
				}
			}
			if string(got) != c.want {
				t.Errorf("struck %s, want %s", got, c.want)
			}
		})
	}
}

func TestApplyThenLose(t *testing.T) {
	ctx := t.Context()
	inner := redrivetest.NewBroker()
	b := redrivetest.Inject(inner,
		redrivetest.FailSettle("*.dlq").Nth(1).ApplyThenLose(),
		redrivetest.FailPublish().Nth(1).ApplyThenLose(),
		redrivetest.FailMark().Nth(1).ApplyThenLose(),
		redrivetest.FailStats().Nth(1).ApplyThenLose())
	m := []broker.Outbound{{Queue: "orders", ID: "pub:1", Body: []byte("a")}}
	wantErr(t, "publish", b.Publish(ctx, m)[0], broker.ErrUnknown)
	wantErr(t, "publish again", b.Publish(ctx, m)[0], nil)
	_, err := b.Stats(ctx, "orders")
	wantErr(t, "stats", err, broker.ErrUnknown)
	if st, err := b.Stats(ctx, "orders"); err != nil || st.Depth() != 1 {
		t.Errorf("depth %d, %v, want 1", st.Depth(), err)
	}
	d := receive(t, open(t, b, broker.Spec{Source: "orders"}))
	wantErr(t, "mark", d.Mark(ctx, broker.Mark{Explained: 1}), broker.ErrUnknown)
	dead := broker.Dead{Queue: "orders.dlq", PublishID: "dl:1", Envelope: []byte("e")}
	_, err = d.Settle(ctx, dead)
	wantErr(t, "dead", err, broker.ErrUnknown)
	if st, _ := inner.Stats(ctx, "orders.dlq"); st.Depth() != 1 {
		t.Errorf("%d letters after a lost confirmation, want 1", st.Depth())
	}
	_, err = d.Settle(ctx, broker.Done{})
	wantErr(t, "another outcome", err, broker.ErrSettled)
	r, err := d.Settle(ctx, dead)
	if err != nil || r.Copy == "" {
		t.Errorf("the repeat: %+v, %v, want the receipt", r, err)
	}
	_, err = d.Settle(ctx, dead)
	wantErr(t, "after the repeat", err, broker.ErrSettled)
	if st, _ := inner.Stats(ctx, "orders.dlq"); st.Depth() != 1 {
		t.Errorf("%d letters after the repeat, want 1", st.Depth())
	}
}

func TestLostReceiveComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := redrivetest.Inject(redrivetest.NewBroker(), redrivetest.FailReceive().Nth(1).ApplyThenLose())
		s := open(t, b, broker.Spec{Source: "orders", Lease: time.Minute})
		publish(t, b, "orders", "a")
		start := time.Now()
		_, err := s.Receive(t.Context(), 1)
		wantErr(t, "receive", err, broker.ErrUnknown)
		if d := receive(t, s); d.Deliveries().Earlier != 1 || time.Since(start) != time.Minute {
			t.Errorf("came again after %v with %d earlier deliveries", time.Since(start), d.Deliveries().Earlier)
		}
	})
}

func TestHangAndDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := redrivetest.Inject(redrivetest.NewBroker(),
			redrivetest.FailStats("hangs").Hang(), redrivetest.FailStats("slow").Delay(time.Minute))
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.Stats(ctx, "hangs")
		wantErr(t, "hang", err, broker.ErrUnknown)
		wantErr(t, "hang", err, context.DeadlineExceeded)
		if time.Since(start) != time.Second {
			t.Errorf("hung for %v", time.Since(start))
		}
		start = time.Now()
		if _, err := b.Stats(t.Context(), "slow"); err != nil || time.Since(start) != time.Minute {
			t.Errorf("slow call: %v after %v", err, time.Since(start))
		}
	})
}

func TestLoseLeaseStaysLost(t *testing.T) {
	ctx := t.Context()
	lost := redrivetest.FailExtend().LoseLease()
	b := redrivetest.Inject(redrivetest.NewBroker(), lost)
	publish(t, b, "orders", "a")
	d := receive(t, open(t, b, broker.Spec{Source: "orders"}))
	wantErr(t, "mark before", d.Mark(ctx, broker.Mark{Explained: 1}), nil)
	wantErr(t, "extend", d.Extend(ctx, time.Hour), broker.ErrLeaseLost)
	wantErr(t, "mark", d.Mark(ctx, broker.Mark{}), broker.ErrLeaseLost)
	_, err := d.Settle(ctx, broker.Done{})
	wantErr(t, "settle", err, broker.ErrLeaseLost)
	if lost.Fired() != 1 {
		t.Errorf("fired %d times, want 1", lost.Fired())
	}
}

func TestInjectedTryReceive(t *testing.T) {
	b := redrivetest.Inject(redrivetest.NewBroker(), redrivetest.FailReceive().Nth(1).Hang())
	publish(t, b, "orders", "a")
	s := open(t, b, broker.Spec{Source: "orders"})
	try, ok := s.(interface {
		TryReceive(now time.Time, max int) ([]broker.Delivery, error)
	})
	if !ok {
		t.Fatal("no TryReceive")
	}
	_, err := try.TryReceive(time.Now(), 1)
	wantErr(t, "a hang without waiting", err, broker.ErrUnknown)
	if got, err := try.TryReceive(time.Now(), 1); err != nil || len(got) != 1 {
		t.Errorf("got %d, %v", len(got), err)
	}
}

package redrivetest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest"
)

// tb records failures and cleanups of an assertion under test.
type tb struct {
	failures []string
	cleanups []func()
}

func (t *tb) Helper()          {}
func (t *tb) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }
func (t *tb) Errorf(format string, args ...any) {
	t.failures = append(t.failures, fmt.Sprintf(format, args...))
}

func TestAccountFindsWhatIsWrong(t *testing.T) {
	ctx := t.Context()
	out := func(body string) broker.Outbound {
		return broker.Outbound{Queue: "orders", Body: []byte(body), Key: []byte("k"), Headers: []broker.Header{{Name: "id", Value: []byte(body)}}}
	}
	id := func(m *broker.Message) string { v, _ := m.Header("id"); return string(v) }
	cases := map[string]struct {
		do   func(*redrivetest.Broker, *redrivetest.Account, broker.Delivery)
		want string // in the failure, "" for none
	}{
		"Nothing": {func(*redrivetest.Broker, *redrivetest.Account, broker.Delivery) {}, ""},
		"HandledDone": {func(_ *redrivetest.Broker, a *redrivetest.Account, d broker.Delivery) {
			a.Handled(d.Msg())
			settle(t, d, broker.Done{})
		}, ""},
		"Dead": {func(_ *redrivetest.Broker, _ *redrivetest.Account, d broker.Delivery) {
			settle(t, d, broker.Dead{Queue: "orders.dlq"})
		}, ""},
		"Retry": {func(_ *redrivetest.Broker, _ *redrivetest.Account, d broker.Delivery) {
			settle(t, d, broker.Retry{At: time.Now().Add(time.Hour)})
		}, ""},
		"Lost": {func(_ *redrivetest.Broker, _ *redrivetest.Account, d broker.Delivery) { settle(t, d, broker.Done{}) }, `1 messages lost: ["a"]`},
		"Unexpected": {func(b *redrivetest.Broker, _ *redrivetest.Account, _ broker.Delivery) {
			b.Publish(ctx, []broker.Outbound{out("z")})
		}, `1 messages never published: ["z"]`},
		"Altered": {func(b *redrivetest.Broker, _ *redrivetest.Account, _ broker.Delivery) {
			m := out("a")
			m.Key = nil
			b.Publish(ctx, []broker.Outbound{m})
		}, `1 messages altered: ["a"]`},
		"HandledUnpublished": {func(_ *redrivetest.Broker, a *redrivetest.Account, _ broker.Delivery) {
			a.Handled(&broker.Message{Headers: []broker.Header{{Name: "id", Value: []byte("y")}}})
		}, `1 messages never published: ["y"]`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := redrivetest.NewBroker()
			a := redrivetest.NewAccount(id)
			sub := open(t, b, broker.Spec{Source: "orders"}) //nolint:contextcheck // it takes it from t
			a.Publish(ctx, b, out("a"), out("b"))
			c.do(b, a, receive(t, sub)) //nolint:contextcheck // it takes it from t
			var got tb
			redrivetest.AssertBalanced(ctx, &got, a, b)
			switch text := strings.Join(got.failures, "\n"); {
			case c.want == "" && text != "":
				t.Errorf("failed with %s", text)
			case !strings.Contains(text, c.want):
				t.Errorf("failed with %q, want %q in it", text, c.want)
			}
		})
	}
}

func TestAccountBooksWhatIsUnknown(t *testing.T) {
	ctx := t.Context()
	b := redrivetest.Inject(redrivetest.NewBroker(),
		redrivetest.FailPublish("orders").Nth(1).ApplyThenLose(),
		redrivetest.FailPublish("orders").Nth(2).With(broker.ErrFull))
	a := redrivetest.NewAccount(nil)
	a.Publish(ctx, b, broker.Outbound{Queue: "orders", Body: []byte("unknown")}, broker.Outbound{Queue: "orders", Body: []byte("refused")}, broker.Outbound{Queue: "orders", Body: []byte("confirmed")})
	bal, err := a.Balance(ctx, b, "orders")
	if err != nil || bal.Err() != nil {
		t.Fatal(err, bal.Err())
	}
	if bal.Unknown != 1 || bal.Confirmed != 1 || bal.In[broker.KindSource] != 2 {
		t.Errorf("balance %+v, want 1 unknown, 1 confirmed, 2 in the source", bal)
	}
}

func TestBalanceCountsRepeatsAndBoth(t *testing.T) {
	ctx := t.Context()
	b := redrivetest.NewBroker()
	a := redrivetest.NewAccount(nil)
	a.Publish(ctx, b, broker.Outbound{Queue: "orders", Body: []byte("a")})
	d := receive(t, open(t, b, broker.Spec{Source: "orders"}))
	a.Handled(d.Msg())
	a.Handled(d.Msg())
	settle(t, d, broker.Dead{Queue: "orders.dlq"})
	bal, err := a.Balance(ctx, b)
	if err != nil || bal.Err() != nil {
		t.Fatal(err, bal.Err())
	}
	if bal.Repeats != 1 || !slices.Equal(bal.Both, []string{"a"}) {
		t.Errorf("balance %+v, want one repeat, and a in both", bal)
	}
}

func TestBalanceRefusesToGuess(t *testing.T) {
	b := redrivetest.NewBroker(redrivetest.WithCaps(func(c *broker.Caps) { c.LettersMode = broker.DrainOnly }))
	publish(t, b, "orders", "a")
	var got tb
	redrivetest.AssertBalanced(t.Context(), &got, redrivetest.NewAccount(nil), b)
	if len(got.failures) != 1 || !strings.Contains(got.failures[0], "drain-only") {
		t.Errorf("failures %q, want one that names the mode", got.failures)
	}
}

func TestDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := redrivetest.NewBroker()
		sub := open(t, b, broker.Spec{Source: "orders"})
		publish(t, b, "orders", "a", "b")
		settle(t, receive(t, sub), broker.Dead{Queue: "orders.dlq"})
		settle(t, receive(t, sub), broker.Retry{At: time.Now().Add(time.Minute)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := redrivetest.Drained(ctx, b)
		wantErr(t, "drained with a retry waiting", err, context.DeadlineExceeded)
		if err == nil || !strings.Contains(err.Error(), "orders.retry has 0 ready, 0 in flight, 1 delayed") {
			t.Errorf("%v, want the queue and its counts", err)
		}
		go func() { settle(t, receive(t, sub), broker.Done{}) }()
		wantErr(t, "drained", redrivetest.Drained(t.Context(), b), nil)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantErr(t, "dead letters", redrivetest.Drained(ctx, b, "orders.dlq"), context.DeadlineExceeded)
	})
}

func TestNoLeaks(t *testing.T) {
	for name, c := range map[string]struct {
		lives time.Duration
		leaks bool
	}{"EndsAtOnce": {0, false}, "EndsSoon": {4 * time.Second, false}, "Stays": {time.Hour, true}} {
		t.Run(name, func(t *testing.T) {
			// In a bubble the patience of five seconds takes no time.
			synctest.Test(t, func(t *testing.T) {
				var got tb
				redrivetest.NoLeaks(&got)
				go pass(c.lives)
				got.cleanups[0]()
				pass(c.lives)
				if leaks := len(got.failures) > 0; leaks != c.leaks {
					t.Errorf("a goroutine that lives for %v: failures %q", c.lives, got.failures)
				}
				if c.leaks && !strings.Contains(got.failures[0], "redrivetest_test.pass") {
					t.Errorf("failure %q, want the stack of the goroutine", got.failures[0])
				}
			})
		})
	}
}

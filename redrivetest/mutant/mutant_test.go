package mutant_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/redrivetest"
	"github.com/redrive-dev/redrive/redrivetest/mutant"
)

func ExampleWrap() {
	ctx := context.Background()
	full := redrivetest.FailPublish("*.dlq").With(broker.ErrFull)
	bad, err := mutant.Wrap(mutant.AckFirst, redrivetest.Inject(redrivetest.NewBroker(), full))
	if err != nil {
		fmt.Println(err)
		return
	}
	account := redrivetest.NewAccount(nil)
	account.Publish(ctx, bad, broker.Outbound{Queue: "orders", Body: []byte("an order")})
	sub, _ := bad.Open(ctx, broker.Spec{Source: "orders"})
	got, _ := sub.Receive(ctx, 1)
	_, err = got[0].Settle(ctx, broker.Dead{Queue: "orders.dlq"})
	fmt.Println(errors.Is(err, broker.ErrFull))
	balance, _ := account.Balance(ctx, bad)
	fmt.Println(balance.Err())
	// Output:
	// true
	// 1 messages lost: ["an order"]
}

func TestWrapKnowsItsNames(t *testing.T) {
	names := mutant.BrokerNames()
	if !slices.IsSorted(names) || len(names) != 5 {
		t.Errorf("names %q, want five, sorted", names)
	}
	for _, name := range mutant.Names() {
		b, err := mutant.Wrap(name, redrivetest.NewBroker())
		if (err == nil) != slices.Contains(names, name) || (b == nil) != (err != nil) {
			t.Errorf("%s: %v, %v", name, b, err)
		}
	}
	if _, err := mutant.Wrap("nonesuch", redrivetest.NewBroker()); err == nil || !strings.Contains(err.Error(), mutant.AckFirst) {
		t.Errorf("unknown name: %v, want an error that lists the names", err)
	}
	if _, err := mutant.Wrap(mutant.AckFirst, nil); err == nil {
		t.Error("no broker was wrapped")
	}
}

// Every mutant changes one part and leaves the others alone.
func TestApplyChangesOnePart(t *testing.T) {
	if names := mutant.Names(); !slices.IsSorted(names) || len(names) != 10 {
		t.Errorf("names %q, want ten, sorted", names)
	}
	good := mutant.Parts{Broker: redrivetest.NewBroker(), Inbox: idempotency.NewMemory()}
	for _, name := range mutant.Names() {
		bad, err := mutant.Apply(name, good)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		changed := 0
		for _, is := range []bool{bad.Broker != good.Broker, bad.Inbox != good.Inbox, bad.Decide != nil, bad.Key != nil} {
			if is {
				changed++
			}
		}
		if changed != 1 {
			t.Errorf("%s: %d parts changed, want one", name, changed)
		}
		if _, err := mutant.Apply(name, mutant.Parts{}); (err == nil) != (bad.Decide != nil || bad.Key != nil) {
			t.Errorf("%s without its part: %v", name, err)
		}
	}
	if _, err := mutant.Apply("nonesuch", good); err == nil || !strings.Contains(err.Error(), mutant.GroupInKey) {
		t.Errorf("unknown name: %v, want an error that lists the names", err)
	}
}

// world is a mutant with one delivery out.
func world(t *testing.T, name string, faults ...*redrivetest.Fault) (inner *redrivetest.Broker, bad broker.Broker, sub broker.Subscription, d broker.Delivery) {
	t.Helper()
	inner = redrivetest.NewBroker()
	bad, err := mutant.Wrap(name, redrivetest.Inject(inner, faults...))
	if err != nil {
		t.Fatal(err)
	}
	sub, err = bad.Open(t.Context(), broker.Spec{Source: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	if err := bad.Publish(t.Context(), []broker.Outbound{{Queue: "orders", Body: []byte("a")}})[0]; err != nil {
		t.Fatal(err)
	}
	return inner, bad, sub, take(t, sub)
}

// take receives without waiting, as a simulator does.
func take(t *testing.T, sub broker.Subscription) broker.Delivery {
	t.Helper()
	try, ok := sub.(interface {
		TryReceive(now time.Time, max int) ([]broker.Delivery, error)
	})
	if !ok {
		t.Fatal("no TryReceive")
	}
	got, err := try.TryReceive(time.Now(), 1)
	if err != nil || len(got) != 1 {
		t.Fatalf("received %d, %v", len(got), err)
	}
	return got[0]
}

func depth(t *testing.T, b broker.Broker, queue string) int64 {
	t.Helper()
	st, err := b.Stats(t.Context(), queue)
	if err != nil {
		t.Fatal(err)
	}
	return st.Depth()
}

func TestMutantsMoveWhenNothingFails(t *testing.T) {
	for _, name := range mutant.BrokerNames() {
		for queue, outcome := range map[string]broker.Outcome{
			"orders.dlq":   broker.Dead{Queue: "orders.dlq", PublishID: "dl:1"},
			"orders.retry": broker.Retry{At: time.Now(), PublishID: "r:1"},
			"orders":       broker.Release{},
		} {
			_, bad, _, d := world(t, name)
			if _, err := d.Settle(t.Context(), outcome); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if n := depth(t, bad, queue); n != 1 {
				t.Errorf("%s: %d messages in %s after %T, want 1", name, n, queue, outcome)
			}
		}
	}
}

func TestAckFirstLosesBetween(t *testing.T) {
	inner, _, _, d := world(t, mutant.AckFirst, redrivetest.FailPublish("*.dlq").Nth(1).With(broker.ErrFull))
	dead := broker.Dead{Queue: "orders.dlq", PublishID: "dl:1"}
	if _, err := d.Settle(t.Context(), dead); !errors.Is(err, broker.ErrFull) {
		t.Errorf("settle: %v, want ErrFull", err)
	}
	if n := depth(t, inner, "orders") + depth(t, inner, "orders.dlq"); n != 0 {
		t.Errorf("%d messages between the steps, want none", n)
	}
	if _, err := d.Settle(t.Context(), dead); err != nil || depth(t, inner, "orders.dlq") != 1 {
		t.Errorf("the repeat: %v", err)
	}
}

func TestUnconfirmedPublishDiesWithTheProcess(t *testing.T) {
	inner, bad, _, d := world(t, mutant.UnconfirmedPublish)
	if _, err := d.Settle(t.Context(), broker.Dead{Queue: "orders.dlq"}); err != nil {
		t.Fatal(err)
	}
	if n := depth(t, inner, "orders.dlq"); n != 0 {
		t.Errorf("%d letters before the next call, want none", n)
	}
	inner.Kill()
	if _, err := bad.Stats(t.Context(), "orders"); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("stats after the death: %v", err)
	}
	if next := inner.Client(); depth(t, next, "orders")+depth(t, next, "orders.dlq") != 0 {
		t.Error("the message survived, want it lost")
	}
}

func TestTimestampedKeyChangesIdentities(t *testing.T) {
	raw, _, err := envelope.Encode(envelope.Envelope{Key: "key"}, envelope.DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	_, bad, sub, d := world(t, mutant.TimestampedKey)
	if _, err := d.Settle(t.Context(), broker.Retry{At: time.Now(), Envelope: raw}); err != nil {
		t.Fatal(err)
	}
	e, err := envelope.Decode(take(t, sub).Msg().Envelope)
	if err != nil || !strings.HasPrefix(e.Key, "key:") {
		t.Errorf("key %q, %v, want another one", e.Key, err)
	}
	for range 2 {
		bad.Publish(t.Context(), []broker.Outbound{{Queue: "other", ID: "pub:1"}})
	}
	if n := depth(t, bad, "other"); n != 2 {
		t.Errorf("%d messages under one publish id, want the dedupe defeated", n)
	}
}

func TestHistoryDroppedStartsAfresh(t *testing.T) {
	_, _, sub, d := world(t, mutant.HistoryDropped)
	if _, err := d.Settle(t.Context(), broker.Retry{At: time.Now(), Envelope: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if got := take(t, sub).Msg().Envelope; len(got) > 0 {
		t.Errorf("envelope %q, want none", got)
	}
}

func TestReleaseAsCrashExplainsNothing(t *testing.T) {
	_, _, sub, d := world(t, mutant.ReleaseAsCrash)
	if _, err := d.Settle(t.Context(), broker.Release{Mark: broker.Mark{Explained: 1}}); err != nil {
		t.Fatal(err)
	}
	if got := take(t, sub).Deliveries(); got.Earlier != 1 || !got.Mark.IsZero() {
		t.Errorf("after the release %+v, want one earlier delivery that nothing explains", got)
	}
}

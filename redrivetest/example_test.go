package redrivetest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest"
)

func ExampleNewBroker() {
	ctx := context.Background()
	b := redrivetest.NewBroker()
	sub, err := b.Open(ctx, broker.Spec{Source: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, err := range b.Publish(ctx, []broker.Outbound{{Queue: "orders", ID: "pub:1", Body: []byte("one order")}}) {
		fmt.Println("published:", err)
	}
	deliveries, err := sub.Receive(ctx, 10)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range deliveries {
		_, err := d.Settle(ctx, broker.Dead{Queue: "orders.dlq", PublishID: "dl:" + d.Identity().String()})
		fmt.Printf("%s: dead-lettered: %v\n", d.Msg().Body, err)
	}
	stats, err := b.Stats(ctx, "orders.dlq")
	fmt.Println("dead letters:", stats.Depth(), err)
	// Output:
	// published: <nil>
	// one order: dead-lettered: <nil>
	// dead letters: 1 <nil>
}

// A simulator has its own clock and no goroutines.
func ExampleSubscription_TryReceive() {
	ctx := context.Background()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := redrivetest.NewBroker(redrivetest.WithClock(func() time.Time { return now }))
	sub, err := b.Subscribe(ctx, broker.Spec{Source: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	b.Publish(ctx, []broker.Outbound{{Queue: "orders", Body: []byte("later")}})
	got, _ := sub.TryReceive(now, 1)
	_, err = got[0].Settle(ctx, broker.Retry{At: now.Add(time.Minute)})
	fmt.Println("retry:", err)
	got, _ = sub.TryReceive(now, 1)
	fmt.Println("at once:", len(got))
	now, _ = b.NextDue()
	got, _ = sub.TryReceive(now, 1)
	fmt.Println("at", now.Format(time.TimeOnly)+":", len(got))
	// Output:
	// retry: <nil>
	// at once: 0
	// at 00:01:00: 1
}

func ExampleInject() {
	ctx := context.Background()
	full := redrivetest.FailSettle("*.dlq").Nth(1).With(broker.ErrFull)
	b := redrivetest.Inject(redrivetest.NewBroker(), full)
	sub, err := b.Open(ctx, broker.Spec{Source: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	b.Publish(ctx, []broker.Outbound{{Queue: "orders", Body: []byte("an order")}})
	got, _ := sub.Receive(ctx, 1)
	dead := broker.Dead{Queue: "orders.dlq", PublishID: "dl:1"}
	_, err = got[0].Settle(ctx, dead)
	fmt.Println("first:", errors.Is(err, broker.ErrFull))
	_, err = got[0].Settle(ctx, dead)
	fmt.Println("second:", err)
	fmt.Println("fired:", full.Fired())
	// Output:
	// first: true
	// second: <nil>
	// fired: 1
}

func ExampleAccount() {
	ctx := context.Background()
	b := redrivetest.NewBroker()
	account := redrivetest.NewAccount(nil)
	sub, err := b.Open(ctx, broker.Spec{Source: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	account.Publish(ctx, b, broker.Outbound{Queue: "orders", Body: []byte("a")}, broker.Outbound{Queue: "orders", Body: []byte("b")})
	got, _ := sub.Receive(ctx, 1)
	account.Handled(got[0].Msg())
	_, err = got[0].Settle(ctx, broker.Done{})
	fmt.Println("settled:", err)
	balance, err := account.Balance(ctx, b)
	fmt.Println(balance.Confirmed, "confirmed,", balance.Handled, "handled,", balance.In[broker.KindSource], "waiting,", len(balance.Lost), "lost", err)
	// Output:
	// settled: <nil>
	// 2 confirmed, 1 handled, 1 waiting, 0 lost <nil>
}

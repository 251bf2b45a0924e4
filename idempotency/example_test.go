package idempotency_test

import (
	"context"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/idempotency"
)

func ExampleKey() {
	m := &broker.Message{Headers: []broker.Header{{Name: "order-id", Value: []byte("4711")}}}
	id := broker.Incarnation{Cluster: "prod", Queue: "orders@1767225600", Position: "17"}

	fmt.Println(idempotency.Key("order-id", m, id))
	fmt.Println(idempotency.Key("", m, id))
	fmt.Println(idempotency.Key("", m, broker.Incarnation{}))
	// Output:
	// 4711 true
	// i:prod/orders@1767225600/17 true
	//  false
}

func ExampleDeadPublishID() {
	origin := idempotency.Origin("prod/orders@1/17", "billing")
	fmt.Println(idempotency.DeadPublishID(origin, "billing", ""))
	fmt.Println(idempotency.DeadPublishID(origin, "billing", idempotency.ReplayPublishID("letter-9", 1)))
	fmt.Println(idempotency.ReplayPublishID("letter-9", 2))
	fmt.Println(idempotency.PublishID("import-7/1"))
	// Output:
	// dl:be2hakdpm7dzvnynyzwpj5lgpyoo4u5k:billing
	// dl:be2hakdpm7dzvnynyzwpj5lgpyoo4u5k:billing:rp%3Aletter-9%3A1
	// rp:letter-9:2
	// pub:import-7/1
}

func ExampleCopyIncarnation() {
	fmt.Println(idempotency.CopyIncarnation("prod/orders@1/17", "billing"))
	// Output: rzww254n2ppkzsv5sftmi5xqdyq657oo
}

func ExampleScope() {
	fmt.Println(idempotency.Scope("orders", "billing"))
	// Output: orders/billing
}

func ExampleStore() {
	ctx := context.Background()
	var inbox idempotency.Store = idempotency.NewMemory()
	handle := func(body string) error {
		r, err := inbox.Claim(ctx, "order-4711", "billing", body, time.Minute)
		if err != nil {
			return err
		}
		if r.State != idempotency.Claimed {
			fmt.Println("not handled:", r.State)
			return nil
		}
		fmt.Println("charge the card")
		return inbox.Complete(ctx, r.Claim)
	}
	for _, body := range []string{"10 EUR", "10 EUR", "99 EUR"} {
		if err := handle(body); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// charge the card
	// not handled: done
	// not handled: conflict
}

func ExampleClaimFrom() {
	ctx := idempotency.WithClaim(context.Background(), idempotency.Claim{Key: "order-4711", Group: "billing"})
	c, ok := idempotency.ClaimFrom(ctx)
	fmt.Println(c.Key, c.Group, ok)
	// Output: order-4711 billing true
}

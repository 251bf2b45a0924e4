package redrivekafka_test

import (
	"context"
	"fmt"
	"log"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivekafka"
)

func ExampleConnect() {
	ctx := context.Background()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()

	b, err := redrivekafka.Connect(ctx, redrivekafka.Config{Brokers: cluster.ListenAddrs()})
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := b.Close(ctx); err != nil {
			log.Print(err)
		}
	}()
	sub, err := b.Open(ctx, broker.Spec{Source: "orders", Group: "billing"})
	if err != nil {
		log.Print(err)
		return
	}
	for _, err := range b.Publish(ctx, []broker.Outbound{{Queue: "orders", Key: []byte("customer-7"), Body: []byte("an order")}}) {
		if err != nil {
			log.Print(err)
			return
		}
	}
	for {
		deliveries, err := sub.Receive(ctx, 10)
		if err != nil {
			log.Print(err)
			return
		}
		for _, d := range deliveries {
			fmt.Printf("%s: %s\n", d.Msg().Key, d.Msg().Body)
			if _, err := d.Settle(ctx, broker.Done{}); err != nil {
				log.Print(err)
			}
			return
		}
	}
	// Output: customer-7: an order
}

package broker_test

import (
	"errors"
	"fmt"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

func ExampleNamesFor() {
	n := broker.NamesFor("orders", "billing")
	fmt.Println(n.Retry)
	fmt.Println(n.DeadLetter)
	fmt.Println(n.Quarantine(failure.Schema))
	// Output:
	// orders--billing.retry
	// orders--billing.dlq
	// orders--billing.dlq.quarantine.schema
}

func ExampleKindOf() {
	fmt.Println(broker.KindOf("orders.dlq"))
	fmt.Println(broker.KindOf("orders"))
	// Output:
	// dead-letter
	// source
}

func ExampleEscapeName() {
	fmt.Println(broker.EscapeName("orders-eu"))
	fmt.Println(broker.EscapeName("orders--eu"))
	// Output:
	// orders-eu
	// orders_2d_2deu
}

func ExampleIncarnation_String() {
	i := broker.Incarnation{Cluster: "eu/1", Queue: "orders@2026-01-01", Position: "17"}
	fmt.Println("dl:" + i.String() + ":billing")
	// Output:
	// dl:eu%2F1/orders@2026-01-01/17:billing
}

func ExampleTooLargeError() {
	err := fmt.Errorf("publish to orders: %w", &broker.TooLargeError{Size: 1 << 21, Limit: 1 << 20})
	if tooLarge, ok := errors.AsType[*broker.TooLargeError](err); ok {
		fmt.Println("over by", tooLarge.Size-tooLarge.Limit)
	}
	// Output:
	// over by 1048576
}

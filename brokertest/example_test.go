package brokertest_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/redrivetest"
	"github.com/redrive-dev/redrive/redrivetest/mutant"
)

// A test of the suite, or of a broker that is known to be wrong, records
// verdicts instead of failing.
func ExampleRecord() {
	bad := brokertest.Harness{Open: func(brokertest.T) broker.Broker {
		b, err := mutant.Wrap(mutant.AckFirst, redrivetest.NewBroker())
		if err != nil {
			panic(err)
		}
		return b
	}}
	cases := brokertest.Cases()
	i := slices.IndexFunc(cases, func(c brokertest.Case) bool { return c.Name == "C6-dead-letter-too-large" })
	fmt.Println(cases[i].Promise)
	fmt.Println("broken:", brokertest.Record(context.Background(), cases[i], bad).Failed())
	// Output:
	// a dead letter that is too large is a TooLargeError, and the original stays
	// broken: true
}

package decision_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

// The same failure, twice: it costs an attempt while the breaker is closed, and
// none when it was the probe of a downstream that is known to be ill.
func ExampleDecide() {
	policy := decision.Policy{}.WithDefaults()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f := failure.Classify(failure.AsTransient(errors.New("connection refused")))
	in := decision.Input{
		Policy: &policy, Fact: decision.Failed, Failure: &f, Signature: "s1:example",
		History: &envelope.Envelope{}, Since: now, HoldMax: policy.HoldMax, Now: now,
		Breaker: decision.Breaker{State: breaker.Closed, Admits: true},
		Rand:    rand.New(rand.NewPCG(1, 2)),
	}
	v := decision.Decide(&in)
	fmt.Println(v.Row, v.Action, v.Counted)

	in.Breaker = decision.Breaker{State: breaker.Open, Probe: true, Next: now.Add(4 * time.Second)}
	v = decision.Decide(&in)
	fmt.Println(v.Row, v.Action, v.Counted, v.At.Sub(now))
	// Output:
	// retry retry true
	// probe-failed retry false 4s
}

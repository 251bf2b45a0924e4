package broker_test

import (
	"testing"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

// The quarantines of a subscription are known before the first failure, so that
// they can be declared: one per category, whatever errors handlers return.
func TestQuarantinesAreAClosedSet(t *testing.T) {
	names := broker.NamesFor("orders", "")
	known := map[string]bool{}
	for _, c := range failure.Categories() {
		name := names.Quarantine(c)
		if known[name] || broker.KindOf(name) != broker.KindQuarantine {
			t.Errorf("category %s: %q is not a quarantine of its own", c, name)
		}
		known[name] = true
	}
	for _, err := range []error{textError("../../etc"), textError("orders.dlq"), failure.AsSchema(textError("x")), failure.NewPanic("x", nil)} {
		if name := names.Quarantine(failure.Classify(err).Category); !known[name] {
			t.Errorf("the error %q leads to the queue %q, which nobody declared", err, name)
		}
	}
	for _, name := range []string{"orders.dlq.quarantine.timeouterror", "orders.dlq.quarantine."} {
		if broker.KindOf(name) == broker.KindQuarantine {
			t.Errorf("%q is taken for a quarantine", name)
		}
	}
}

// textError is an error whose text a producer chooses.
type textError string

func (e textError) Error() string { return string(e) }

package failure_test

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/redrive-dev/redrive/failure"
)

var (
	errClosed = errors.New("account is closed")
	errBusy   = errors.New("billing answers 429")
)

// A handler returns errors as they are, and marks those of which it knows more.
func Example() {
	handle := func(order string) error {
		switch order {
		case "closed":
			return failure.AsBusiness(errClosed)
		case "busy":
			return failure.Throttled(30*time.Second, errBusy)
		case "odd":
			return failure.Quarantine(failure.AsSchema(errors.New("total has 40 digits")))
		case "new":
			return fmt.Errorf("read answer: %w", io.ErrUnexpectedEOF)
		}
		return nil
	}
	for _, order := range []string{"closed", "busy", "odd", "new"} {
		f := failure.Classify(handle(order))
		fmt.Printf("%s: %v, wait %v, quarantine %v\n", order, f.Category, f.RetryAfter, f.Quarantine)
	}
	// Output:
	// closed: business, wait 0s, quarantine false
	// busy: transient, wait 30s, quarantine false
	// odd: schema, wait 0s, quarantine true
	// new: transient, wait 0s, quarantine false
}

func ExampleClassify() {
	f := failure.Classify(fmt.Errorf("charge order 7: %w", io.ErrUnexpectedEOF))
	fmt.Println(f.Category, f.Type, f.Downstream)
	fmt.Println(f.Message)

	f = failure.Classify(errors.New("who knows"))
	fmt.Println(f.Category, f.Unclassified)
	// Output:
	// transient io.ErrUnexpectedEOF true
	// charge order 7: unexpected EOF
	// transient true
}

// sqlError stands for a driver's error.
type sqlError string

func (e sqlError) Error() string    { return "sql state " + string(e) }
func (e sqlError) SQLState() string { return string(e) }

// A rule teaches the classifier the errors of a library. This one knows the
// errors of PostgreSQL drivers.
func ExampleRule() {
	postgres := func(err error) (failure.Category, bool) {
		var state interface{ SQLState() string }
		if !errors.As(err, &state) || len(state.SQLState()) != 5 {
			return failure.None, false
		}
		switch state.SQLState()[:2] {
		case "22", "23": // bad data, constraint violated
			return failure.Business, true
		case "08", "40", "53", "57": // connection, deadlock, resources, shutdown
			return failure.Transient, true
		}
		return failure.None, false
	}
	for _, state := range []sqlError{"23505", "40P01", "XX000"} {
		f := failure.Classify(fmt.Errorf("insert: %w", state), postgres)
		fmt.Println(state.SQLState(), f.Category, f.Unclassified)
	}
	// Output:
	// 23505 business false
	// 40P01 transient false
	// XX000 transient true
}

func ExampleSignature() {
	sign := func(err error) string {
		return failure.Classify(err).Signature("orders", "billing")
	}
	a := sign(errors.New("order 7 of jane@example.com is closed"))
	b := sign(errors.New("order 8123 of bob@example.org is closed"))
	c := sign(errors.New("order 7 of jane@example.com is empty"))
	fmt.Println(a == b, a == c)
	// Output: true false
}

func ExampleNormalise() {
	fmt.Println(failure.Normalise(`dial tcp 10.0.3.17:5432: i/o timeout after 30s`))
	fmt.Println(failure.Normalise(`ERROR: duplicate key violates "orders_pkey" (SQLSTATE 23505)`))
	// Output:
	// dial tcp <ip>: i/o timeout after <dur>
	// ERROR: duplicate key violates <q> (SQLSTATE 23505)
}

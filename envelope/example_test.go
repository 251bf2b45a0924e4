package envelope_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

func ExampleEncode() {
	e := envelope.Envelope{
		Key: "order-4711", Source: "orders", Group: "billing", Count: 1, MaxAttempts: 5,
		LastFailure: time.UnixMilli(1767225600000), Category: failure.Transient,
		Message: "connection refused",
	}
	raw, _, err := envelope.Encode(e, envelope.DefaultLimit)
	fmt.Println(string(raw), err)
	// Output:
	// {"v":1,"key":"order-4711","src":"orders","grp":"billing","n":1,"max":5,"lf":1767225600000,"cat":"transient","msg":"connection refused"} <nil>
}

func ExampleEncode_trimmed() {
	e := envelope.Envelope{Key: "order-4711", Message: "boom", Stack: strings.Repeat("main.main()\n", 1000)}
	raw, written, err := envelope.Encode(e, envelope.MinLimit)
	fmt.Println(len(raw) <= envelope.MinLimit, written.Trimmed, written.Message, err)
	// Output: true [stack] boom <nil>
}

func ExampleDecode() {
	e, err := envelope.Decode([]byte(`{"v":1,"key":"order-4711","n":2}`))
	fmt.Println(e.Key, e.Count, err)

	_, err = envelope.Decode([]byte(`{"v":2}`))
	var newer *envelope.VersionError
	fmt.Println(errors.As(err, &newer))
	// Output:
	// order-4711 2 <nil>
	// true
}

func ExampleEnvelope_Belongs() {
	body := []byte(`{"order":4711}`)
	e := envelope.Envelope{Source: "orders", Group: "billing", BodyDigest: envelope.Digest(body)}

	fmt.Println(e.Belongs("orders", "billing", envelope.Digest(body)))
	// A service that copied the header onto a message of its own.
	fmt.Println(e.Belongs("orders", "billing", envelope.Digest([]byte(`{"invoice":1}`))))
	// Output:
	// true
	// false
}

package schema_test

import (
	"context"
	"fmt"

	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/server/internal/schema"
)

func ExampleCompile() {
	v, err := schema.Compile("order.json", []byte(`{
		"type": "object",
		"required": ["id"],
		"properties": {
			"id": {"type": "integer"},
			"items": {"type": "array", "items": {"properties": {"price": {"type": "number"}}}}
		}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	err = v.Validate(context.Background(), []byte(`{"id": 1}`), "application/json")
	fmt.Println(err)
	err = v.Validate(context.Background(), []byte(`{"items": [{"price": "ten"}]}`), "application/json")
	fmt.Println(err)
	fmt.Println(failure.Classify(err).Category)
	// Output:
	// <nil>
	// body does not match order.json: $.items[].price: type (want number); $: required (id)
	// schema
}

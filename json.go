package redrive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/redrive-dev/redrive/failure"
)

// JSON makes a Handler of one that takes a decoded body. A body that is not one
// JSON value, or does not fit T, is a schema failure: it is dead-lettered at
// once, as the bytes that came. Numbers in an interface value are json.Number,
// so that large integers stay intact.
func JSON[T any](h func(ctx context.Context, m *Message, value T) error) Handler {
	return func(ctx context.Context, m *Message) error {
		var value T
		d := json.NewDecoder(bytes.NewReader(m.Body))
		d.UseNumber()
		if err := d.Decode(&value); err != nil {
			return failure.AsSchema(fmt.Errorf("decode the body as JSON: %w", err))
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return failure.AsSchema(errors.New("decode the body as JSON: more than one value"))
		}
		return h(ctx, m, value)
	}
}

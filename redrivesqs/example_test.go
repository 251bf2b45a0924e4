package redrivesqs_test

import (
	"context"
	"log"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/redrivesqs"
)

// A worker that consumes a queue of Amazon SQS, with credentials from the AWS SDK's own
// chain.
func Example() {
	ctx := context.Background()
	b, err := redrivesqs.Connect(ctx, redrivesqs.Config{Region: "eu-central-1"})
	if err != nil {
		log.Fatal(err)
	}
	w, err := redrive.NewWorker(b, func(context.Context, *redrive.Message) error {
		return nil // Handle the order.
	}, redrive.Config{Source: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

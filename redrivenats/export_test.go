package redrivenats

import (
	"context"
	"testing"

	"github.com/redrive-dev/redrive/broker"
)

// StoreOnly makes the copy of a retry, waits for its confirmation, and stops
// there: where a crash can come between that and the acknowledgement.
func StoreOnly(ctx context.Context, t *testing.T, d broker.Delivery, o broker.Retry) {
	t.Helper()
	own, ok := d.(*delivery)
	if !ok {
		t.Fatalf("a delivery of type %T", d)
	}
	m, err := own.schedule(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own.lane.b.store(ctx, m); err != nil {
		t.Fatal(err)
	}
}

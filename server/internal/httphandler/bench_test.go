package httphandler

import (
	"net/http"
	"testing"
)

// BenchmarkHandle measures a whole delivery to a server in the same process.
func BenchmarkHandle(b *testing.B) {
	s := serve(b, func(http.ResponseWriter, *http.Request) {})
	c := newClient(b, Config{URL: s.URL})
	r := Request{
		Body: make([]byte, 1024), ContentType: "application/json", Attempt: 1, MaxAttempts: 5, IdempotencyKey: "cluster/orders/1",
		Headers: producer("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Tenant", "a", "authorization", "x"),
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Handle(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

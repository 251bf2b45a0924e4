package breaker_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/breaker"
)

// full asks for the large counts.
var full = os.Getenv("REDRIVE_FULL") == "1"

// TestMain sets how many sequences a property is checked with and how long they
// are; the flags of rapid still override it.
func TestMain(m *testing.M) {
	checks := "2000"
	if full {
		checks = "100000"
	}
	for name, value := range map[string]string{"rapid.checks": checks, "rapid.steps": "50"} {
		if err := flag.Set(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newBreaker(t interface {
	Helper()
	Fatal(...any)
}, c breaker.Config,
) *breaker.Breaker {
	t.Helper()
	b, err := breaker.New(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

package retry_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// full asks for the large counts.
var full = os.Getenv("REDRIVE_FULL") == "1"

// TestMain sets how many cases a property is checked with; -rapid.checks still
// overrides it.
func TestMain(m *testing.M) {
	checks := "1000"
	if full {
		checks = "100000"
	}
	if err := flag.Set("rapid.checks", checks); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

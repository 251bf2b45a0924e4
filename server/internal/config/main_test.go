package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// full is a file in which every setting is given at least once.
func full(tb testing.TB) []byte {
	tb.Helper()
	data, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func decodeValid(tb testing.TB, text string) *Loaded {
	tb.Helper()
	l, err := Decode("redrive.yaml", []byte(text))
	if err != nil {
		tb.Fatalf("decode:\n%s\n%v", text, err)
	}
	return l
}

// lines joins lines, so that tests show files as they are.
func lines(l ...string) string { return strings.Join(l, "\n") + "\n" }

func typeOfConfig() reflect.Type { return reflect.TypeFor[Config]() }

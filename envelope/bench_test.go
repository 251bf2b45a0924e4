package envelope_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/redrive-dev/redrive/envelope"
)

func BenchmarkEncode(b *testing.B) {
	usual := retrying()
	usual.Attempts = slices.Repeat(usual.Attempts, 2)
	trimmed := usual
	trimmed.Stack = strings.Repeat("main.charge(0xc000012345)\n\t/src/billing/charge.go:42 +0x1f\n", 400)
	for name, e := range map[string]envelope.Envelope{"usual": usual, "trimmed": trimmed} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := envelope.Encode(e, envelope.DefaultLimit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	raw, _, err := envelope.Encode(retrying(), envelope.DefaultLimit)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := envelope.Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}

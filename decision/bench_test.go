package decision_test

import (
	"testing"

	"github.com/redrive-dev/redrive/decision"
)

func BenchmarkDecide(b *testing.B) {
	for name, prepare := range map[string]func(*decision.Input){
		"delivered": func(*decision.Input) {},
		"handled":   func(in *decision.Input) { in.Fact = decision.Handled },
		"failed":    func(in *decision.Input) { failed(in, errDown) },
		"used-up":   func(in *decision.Input) { history(in, 4); failed(in, errDown) },
	} {
		b.Run(name, func(b *testing.B) {
			in := base()
			prepare(in)
			b.ReportAllocs()
			for b.Loop() {
				decision.Decide(in)
			}
		})
	}
}

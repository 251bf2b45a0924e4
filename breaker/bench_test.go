package breaker_test

import (
	"testing"
	"time"

	"github.com/redrive-dev/redrive/breaker"
)

// The clock is read once per benchmark: what a call costs without it.
func BenchmarkAllowReport(b *testing.B) {
	b.ReportAllocs()
	br := newBreaker(b, breaker.Config{})
	now := time.Now()
	for b.Loop() {
		p, err := br.Allow(now)
		if err != nil {
			b.Fatal(err)
		}
		br.Report(now, p, breaker.Success)
	}
}

func BenchmarkAllowReportParallel(b *testing.B) {
	b.ReportAllocs()
	br := newBreaker(b, breaker.Config{})
	now := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, err := br.Allow(now)
			if err != nil {
				b.Error(err)
				return
			}
			br.Report(now, p, breaker.Success)
		}
	})
}

func BenchmarkRefusal(b *testing.B) {
	b.ReportAllocs()
	br := newBreaker(b, breaker.Config{})
	now := time.Now()
	br.Trip(now, now.Add(time.Hour))
	for b.Loop() {
		if _, err := br.Allow(now); err == nil {
			b.Fatal("an open breaker gave a permit")
		}
	}
}

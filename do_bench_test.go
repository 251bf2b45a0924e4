package redrive_test

import (
	"context"
	"errors"
	"testing"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/retry"
)

func succeed(context.Context) error { return nil }

// The benchmarks of Retrier and Execute contain the readings of the clock that a
// caller pays for.

func BenchmarkRetrierDo(b *testing.B) {
	for name, c := range benchmarkRetriers(b) {
		b.Run(name, func(b *testing.B) {
			r, err := redrive.NewRetrier(c)
			if err != nil {
				b.Fatal(err)
			}
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if res := r.Do(ctx, succeed); res.Err != nil {
					b.Fatal(res.Err)
				}
			}
		})
	}
}

func BenchmarkRetrierDoParallel(b *testing.B) {
	r, err := redrive.NewRetrier(benchmarkRetriers(b)["breaker"])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := b.Context()
		for pb.Next() {
			if res := r.Do(ctx, succeed); res.Err != nil {
				b.Error(res.Err)
				return
			}
		}
	})
}

func benchmarkRetriers(b *testing.B) map[string]redrive.RetrierConfig {
	b.Helper()
	br, err := breaker.New(breaker.Config{}, 1)
	if err != nil {
		b.Fatal(err)
	}
	budget, err := retry.NewBudget(retry.BudgetConfig{})
	if err != nil {
		b.Fatal(err)
	}
	return map[string]redrive.RetrierConfig{
		"retry":          {},
		"breaker":        {Breaker: br},
		"breaker+budget": {Breaker: br, Budget: budget},
	}
}

// BenchmarkRetrierFailing makes three attempts without a wait between them.
func BenchmarkRetrierFailing(b *testing.B) {
	br, err := breaker.New(breaker.Config{Consecutive: -1, FailureRate: -1}, 1)
	if err != nil {
		b.Fatal(err)
	}
	r, err := redrive.NewRetrier(redrive.RetrierConfig{
		Policy:  retry.Policy{Attempts: 3, Strategy: retry.Strategy{Backoff: retry.Immediate}},
		Breaker: br,
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, down := b.Context(), errors.New("down")
	b.ReportAllocs()
	for b.Loop() {
		if res := r.Do(ctx, func(context.Context) error { return down }); res.Attempts != 3 {
			b.Fatal(res.Attempts)
		}
	}
}

func BenchmarkExecute(b *testing.B) {
	br, err := breaker.New(breaker.Config{}, 1)
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if x := redrive.Execute(ctx, br, func(context.Context) (int, error) { return 1, nil }); x.Err != nil {
			b.Fatal(x.Err)
		}
	}
}

func BenchmarkExecuteParallel(b *testing.B) {
	br, err := breaker.New(breaker.Config{}, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := b.Context()
		for pb.Next() {
			if x := redrive.Execute(ctx, br, func(context.Context) (int, error) { return 1, nil }); x.Err != nil {
				b.Error(x.Err)
				return
			}
		}
	})
}

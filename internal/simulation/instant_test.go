package simulation

import (
	"errors"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/breaker"
)

// A breaker that was first used while the wall clock was a day ahead names times by
// the clock as it is now: a retry that is due at one of them must not wait a day.
func TestABreakerForgetsAWallClockThatWasWrong(t *testing.T) {
	b, err := breaker.New(breaker.Config{Consecutive: 1, Recovery: time.Minute}, 1)
	if err != nil {
		t.Fatal(err)
	}
	right := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	wrong := instant(right.Add(24*time.Hour), int64(time.Hour))
	p, err := b.Allow(wrong)
	if err != nil {
		t.Fatal(err)
	}
	b.Report(wrong, p, breaker.Failure)
	now := instant(right.Add(time.Second), int64(time.Hour+time.Second))
	latest := right.Add(3 * time.Minute)
	if next := b.Next(now).Round(0); next.After(latest) {
		t.Errorf("Next names %s, a day off", next)
	}
	_, err = b.Allow(now)
	refused := (*breaker.OpenError)(nil)
	if !errors.As(err, &refused) {
		t.Fatalf("an open breaker lets through: %v", err)
	}
	if until := refused.Until.Round(0); until.After(latest) {
		t.Errorf("the refusal names %s, a day off", until)
	}
}

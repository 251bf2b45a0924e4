package breaker

import (
	"testing"
	"time"
)

// Between the look at the generation in Report and the lock, another goroutine
// can change the state. That moment cannot be met from outside at will.
func TestReportOvertakenByAChangeOfState(t *testing.T) {
	b, err := New(Config{Consecutive: 1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	closed := b.current.Load()
	first, err := b.Allow(now)
	if err != nil {
		t.Fatal(err)
	}
	b.Report(now, first, Failure)
	b.failed(b.offset(now), closed)
	if got := b.Snapshot(now); got.State != Open || got.Generation != 1 || got.Openings != 1 {
		t.Errorf("an overtaken failure counted: %+v", got)
	}

	now = b.Next(now)
	probe, err := b.Allow(now)
	if err != nil {
		t.Fatal(err)
	}
	b.Trip(now, now)
	for _, o := range []Outcome{Success, Failure} {
		b.probed(b.offset(now), probe, o)
	}
	if got := b.Snapshot(now); got.State != Open || got.Openings != 2 {
		t.Errorf("an overtaken probe counted: %+v", got)
	}
}

package brokers

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/bench/rounds"
)

func TestABodyTellsItsNumberAndItsTime(t *testing.T) {
	at := time.Unix(0, 1_234_567_890_123_456_789)
	for _, want := range []int{firstMessage, 0, 1, 123_456} {
		b := body(want, at)
		if i, when, err := read(b); err != nil || i != want || !when.Equal(at) || len(b) != bodySize {
			t.Errorf("body of %d: %d bytes, read as %d at %v, %v", want, len(b), i, when, err)
		}
	}
	for _, b := range []string{"", "x", "1 x x", "a 1 x", "1 2"} {
		if _, _, err := read([]byte(b)); err == nil {
			t.Errorf("%q is taken for one of ours", b)
		}
	}
}

func TestATallyEndsWithTheLastConfirmation(t *testing.T) {
	y := newTally(100)
	y.handle(nil)
	ended := make(chan error, 1)
	for range 9 {
		y.settle(10)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errUnfinished)
	defer cancel()
	if took, err := y.await(ctx, ended); !errors.Is(err, errUnfinished) {
		t.Errorf("after 90 of 100: %v, %v", took, err)
	}
	y.settle(15)
	y.settle(1)
	if took, err := y.await(t.Context(), ended); err != nil || took < 0 {
		t.Errorf("after all: %v, %v", took, err)
	}
	lost := newTally(1)
	ended <- errors.New("gone")
	if _, err := lost.await(t.Context(), ended); err == nil {
		t.Error("a loop that ended early is a figure")
	}
}

func TestPercentile(t *testing.T) {
	values := []time.Duration{4 * time.Millisecond, time.Millisecond, 3 * time.Millisecond, 2 * time.Millisecond}
	if got := percentile(values, 0.5); got != 2 {
		t.Errorf("p50 is %v ms, want 2", got)
	}
	if got := percentile(values, 0.99); got != 4 {
		t.Errorf("p99 is %v ms, want 4", got)
	}
	if got := percentile(nil, 0.5); got != 0 {
		t.Errorf("p50 of nothing is %v", got)
	}
}

// A server that cannot be had is no failure of what is measured.
func TestAServerThatIsNotThere(t *testing.T) {
	s := kafka(sizes{})
	s.kind.Program = "no-such-server"
	if _, err := s.url(t.Context()); !errors.Is(err, rounds.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if err := s.stop(t.Context()); err != nil {
		t.Error(err)
	}
}

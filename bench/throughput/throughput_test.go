package throughput

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/bench/child"
	"github.com/redrive-dev/redrive/bench/rounds"
)

// TestMain lets the test binary be the server that is measured against.
func TestMain(m *testing.M) {
	if os.Getenv(child.Variable) == child.RoleNATS {
		os.Exit(child.ServeNATS(context.Background(), os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func contenders() []contender {
	return []contender{redriveWorker(), rawLoop(), watermillRouter(watermillName, 1), watermillRouter(eightName, 8)}
}

// TestEveryContenderBringsEveryMessageToItsEnd is checked by the measurement itself:
// as many letters as failing messages, and nothing left.
func TestEveryContenderBringsEveryMessageToItsEnd(t *testing.T) {
	for _, always := range []bool{false, true} {
		for _, c := range contenders() {
			t.Run(c.name+", sync "+setting(always), func(t *testing.T) {
				s, err := drain(c, load{total: 400, failing: 8}, always)(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if s[rounds.Rate] <= 0 {
					t.Errorf("measured %v", s)
				}
			})
		}
	}
}

// TestALossIsNoFigure measures a contender that acknowledges what fails.
func TestALossIsNoFigure(t *testing.T) {
	lossy := rawLoop()
	lossy.consume = func(ctx context.Context, s *site, handle func([]byte) error, l load) error {
		return consumeRaw(ctx, s, func(b []byte) error { _ = handle(b); return nil }, l)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, errors.New("time is up"))
	defer cancel()
	if s, err := drain(lossy, load{total: 20, failing: 2}, false)(ctx); err == nil || !strings.Contains(err.Error(), "0 of 2 letters") {
		t.Errorf("measured %v, %v; want an error that names the letters", s, err)
	}
}

func TestLatencyOfEveryContender(t *testing.T) {
	for _, c := range contenders() {
		t.Run(c.name, func(t *testing.T) {
			s, err := wait(c, load{total: 50, failing: 2})(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s[rounds.P50] <= 0 || s[rounds.P99] < s[rounds.P50] {
				t.Errorf("measured %v", s)
			}
		})
	}
}

func TestALoadHasExactlyItsFailingMessages(t *testing.T) {
	for _, l := range []load{{100, 1}, {100, 10}, {2_000, 20}, {200_000, 2_000}, {200_000, 20_000}, {300, 30}, {60, 6}, {20, 2}, {1, 0}, {1_000, 0}} {
		failing, last := 0, 0
		for i := range l.total {
			if l.fails(i) {
				failing, last = failing+1, i
			}
		}
		if failing != l.failing {
			t.Errorf("%+v: %d fail", l, failing)
		}
		if failing > 0 && last >= l.total-l.tail() {
			t.Errorf("%+v: message %d fails, with too few healthy ones after it", l, last)
		}
	}
}

func TestABodyTellsItsNumberAndTime(t *testing.T) {
	at := time.Unix(1_767_225_600, 123_456_789)
	b := body(81_723, at, noise())
	if i, err := number(b); err != nil || i != 81_723 || !stamp(b).Equal(at) || len(b) != bodySize {
		t.Errorf("number %d, %v, time %v, %d bytes", i, err, stamp(b), len(b))
	}
	if _, err := number(b[1:]); err == nil {
		t.Error("a body of another size is taken")
	}
}

func TestDelaysAreThoseOfThePage(t *testing.T) {
	got := []time.Duration{delay(1), delay(2), delay(3)}
	if want := []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	r := policy(load{total: 100, failing: 10}).WithDefaults().Retry
	for failed, want := range got {
		if d := r.Strategy.Delay(failed+1, 0, nil); d != want {
			t.Errorf("redrive waits %v after failure %d, want %v", d, failed+1, want)
		}
	}
}

func TestPercentile(t *testing.T) {
	var values []time.Duration
	for i := range 100 {
		values = append(values, time.Duration(100-i))
	}
	for share, want := range map[float64]time.Duration{0.5: 50, 0.99: 99, 1: 100, 0: 1} {
		if got := percentile(values, share); got != want {
			t.Errorf("percentile %v is %v, want %v", share, got, want)
		}
	}
	if got := percentile(nil, 0.5); got != 0 {
		t.Errorf("of nothing it is %v", got)
	}
}

// TestOnlyHealthyMessagesCountAndEachOnce feeds a stopwatch by hand.
func TestOnlyHealthyMessagesCountAndEachOnce(t *testing.T) {
	l := load{total: 100, failing: 10}
	w := newStopwatch(l, 20)
	for range 2 {
		for i := range l.total {
			if err := w.handle(body(i, time.Now().Add(-time.Second), nil)); l.fails(i) != errors.Is(err, errFailing) {
				t.Fatalf("message %d: %v", i, err)
			}
		}
	}
	counted := 0
	for i := 20; i < l.total; i++ {
		if !l.fails(i) {
			counted++
		}
	}
	if len(w.waits) != counted || slices.Min(w.waits) < time.Second {
		t.Errorf("%d waits, at least %v; want %d of a second and more", len(w.waits), slices.Min(w.waits), counted)
	}
	select {
	case <-w.all:
	default:
		t.Error("it does not know that all have come")
	}
}

package breaker_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/breaker"
)

// reference is a breaker as one would write it down: everything is kept, and
// counted anew each time.
type reference struct {
	config     breaker.Config
	state      breaker.State
	since      time.Time
	generation uint64
	openings   uint64
	level      int
	due        time.Time
	streak     int
	results    []result
	out        []outstanding
	successes  int
}

type result struct {
	step    int64
	outcome breaker.Outcome
}

type outstanding struct {
	id       int
	deadline time.Time
}

// held is a permit that the breaker gave, with what the reference knows of it.
type held struct {
	id         int
	permit     breaker.Permit
	generation uint64
	probe      bool
	reported   bool
}

func (r *reference) change(now time.Time, s breaker.State) {
	r.state, r.since = s, now
	r.generation++
	r.streak, r.results, r.out, r.successes = 0, nil, nil, 0
}

func (r *reference) open(now time.Time) {
	r.change(now, breaker.Open)
	r.openings++
	r.level++
}

func (r *reference) expire(now time.Time) {
	r.out = slices.DeleteFunc(r.out, func(o outstanding) bool { return !now.Before(o.deadline) })
}

func (r *reference) step(now time.Time) int64 {
	return int64(now.Sub(r.since) / (r.config.Window / 10))
}

func (r *reference) counts(now time.Time) (successes, failures int) {
	for _, result := range r.results {
		if result.step <= r.step(now)-10 {
			continue
		}
		if result.outcome == breaker.Failure {
			failures++
		} else {
			successes++
		}
	}
	return successes, failures
}

func (r *reference) allow(now time.Time, id int) (admitted, probe bool) {
	switch {
	case r.state == breaker.Closed:
		return true, false
	case r.state == breaker.Open && now.Before(r.due):
		return false, false
	case r.state == breaker.Open:
		r.change(now, breaker.HalfOpen)
	}
	r.expire(now)
	if len(r.out) == r.config.Probes {
		return false, true
	}
	r.out = append(r.out, outstanding{id, now.Add(r.config.ProbeTimeout)})
	return true, true
}

// report returns whether the breaker opened.
func (r *reference) report(now time.Time, h *held, o breaker.Outcome) bool {
	if h.reported || h.generation != r.generation {
		return false
	}
	h.reported = true
	if h.probe {
		r.expire(now)
		i := slices.IndexFunc(r.out, func(o outstanding) bool { return o.id == h.id })
		if i < 0 {
			return false
		}
		r.out = slices.Delete(r.out, i, i+1)
		if o == breaker.Success {
			if r.successes++; r.successes == r.config.Successes {
				r.level = 0
				r.change(now, breaker.Closed)
			}
		}
		if o == breaker.Failure {
			r.open(now)
		}
		return o == breaker.Failure
	}
	if o == breaker.Ignored {
		return false
	}
	r.results = append(r.results, result{r.step(now), o})
	r.streak++
	if o == breaker.Success {
		r.streak = 0
		return false
	}
	successes, failures := r.counts(now)
	tooMany := r.config.Consecutive > 0 && r.streak >= r.config.Consecutive
	tooOften := r.config.FailureRate > 0 && successes+failures >= r.config.MinVolume &&
		float64(failures)/float64(successes+failures) >= r.config.FailureRate
	if tooMany || tooOften {
		r.open(now)
		return true
	}
	return false
}

// recovery returns the shortest and the longest time for which the breaker may
// stay open now.
func (r *reference) recovery() (shortest, longest time.Duration) {
	longest = r.config.Recovery
	for range r.level - 1 {
		longest = min(longest*time.Duration(r.config.Multiplier), r.config.RecoveryMax)
	}
	return longest - time.Duration(float64(longest)*max(r.config.Jitter, 0)), longest
}

func (r *reference) next(now time.Time) time.Time {
	r = &reference{config: r.config, state: r.state, due: r.due, out: slices.Clone(r.out)}
	r.expire(now)
	switch {
	case r.state == breaker.Open && r.due.After(now):
		return r.due
	case r.state == breaker.HalfOpen && len(r.out) == r.config.Probes:
		return slices.MinFunc(r.out, func(a, b outstanding) int { return a.deadline.Compare(b.deadline) }).deadline
	}
	return now
}

func drawConfig(t *rapid.T) breaker.Config {
	return breaker.Config{
		Consecutive:  rapid.SampledFrom([]int{0, -1, 1, 2, 5}).Draw(t, "consecutive"),
		FailureRate:  rapid.SampledFrom([]float64{0, -1, 0.25, 0.5, 0.75, 1}).Draw(t, "failureRate"),
		Window:       rapid.SampledFrom([]time.Duration{0, time.Second, 13 * time.Second}).Draw(t, "window"),
		MinVolume:    rapid.SampledFrom([]int{0, 1, 4, 10}).Draw(t, "minVolume"),
		Successes:    rapid.IntRange(0, 4).Draw(t, "successes"),
		Probes:       rapid.IntRange(0, 4).Draw(t, "probes"),
		ProbeTimeout: rapid.SampledFrom([]time.Duration{0, time.Second, 3 * time.Second}).Draw(t, "probeTimeout"),
		Recovery:     rapid.SampledFrom([]time.Duration{0, time.Second, 5 * time.Second}).Draw(t, "recovery"),
		RecoveryMax:  rapid.SampledFrom([]time.Duration{0, 5 * time.Second, time.Minute}).Draw(t, "recoveryMax"),
		Multiplier:   rapid.SampledFrom([]float64{0, 1, 3}).Draw(t, "multiplier"),
		Jitter:       rapid.SampledFrom([]float64{0, -1, 0.1, 1}).Draw(t, "jitter"),
	}
}

// machine runs a breaker beside the reference.
type machine struct {
	breaker *breaker.Breaker
	model   *reference
	now     time.Time
	permits []*held
	opened  map[string]int // what the sequences reached, for the test of the test
}

func TestModel(t *testing.T) {
	reached := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		config := drawConfig(t)
		b, err := breaker.New(config, rapid.Uint64().Draw(t, "seed"))
		if err != nil {
			t.Fatal(err)
		}
		m := &machine{breaker: b, model: &reference{config: config.WithDefaults(), since: start}, now: start, opened: reached}
		// The first report sets the beginning of the first step of the window.
		m.call(t, breaker.Success)
		call := func(o breaker.Outcome) func(*rapid.T) { return func(t *rapid.T) { m.call(t, o) } }
		report := func(o breaker.Outcome) func(*rapid.T) { return func(t *rapid.T) { m.report(t, o) } }
		t.Repeat(map[string]func(*rapid.T){
			"allow":         func(t *rapid.T) { m.allow(t) },
			"call ok":       call(breaker.Success),
			"call ok 2":     call(breaker.Success),
			"call failed":   call(breaker.Failure),
			"call failed 2": call(breaker.Failure),
			"call failed 3": call(breaker.Failure),
			"call ignored":  call(breaker.Ignored),
			"ok":            report(breaker.Success),
			"failed":        report(breaker.Failure),
			"ignored":       report(breaker.Ignored),
			"advance":       m.advance,
			"wait for next": func(*rapid.T) { m.now = m.model.next(m.now) },
			"trip":          m.trip,
			"":              m.check,
		})
	})
	// Sequences that never get anywhere prove nothing.
	for _, what := range []string{"opened", "closed", "reopened", "stale", "twice", "expired", "tripped"} {
		if reached[what] < 20 {
			t.Errorf("the sequences reached %q only %d times, want at least 20", what, reached[what])
		}
	}
	t.Log(reached)
}

func (m *machine) allow(t *rapid.T) *held {
	id := len(m.permits)
	admitted, probe := m.model.allow(m.now, id)
	permit, err := m.breaker.Allow(m.now)
	if (err == nil) != admitted {
		t.Fatalf("admitted: %v, want %v", err == nil, admitted)
	}
	if !admitted {
		var refusal *breaker.OpenError
		if !errors.As(err, &refusal) || !errors.Is(err, breaker.ErrOpen) {
			t.Fatalf("refused with %v, want an *OpenError", err)
		}
		if want := m.model.next(m.now); !refusal.Until.Equal(want) {
			t.Fatalf("refused until %v, want %v", refusal.Until, want)
		}
		return nil
	}
	if permit.Probe() != probe {
		t.Fatalf("probe: %v, want %v", permit.Probe(), probe)
	}
	h := &held{id: id, permit: permit, generation: m.model.generation, probe: probe}
	m.permits = append(m.permits, h)
	return h
}

func (m *machine) call(t *rapid.T, o breaker.Outcome) {
	if h := m.allow(t); h != nil {
		m.end(t, h, o)
	}
}

// report ends some call that was allowed before, however late and however often.
func (m *machine) report(t *rapid.T, o breaker.Outcome) {
	ago := rapid.IntRange(0, min(len(m.permits)-1, 20)).Draw(t, "ago")
	h := m.permits[len(m.permits)-1-ago]
	m.note("stale", h.generation != m.model.generation)
	m.note("twice", h.generation == m.model.generation && h.reported)
	m.end(t, h, o)
}

func (m *machine) end(t *rapid.T, h *held, o breaker.Outcome) {
	before := *m.model
	opened := m.model.report(m.now, h, o)
	m.breaker.Report(m.now, h.permit, o)
	m.note("opened", opened)
	m.note("reopened", opened && before.state == breaker.HalfOpen)
	m.note("closed", before.state != breaker.Closed && m.model.state == breaker.Closed)
	if opened {
		m.adopt(t, time.Time{})
	}
}

func (m *machine) trip(t *rapid.T) {
	until := m.now.Add(time.Duration(rapid.IntRange(-5000, 20000).Draw(t, "until")) * time.Millisecond)
	m.note("tripped", true)
	m.breaker.Trip(m.now, until)
	if m.model.state == breaker.Open {
		if until.After(m.model.due) {
			m.model.due = until
		}
		return
	}
	m.model.open(m.now)
	m.adopt(t, until)
}

// adopt takes the drawn recovery time over from the breaker, after a look at its
// limits.
func (m *machine) adopt(t *rapid.T, least time.Time) {
	due := m.breaker.Snapshot(m.now).ProbeDueAt
	shortest, longest := m.model.recovery()
	if due.Before(m.now.Add(shortest)) || due.Before(least) {
		t.Fatalf("open for %v, want at least %v, and until %v", due.Sub(m.now), shortest, least)
	}
	if due.After(m.now.Add(longest)) && !due.Equal(least) {
		t.Fatalf("open for %v, want at most %v", due.Sub(m.now), longest)
	}
	m.model.due = due
}

func (m *machine) advance(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.SampledFrom([]int{1, 50, 300, 999, 1000, 2500, 10000, 60000}).Draw(t, "ms")) * time.Millisecond)
	before := len(m.model.out)
	m.model.expire(m.now)
	m.note("expired", len(m.model.out) < before)
}

func (m *machine) note(what string, reached bool) {
	if reached {
		m.opened[what]++
	}
}

func (m *machine) check(t *rapid.T) {
	r := m.model
	r.expire(m.now)
	want := breaker.Snapshot{
		State: r.state, Since: r.since, Generation: r.generation, Openings: r.openings,
		ConsecutiveFailures: r.streak, ProbesOut: len(r.out), ProbeSuccesses: r.successes,
	}
	want.WindowSuccesses, want.WindowFailures = r.counts(m.now)
	switch r.state {
	case breaker.Open:
		want.ProbeDueAt = r.due
	case breaker.HalfOpen:
		want.ProbeDueAt = r.next(m.now)
	case breaker.Closed:
	}
	if diff := cmp.Diff(want, m.breaker.Snapshot(m.now)); diff != "" {
		t.Fatalf("snapshot (-want +got)\n%s", diff)
	}
	if got := m.breaker.State(m.now.Add(math.MaxInt32)); got != r.state {
		t.Fatalf("state is %v, want %v", got, r.state)
	}
	if got := m.breaker.Next(m.now); !got.Equal(r.next(m.now)) {
		t.Fatalf("next is %v, want %v", got, r.next(m.now))
	}
}

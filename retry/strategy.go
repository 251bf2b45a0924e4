package retry

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Rand is the source of chance. *rand.Rand of math/rand/v2 is one. It is called
// by one goroutine at a time per call of Delay; a caller that shares one between
// goroutines guards it.
type Rand interface {
	// Int64N returns a number in [0, n), each equally likely. n is positive.
	Int64N(n int64) int64
	// Float64 returns a number in [0, 1), each equally likely.
	Float64() float64
}

// The defaults of a Strategy.
const (
	DefaultBase       = 100 * time.Millisecond
	DefaultMax        = 30 * time.Second
	DefaultMultiplier = 2.0
)

// Strategy is a formula for delays. The zero value is exponential backoff from
// 100 ms to 30 s with full jitter.
type Strategy struct {
	// Backoff is how delays grow. Default: Exponential.
	Backoff Backoff
	// Jitter is how chance is applied. Default: Full.
	Jitter Jitter
	// Base is the delay of the formula after the first failed attempt.
	// Default: 100 ms.
	Base time.Duration
	// Max is the longest delay, jitter included. Default: 30 s, or Base where that
	// is longer.
	Max time.Duration
	// Multiplier is the growth per attempt of Exponential, at least 1.
	// Default: 2.
	Multiplier float64
}

// WithDefaults returns a copy with the defaults in place of zero fields.
func (s Strategy) WithDefaults() Strategy {
	if s.Base == 0 {
		s.Base = DefaultBase
	}
	if s.Max == 0 {
		s.Max = max(DefaultMax, s.Base)
	}
	if s.Multiplier == 0 {
		s.Multiplier = DefaultMultiplier
	}
	return s
}

// Validate returns every problem, joined, each naming the field. Zero fields are
// no problem: they mean the default.
func (s Strategy) Validate() error {
	return errors.Join(s.problems("retry: ")...)
}

func (s Strategy) problems(prefix string) []error {
	s = s.WithDefaults()
	var found []error
	add := func(field, format string, args ...any) {
		found = append(found, fmt.Errorf("%s%s %s", prefix, field, fmt.Sprintf(format, args...)))
	}
	if int(s.Backoff) >= len(backoffNames) {
		add("Backoff", "is %d, which is no backoff", uint8(s.Backoff))
	}
	if int(s.Jitter) >= len(jitterNames) {
		add("Jitter", "is %d, which is no jitter", uint8(s.Jitter))
	}
	if s.Base < 0 {
		add("Base", "is %v; give a positive duration, or the backoff %q to retry at once", s.Base, Immediate)
	}
	if s.Max < 0 {
		add("Max", "is %v; give a positive duration", s.Max)
	} else if s.Base > s.Max {
		add("Max", "is %v, less than Base, which is %v; raise Max or lower Base", s.Max, s.Base)
	}
	if !(s.Multiplier >= 1) || math.IsInf(s.Multiplier, 1) {
		add("Multiplier", "is %v; give a number of at least 1", s.Multiplier)
	}
	return found
}

// Delay returns the wait after a failed attempt, in [0, Max].
//
// attempt is the number of the attempt that failed, from 1; lower numbers count
// as 1. previous is the delay that Delay returned before for this message, zero
// if there was none; only Decorrelated looks at it. With a nil r the value of the
// formula is returned without jitter, which is what a schedule for people shows.
//
// Zero fields mean the default. An invalid strategy gives some delay in
// [0, Max]; a negative Max counts as zero.
func (s Strategy) Delay(attempt int, previous time.Duration, r Rand) time.Duration {
	s = s.WithDefaults()
	if s.Base < 0 || s.Max < 0 {
		return 0
	}
	v := s.formula(max(attempt, 1))
	if v == 0 || r == nil {
		return v
	}
	switch s.Jitter {
	case NoJitter:
		return v
	case Equal:
		return uniform(r, v/2, v)
	case Decorrelated:
		// What the caller passes as previous can be larger than Max: a Retry-After, or
		// the delay of another tier.
		previous = max(min(previous, s.Max), s.Base)
		return min(uniform(r, s.Base, triple(previous)), s.Max)
	case Random:
		return capped(float64(v)*(0.5+r.Float64()), s.Max)
	case Full:
	}
	return uniform(r, 0, v)
}

// formula returns the delay before jitter, in [0, Max].
func (s Strategy) formula(attempt int) time.Duration {
	switch s.Backoff {
	case Immediate:
		return 0
	case Fixed:
		return min(s.Base, s.Max)
	case Linear:
		if int64(attempt) > int64(s.Max/s.Base) {
			return s.Max
		}
		return s.Base * time.Duration(attempt)
	case Exponential:
	}
	return capped(float64(s.Base)*math.Pow(s.Multiplier, float64(attempt-1)), s.Max)
}

// capped converts a number of nanoseconds. The comparison is negated so that an
// infinity, or the NaN of an invalid multiplier, ends at the longest and not in an
// undefined conversion.
func capped(v float64, longest time.Duration) time.Duration {
	if !(v < float64(longest)) {
		return longest
	}
	return max(time.Duration(v), 0)
}

// uniform draws from [low, high], both included; low if the range is empty.
func uniform(r Rand, low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	n := int64(high - low)
	if n < math.MaxInt64 {
		n++
	}
	return low + time.Duration(r.Int64N(n))
}

func triple(d time.Duration) time.Duration {
	if d > math.MaxInt64/3 {
		return math.MaxInt64
	}
	return 3 * d
}

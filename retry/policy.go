package retry

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redrive-dev/redrive/failure"
)

// The defaults of a Policy.
const (
	DefaultAttempts      = 5
	DefaultRetryAfterMax = time.Hour
	DefaultMaxAge        = 24 * time.Hour
)

// Policy says how often and when a message is tried again. The zero value is five
// attempts with the zero Strategy.
type Policy struct {
	// Attempts is how many attempts a message has, the first one included.
	// Default: 5.
	Attempts int
	// Strategy gives the delay where no tier matches.
	Strategy Strategy
	// Tiers give another strategy for some attempts or one category. The first
	// match wins. Default: none.
	Tiers []Tier
	// RetryAfterMax is the longest delay that a handler or its downstream may ask
	// for; a longer one is cut to it. Default: 1 h.
	RetryAfterMax time.Duration
	// MaxAge bounds how long a message may wait for its downstream in all, counted
	// attempts or not. Default: 24 h.
	MaxAge time.Duration
}

// Tier is a strategy for a range of attempts, a category, or both. It takes
// nothing over from Policy.Strategy: its own zero fields mean the defaults.
type Tier struct {
	// From is the first failed attempt that the tier is for. Default: 1.
	From int
	// To is the last one, itself included; zero means that there is no end.
	To int
	// Category restricts the tier; failure.None means any.
	Category failure.Category
	// Strategy gives the delays.
	Strategy Strategy
}

// WithDefaults returns a copy with the defaults in place of zero fields, those of
// the strategies included. The copy shares nothing with p.
func (p Policy) WithDefaults() Policy {
	if p.Attempts == 0 {
		p.Attempts = DefaultAttempts
	}
	if p.RetryAfterMax == 0 {
		p.RetryAfterMax = DefaultRetryAfterMax
	}
	if p.MaxAge == 0 {
		p.MaxAge = DefaultMaxAge
	}
	p.Strategy = p.Strategy.WithDefaults()
	p.Tiers = slices.Clone(p.Tiers)
	for i := range p.Tiers {
		p.Tiers[i].From = p.Tiers[i].first()
		p.Tiers[i].Strategy = p.Tiers[i].Strategy.WithDefaults()
	}
	return p
}

// Validate returns every problem, joined, each naming the field. Zero fields are
// no problem: they mean the default. A tier that can never match, because one
// before it takes all that it would take, is a problem.
func (p Policy) Validate() error {
	p = p.WithDefaults()
	var found []error
	if p.Attempts < 0 {
		found = append(found, fmt.Errorf("retry: Attempts is %d; give at least 1, which means no retry", p.Attempts))
	}
	if p.RetryAfterMax < 0 {
		found = append(found, fmt.Errorf("retry: RetryAfterMax is %v; give a positive duration", p.RetryAfterMax))
	}
	if p.MaxAge < 0 {
		found = append(found, fmt.Errorf("retry: MaxAge is %v; give a positive duration", p.MaxAge))
	}
	found = append(found, p.Strategy.problems("retry: Strategy.")...)
	for i, t := range p.Tiers {
		name := fmt.Sprintf("retry: Tiers[%d]", i)
		if t.From < 0 {
			found = append(found, fmt.Errorf("%s.From is %d; attempts count from 1", name, t.From))
		}
		if t.To < 0 || t.To != 0 && t.To < t.From {
			found = append(found, fmt.Errorf("%s.To is %d; give at least From, which is %d, or 0 for no end", name, t.To, t.From))
		}
		if earlier := slices.IndexFunc(p.Tiers[:i], func(e Tier) bool { return e.covers(t) }); earlier >= 0 {
			found = append(found, fmt.Errorf("%s can never match: Tiers[%d] takes all of its attempts; put the narrower tier first", name, earlier))
		}
		found = append(found, t.Strategy.problems(name+".Strategy.")...)
	}
	return errors.Join(found...)
}

// Delay returns the wait after a failed attempt.
//
// A positive asked, the RetryAfter of the failure, wins: the result is asked, cut
// to RetryAfterMax, without jitter. Otherwise the strategy of the first matching
// tier decides, else Strategy; see [Strategy.Delay] for the other arguments.
//
// Delay does not look at Attempts or MaxAge: whether there is another attempt is
// the caller's decision.
func (p Policy) Delay(attempt int, c failure.Category, previous, asked time.Duration, r Rand) time.Duration {
	if asked > 0 {
		limit := p.RetryAfterMax
		if limit == 0 {
			limit = DefaultRetryAfterMax
		}
		return min(asked, max(limit, 0))
	}
	attempt = max(attempt, 1)
	for i := range p.Tiers {
		if p.Tiers[i].matches(attempt, c) {
			return p.Tiers[i].Strategy.Delay(attempt, previous, r)
		}
	}
	return p.Strategy.Delay(attempt, previous, r)
}

func (t *Tier) first() int {
	if t.From == 0 {
		return 1
	}
	return t.From
}

func (t *Tier) matches(attempt int, c failure.Category) bool {
	return attempt >= t.first() && (t.To == 0 || attempt <= t.To) && (t.Category == failure.None || t.Category == c)
}

// covers reports whether everything that other matches is matched by t as well.
func (t *Tier) covers(other Tier) bool {
	if t.Category != failure.None && t.Category != other.Category {
		return false
	}
	return t.first() <= other.first() && (t.To == 0 || other.To != 0 && other.To <= t.To)
}

package retry

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// The defaults and limits of a BudgetConfig.
const (
	DefaultRatio = 0.2
	DefaultFloor = 10.0
	// MinFloor, MaxFloor, MaxRatio and MaxBurst limit what Validate takes.
	MinFloor = 0.001
	MaxFloor = 1e6
	MaxRatio = 100.0
	MaxBurst = 1e6

	// burstSeconds is how long unused tokens of the floor are kept: the ten seconds
	// that tokens live in Finagle's budget.
	burstSeconds = 10
	// clockSlack is how much earlier than a previous one a time may be and still
	// count as the race of two goroutines, and not as a clock that was set back.
	clockSlack = time.Second
)

// BudgetConfig sets the rate of retries: Floor per second, and Ratio for each
// first attempt. The defaults are those of Finagle and Linkerd.
//
// A ratio protects a downstream only if it is not larger than
// (capacity − offered load) / offered load.
type BudgetConfig struct {
	// Ratio is the number of tokens that a first attempt deposits. A negative ratio
	// turns the budget off: retries are unlimited. Default: 0.2.
	Ratio float64
	// Floor is the number of tokens per second that come in by themselves, so that a
	// subscription with little traffic can retry at all. Default: 10.
	Floor float64
	// Burst is the largest number of tokens that are kept, at least 1; a new budget
	// holds as many. Default: 10 seconds of Floor.
	Burst float64
}

// WithDefaults returns a copy with the defaults in place of zero fields.
func (c BudgetConfig) WithDefaults() BudgetConfig {
	if c.Ratio == 0 {
		c.Ratio = DefaultRatio
	}
	if c.Floor == 0 {
		c.Floor = DefaultFloor
	}
	if c.Burst == 0 {
		c.Burst = min(max(burstSeconds*c.Floor, 1), MaxBurst)
	}
	return c
}

// Validate returns every problem, joined, each naming the field. Zero fields are
// no problem: they mean the default.
func (c BudgetConfig) Validate() error {
	c = c.WithDefaults()
	var found []error
	if !(c.Ratio <= MaxRatio) {
		found = append(found, fmt.Errorf("retry: Ratio is %v; give a number such as 0.2, at most %v, or a negative one for no limit", c.Ratio, MaxRatio))
	}
	if !(c.Floor >= MinFloor && c.Floor <= MaxFloor) {
		found = append(found, fmt.Errorf("retry: Floor is %v; give a number of retries per second from %v to %v", c.Floor, MinFloor, MaxFloor))
	}
	if !(c.Burst >= 1 && c.Burst <= MaxBurst) {
		found = append(found, fmt.Errorf("retry: Burst is %v; give a number of retries from 1 to %v", c.Burst, MaxBurst))
	}
	return errors.Join(found...)
}

// Budget limits how many retries a process adds to the load of one downstream: a
// token bucket from which every retry takes one token, from the future where
// there is none now.
//
// Up to any time t, at most Burst + Floor·t + Ratio·(first attempts) of the
// retries have become due, if each waits as long as Reserve says. Waits for the
// future count on Floor alone, the part of the income that does not depend on
// further traffic.
//
// A Budget is safe for concurrent use. It has no clock; the times that it is
// given should come from one, and carry its monotonic reading. A nil *Budget
// limits nothing.
type Budget struct {
	off     bool
	token   time.Duration // in which Floor brings in one token
	deposit time.Duration // what a first attempt brings in
	depth   time.Duration // what the full bucket is worth

	mu sync.Mutex
	// empty is when the bucket holds, or held, exactly nothing: each token in it
	// puts that moment one token into the past, each one owed into the future. One
	// point on the time line is the whole state, and refilling is the passing of time.
	empty time.Time
	last  time.Time
}

// NewBudget returns a full budget. The error is that of Validate.
func NewBudget(c BudgetConfig) (*Budget, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	// The limits of Validate keep all of these far below the longest Duration.
	token := float64(time.Second) / c.Floor
	return &Budget{
		off:     c.Ratio < 0,
		token:   time.Duration(math.Ceil(token)),
		deposit: time.Duration(token * max(c.Ratio, 0)),
		depth:   time.Duration(token * c.Burst),
	}, nil
}

// Attempt records the first attempt of a message, which deposits Ratio tokens.
func (b *Budget) Attempt(now time.Time) {
	if b == nil || b.off {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	b.empty = b.empty.Add(-b.deposit)
}

// Reserve takes one token and returns how long to wait until it exists, zero if
// it is there. It never refuses; a reservation cannot be given back. Reservations
// made at one time wait longer one by one, at the rate of Floor.
func (b *Budget) Reserve(now time.Time) (wait time.Duration) {
	if b == nil || b.off {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	b.empty = b.empty.Add(b.token)
	return max(b.empty.Sub(now), 0)
}

// Level returns the number of tokens: what is left, or, if negative, what has
// been taken from the future. An unlimited budget has +Inf. It changes nothing.
func (b *Budget) Level(now time.Time) float64 {
	if b == nil || b.off {
		return math.Inf(1)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.depth
	if !b.last.IsZero() {
		left = min(now.Sub(b.empty), b.depth)
	}
	return float64(left) / float64(b.token)
}

// advance takes notice of the time. A clock that was set back moves the whole
// account with it, so that nobody waits for the difference.
func (b *Budget) advance(now time.Time) {
	switch back := b.last.Sub(now); {
	case b.last.IsZero():
		b.empty = now.Add(-b.depth)
		b.last = now
	case back > clockSlack:
		b.empty = b.empty.Add(-back)
		b.last = now
	case back < 0:
		b.last = now
	}
	// What does not fit into the bucket is spilt.
	if full := now.Add(-b.depth); b.empty.Before(full) {
		b.empty = full
	}
}

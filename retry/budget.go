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
	DefaultLife  = 10 * time.Second
	// MinFloor, MaxFloor, MaxRatio, MaxBurst, MinLife and MaxLife limit what Validate
	// takes.
	MinFloor = 0.001
	MaxFloor = 1e6
	MaxRatio = 100.0
	MaxBurst = 1e6
	MinLife  = time.Second
	MaxLife  = time.Hour

	// burstSeconds is how long unused tokens of the floor are kept: the ten seconds
	// that tokens live in Finagle's budget.
	burstSeconds = 10
	// slots is into how many parts the life of a deposit is divided, as in Finagle. A
	// token lives for Life less the time by which its part began earlier.
	slots = 10
	// oneToken is the unit in which deposits are counted, fine enough for any ratio.
	oneToken = 1_000_000_000
	// maxDeposits keeps the account of a process that runs at any speed far from the
	// end of its integers.
	maxDeposits = 1_000_000_000 * oneToken
	// clockSlack is how much earlier than a previous one a time may be and still
	// count as the race of two goroutines, and not as a clock that was set back.
	clockSlack = time.Second
)

// BudgetConfig sets the rate of retries: Floor per second, and Ratio for each
// first attempt of the last Life. The defaults are those of Finagle and Linkerd.
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
	// Burst is the largest number of tokens of Floor that are kept, at least 1; a new
	// budget holds as many. Default: 10 seconds of Floor.
	Burst float64
	// Life is how long the tokens of a first attempt can be used, from 1 s to 1 h. It
	// should be longer than most messages wait for their retry: a backlog that has
	// been worked off leaves its retries behind, and they find the tokens that its own
	// first attempts paid for only as long as these live. Default: 10 s.
	Life time.Duration
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
	if c.Life == 0 {
		c.Life = DefaultLife
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
	if c.Life < MinLife || c.Life > MaxLife {
		found = append(found, fmt.Errorf("retry: Life is %v; give a time from %v to %v", c.Life, MinLife, MaxLife))
	}
	return errors.Join(found...)
}

// Budget limits how many retries a process adds to the load of one downstream.
// Every retry takes one token: the oldest that first attempts deposited, as long as
// those live, else one of Floor, from the future where there is none now.
//
// For any times s and t, of the retries that become due between them, if each waits
// as long as Reserve says, there are at most
//
//	Ratio·(first attempts from s − Life to t) + Floor·(t − s) + Burst.
//
// Waits for the future count on Floor alone, the part of the income that does not
// depend on further traffic.
//
// A Budget is safe for concurrent use and allocates nothing. It has no clock; the
// times that it is given should come from one, and carry its monotonic reading. A
// nil *Budget limits nothing.
type Budget struct {
	off     bool
	token   time.Duration // in which Floor brings in one token
	depth   time.Duration // what the full bucket of Floor is worth
	deposit int64         // what a first attempt brings in, in parts of oneToken
	slot    time.Duration // a part of Life

	mu   sync.Mutex
	last time.Time
	// empty is when the bucket of Floor holds, or held, exactly nothing: each token in
	// it puts that moment one token into the past, each one owed into the future. One
	// point on the time line is its whole state, and refilling is the passing of time.
	empty time.Time
	// deposits is what is left of the first attempts of each part of Life, in a ring,
	// and held their sum. Part number n began n slots after origin; newest is the
	// number of the last one.
	deposits [slots]int64
	held     int64
	origin   time.Time
	newest   int64
}

// NewBudget returns a budget with a full bucket of Floor and no deposits. The error
// is that of Validate.
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
		depth:   time.Duration(token * c.Burst),
		deposit: int64(math.Round(oneToken * max(c.Ratio, 0))),
		slot:    c.Life / slots,
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
	b.pay(b.deposit)
}

func (b *Budget) pay(parts int64) {
	parts = min(parts, maxDeposits-b.held)
	b.deposits[b.newest%slots] += parts
	b.held += parts
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
	if b.held >= oneToken {
		b.withdraw()
		return 0
	}
	b.empty = b.empty.Add(b.token)
	return max(b.empty.Sub(now), 0)
}

// withdraw takes one token of those that would be lost first.
func (b *Budget) withdraw() {
	b.held -= oneToken
	left := int64(oneToken)
	for i := int64(1); left > 0; i++ {
		d := &b.deposits[(b.newest+i)%slots] // The oldest part comes after the newest.
		paid := min(*d, left)
		*d -= paid
		left -= paid
	}
}

// Level returns the number of tokens: the deposits that live and what is left of
// Floor, or, if no token is left of the deposits, what has been taken from the
// future of Floor, negative. At 1 and more the next Reserve returns zero. An
// unlimited budget has +Inf. It takes nothing.
func (b *Budget) Level(now time.Time) float64 {
	if b == nil || b.off {
		return math.Inf(1)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	floor := float64(b.last.Sub(b.empty)) / float64(b.token)
	if b.held >= oneToken {
		floor = max(floor, 0)
		return float64(b.held)/oneToken + floor
	}
	return floor
}

// advance takes notice of the time. A clock that was set back moves the whole
// account with it, so that nobody waits for the difference.
func (b *Budget) advance(now time.Time) {
	switch back := b.last.Sub(now); {
	case b.last.IsZero():
		b.empty = now.Add(-b.depth)
		b.origin, b.last = now, now
	case back > clockSlack:
		b.empty = b.empty.Add(-back)
		b.origin = b.origin.Add(-back)
		b.last = now
	case back < 0:
		b.last = now
	}
	// What does not fit into the bucket is spilt.
	if full := now.Add(-b.depth); b.empty.Before(full) {
		b.empty = full
	}
	if now.Sub(b.origin) >= time.Duration(b.newest+1)*b.slot {
		b.expire(now)
	}
}

// expire begins a new part of Life, and forgets the deposits of those that are over.
func (b *Budget) expire(now time.Time) {
	part := int64(now.Sub(b.origin) / b.slot)
	for range min(part-b.newest, slots) {
		b.newest++
		d := &b.deposits[b.newest%slots]
		b.held -= *d
		*d = 0
	}
	b.newest = part
}

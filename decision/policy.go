package decision

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/poison"
	"github.com/redrive-dev/redrive/retry"
)

// Policy is everything that may be chosen about the failures of one
// subscription. The zero value means the defaults.
type Policy struct {
	// Retry says how often and how late a transient failure is tried again.
	Retry retry.Policy
	// Budget bounds the retries of the subscription in this process.
	Budget retry.BudgetConfig
	// Breaker says when the subscription stops taking messages.
	Breaker breaker.Config
	// Poison says when a message is quarantined.
	Poison poison.Config
	// HoldMax is the longest time that a message is held unsettled before it is
	// given back. It is cut to what the broker allows. Default: 10 min.
	HoldMax time.Duration
	// HandlerTimeout is the time that a handler has. Default: 30 s.
	HandlerTimeout time.Duration
	// HandlerGrace is how long after its timeout a handler may still return before
	// its goroutine counts as stuck. Default: 30 s.
	HandlerGrace time.Duration
	// LoneHold is how long a message whose attempts are used up may go on waiting
	// for another one to succeed while no other fails. Default: 15 min.
	LoneHold time.Duration
}

// WithDefaults returns a copy with the defaults filled in.
func (p Policy) WithDefaults() Policy {
	p.Retry = p.Retry.WithDefaults()
	p.Budget = p.Budget.WithDefaults()
	p.Breaker = p.Breaker.WithDefaults()
	p.Poison = p.Poison.WithDefaults()
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&p.HoldMax, 10*time.Minute)
	def(&p.HandlerTimeout, 30*time.Second)
	def(&p.HandlerGrace, 30*time.Second)
	def(&p.LoneHold, 15*time.Minute)
	return p
}

// Validate reports every setting that is out of range, joined.
func (p Policy) Validate() error {
	p = p.WithDefaults()
	errs := []error{p.Retry.Validate(), p.Budget.Validate(), p.Breaker.Validate(), p.Poison.Validate()}
	positive := func(field string, d time.Duration) {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("policy: %s must be more than 0, got %s", field, d))
		}
	}
	positive("HoldMax", p.HoldMax)
	positive("HandlerTimeout", p.HandlerTimeout)
	positive("HandlerGrace", p.HandlerGrace)
	positive("LoneHold", p.LoneHold)
	if p.Retry.MaxAge > 0 && p.LoneHold > p.Retry.MaxAge {
		errs = append(errs, fmt.Errorf("policy: LoneHold %s must not be longer than Retry.MaxAge %s", p.LoneHold, p.Retry.MaxAge))
	}
	return errors.Join(errs...)
}

// Digest returns the lower-case hexadecimal SHA-256 of the policy with its
// defaults filled in. Workers of one release with equal digests decide alike; a
// release that adds a setting changes all digests. Empty for a policy that
// Validate refuses because a number is none.
func (p Policy) Digest() string {
	raw, err := json.Marshal(p.WithDefaults()) //nolint:musttag // only the digest leaves: the names of the fields tell settings apart
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

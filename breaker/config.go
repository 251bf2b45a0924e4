package breaker

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// The defaults and limits of a Config.
const (
	DefaultConsecutive  = 5
	DefaultFailureRate  = 0.5
	DefaultWindow       = 10 * time.Second
	DefaultMinVolume    = 20
	DefaultSuccesses    = 2
	DefaultProbes       = 1
	DefaultProbeTimeout = time.Minute
	DefaultRecovery     = time.Second
	DefaultRecoveryMax  = 30 * time.Second
	DefaultMultiplier   = 2.0
	DefaultJitter       = 0.5

	// MinWindow and MaxProbes limit what Validate takes.
	MinWindow = 10 * time.Millisecond
	MaxProbes = 1000
)

// Config says when a breaker opens and closes. The zero value is right for most
// downstreams.
type Config struct {
	// Name is what the breaker guards, for errors. Default: none.
	Name string
	// Consecutive is the number of failures in a row that open the breaker. Negative
	// turns the rule off. Default: 5.
	Consecutive int
	// FailureRate is the share of failures, of all results within Window, that opens
	// the breaker. It is looked at when a failure is reported. Negative turns the rule
	// off. Default: 0.5.
	FailureRate float64
	// Window is how far back FailureRate looks, in ten steps: between nine tenths of
	// it and all of it. Default: 10 s.
	Window time.Duration
	// MinVolume is the number of results within Window below which FailureRate says
	// nothing. Default: 20.
	MinVolume int
	// Successes is the number of successful probes that close the breaker.
	// Default: 2.
	Successes int
	// Probes is the largest number of probes that are out at once, at most 1000.
	// Default: 1.
	Probes int
	// ProbeTimeout is how long the result of a probe may take. After it the permit is
	// taken back, and a result that still comes is ignored. It must be longer than
	// the slowest call. Default: 60 s.
	ProbeTimeout time.Duration
	// Recovery is how long the breaker stays open the first time. Default: 1 s.
	Recovery time.Duration
	// RecoveryMax is the longest time that it stays open, however many probes fail.
	// RecoveryMax equal to Recovery gives a fixed time. Default: 30 s, or Recovery
	// where that is longer.
	RecoveryMax time.Duration
	// Multiplier is how much longer the breaker stays open after each failed probe,
	// at least 1. Default: 2.
	Multiplier float64
	// Jitter is the share of a recovery time that is drawn at random: of a time v,
	// the breaker stays open for between (1−Jitter)·v and v, so that v is never
	// exceeded and many breakers do not probe at one moment. At most 1; negative
	// turns jitter off. Default: 0.5; off if Recovery and RecoveryMax are given and
	// equal, because who asks for a fixed time wants that time.
	Jitter float64
}

// WithDefaults returns a copy with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	if c.Jitter == 0 {
		c.Jitter = DefaultJitter
		if c.Recovery != 0 && c.Recovery == c.RecoveryMax {
			c.Jitter = -1
		}
	}
	c.Consecutive = or(c.Consecutive, DefaultConsecutive)
	c.FailureRate = or(c.FailureRate, DefaultFailureRate)
	c.Window = or(c.Window, DefaultWindow)
	c.MinVolume = or(c.MinVolume, DefaultMinVolume)
	c.Successes = or(c.Successes, DefaultSuccesses)
	c.Probes = or(c.Probes, DefaultProbes)
	c.ProbeTimeout = or(c.ProbeTimeout, DefaultProbeTimeout)
	c.Recovery = or(c.Recovery, DefaultRecovery)
	c.RecoveryMax = or(c.RecoveryMax, max(DefaultRecoveryMax, c.Recovery))
	c.Multiplier = or(c.Multiplier, DefaultMultiplier)
	return c
}

// Validate returns every problem, joined, each naming the field. Zero fields are
// no problem: they mean the default. With both rules turned off the breaker opens
// by Trip alone, which is allowed.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var found []error
	check := func(good bool, field string, value any, want string) {
		if !good {
			found = append(found, fmt.Errorf("breaker: %s is %v; %s", field, value, want))
		}
	}
	check(c.FailureRate <= 1, "FailureRate", c.FailureRate, "give a share over 0, at most 1, or a negative number to turn the rule off")
	check(c.Window >= MinWindow, "Window", c.Window, fmt.Sprintf("give at least %v", MinWindow))
	check(c.MinVolume >= 1, "MinVolume", c.MinVolume, "give at least 1")
	check(c.Successes >= 1, "Successes", c.Successes, "give at least 1")
	check(c.Probes >= 1 && c.Probes <= MaxProbes, "Probes", c.Probes, fmt.Sprintf("give a number from 1 to %d", MaxProbes))
	check(c.ProbeTimeout > 0, "ProbeTimeout", c.ProbeTimeout, "give a positive duration")
	check(c.Recovery > 0, "Recovery", c.Recovery, "give a positive duration")
	check(c.RecoveryMax >= c.Recovery, "RecoveryMax", c.RecoveryMax, fmt.Sprintf("give at least Recovery, which is %v", c.Recovery))
	check(c.Multiplier >= 1 && !math.IsInf(c.Multiplier, 1), "Multiplier", c.Multiplier, "give a number of at least 1")
	check(c.Jitter <= 1, "Jitter", c.Jitter, "give a share over 0, at most 1, or a negative number to turn it off")
	return errors.Join(found...)
}

// recovery returns the time v that the breaker stays open for the level-th time
// in a row, before jitter. level counts from 1.
func (c Config) recovery(level int) time.Duration {
	v := float64(c.Recovery) * math.Pow(c.Multiplier, float64(level-1))
	if v < float64(c.RecoveryMax) {
		return time.Duration(v)
	}
	return c.RecoveryMax
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

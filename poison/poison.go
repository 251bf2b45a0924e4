package poison

import (
	"errors"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
)

// Config are the thresholds. The zero value means the defaults.
type Config struct {
	// CrashThreshold is how many starts alone that never returned quarantine a
	// message. Default: 3.
	CrashThreshold int
	// Suspicion is how many unexplained earlier deliveries make a suspect.
	// Default: 2.
	Suspicion int
	// Threshold is how many failures with one signature speak against the
	// message. Default: 3.
	Threshold int
	// Ratio is the share of the other outcomes that must be successes, more than
	// 0 and at most 1. Default: 0.9.
	Ratio float64
	// MinVolume is how many other outcomes the ratio needs. Default: 20.
	MinVolume int
	// Window is how far back other outcomes count. Default: 60 s.
	Window time.Duration
}

// WithDefaults returns a copy with the defaults filled in.
func (c Config) WithDefaults() Config {
	if c.CrashThreshold == 0 {
		c.CrashThreshold = 3
	}
	if c.Suspicion == 0 {
		c.Suspicion = 2
	}
	if c.Threshold == 0 {
		c.Threshold = 3
	}
	if c.Ratio == 0 {
		c.Ratio = 0.9
	}
	if c.MinVolume == 0 {
		c.MinVolume = 20
	}
	if c.Window == 0 {
		c.Window = time.Minute
	}
	return c
}

// Validate reports every field that is out of range, joined.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	check := func(ok bool, field, want string, got any) {
		if !ok {
			errs = append(errs, fmt.Errorf("poison: %s must be %s, got %v", field, want, got))
		}
	}
	check(c.CrashThreshold >= 1, "CrashThreshold", "at least 1", c.CrashThreshold)
	check(c.Suspicion >= 1, "Suspicion", "at least 1", c.Suspicion)
	check(c.Threshold >= 1, "Threshold", "at least 1", c.Threshold)
	check(c.Ratio > 0 && c.Ratio <= 1, "Ratio", "more than 0 and at most 1", c.Ratio)
	check(c.MinVolume >= 1, "MinVolume", "at least 1", c.MinVolume)
	check(c.Window >= time.Second && c.Window <= time.Hour, "Window", "from 1s to 1h", c.Window)
	return errors.Join(errs...)
}

// Unexplained is the number of earlier deliveries of a stored copy that neither
// a recorded failure nor a recorded release explains. A failure moves the
// message to a new copy, so on one copy only releases explain deliveries.
func Unexplained(d broker.Deliveries) int {
	if d.Kind == broker.CountNone || d.Kind == broker.CountFlag {
		return 0
	}
	return max(0, d.Earlier-d.Mark.Explained)
}

// Suspect reports whether the message must run alone: it was delivered before
// without an explanation, or was started alone already.
func (c Config) Suspect(d broker.Deliveries) bool {
	return Unexplained(d) >= c.Suspicion || d.Mark.StartedAlone > 0
}

// CrashLoop reports whether the message was started alone often enough without
// ever coming back.
func (c Config) CrashLoop(d broker.Deliveries) bool {
	return d.Mark.StartedAlone >= c.CrashThreshold
}

// Same counts the failures in the history that have the signature, over all
// replays.
func Same(history []envelope.Attempt, signature string) int {
	if signature == "" {
		return 0
	}
	n := 0
	for i := range history {
		if history[i].Signature == signature {
			n++
		}
	}
	return n
}

// Peers are the outcomes of the other messages of a subscription in the window.
type Peers struct{ Succeeded, Total int }

// Healthy reports whether enough of enough other messages succeeded that a
// failure speaks against the message.
func (c Config) Healthy(p Peers) bool {
	return p.Total >= c.MinVolume && float64(p.Succeeded) >= c.Ratio*float64(p.Total)
}

// Reset returns the envelope of a message whose body was changed on purpose:
// identities and lineage stay, what the old body did is forgotten. The caller
// sets the new BodyDigest.
func Reset(e envelope.Envelope) envelope.Envelope {
	e.Attempts = nil
	e.Count, e.Uncounted = 0, 0
	e.FirstFailure, e.LastFailure, e.Exhausted = time.Time{}, time.Time{}, time.Time{}
	e.Category, e.Reason = 0, ""
	e.ErrorType, e.Message, e.Stack, e.Signature = "", "", "", ""
	return e
}

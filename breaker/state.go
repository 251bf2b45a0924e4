package breaker

import (
	"fmt"
	"time"
)

// State is what a breaker does with calls. The zero value is Closed.
type State uint8

const (
	// Closed lets every call through.
	Closed State = iota
	// Open lets none through.
	Open
	// HalfOpen lets single probes through.
	HalfOpen
)

var stateNames = [...]string{Closed: "closed", Open: "open", HalfOpen: "half-open"}

// String returns "closed", "open" or "half-open".
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It takes the names of String
// and refuses all others.
func (s *State) UnmarshalText(text []byte) error {
	for i, name := range stateNames {
		if name == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("unknown breaker state %q: want closed, open or half-open", text)
}

// Outcome is how a permitted call ended, as far as the downstream goes.
type Outcome uint8

const (
	// Success: the downstream did its part.
	Success Outcome = iota
	// Failure: the downstream is to blame.
	Failure
	// Ignored: the call says nothing about the downstream. The permit is given back.
	// Values that are no Outcome count as Ignored.
	Ignored
)

// String returns "success", "failure" or "ignored".
func (o Outcome) String() string {
	switch o {
	case Success:
		return "success"
	case Failure:
		return "failure"
	case Ignored:
		return "ignored"
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

// Permit allows one call. It is a value that may be copied; the first report of
// any of the copies counts. The zero Permit allows nothing and reporting it has no
// effect.
type Permit struct {
	era    *era
	ticket *ticket // nil for a probe
	serial uint64
}

// Probe reports whether the call is a probe of a half-open breaker.
func (p Permit) Probe() bool { return p.era != nil && p.ticket == nil }

// Snapshot is what can be seen of a breaker at one moment.
type Snapshot struct {
	// State is the state.
	State State
	// Since is when it began. Zero if nothing has been reported yet.
	Since time.Time
	// Generation counts the changes of state, from 0.
	Generation uint64
	// Openings counts how often the breaker opened, by results, failed probes or
	// Trip.
	Openings uint64
	// ConsecutiveFailures is the number of failures since the last success; zero
	// unless closed.
	ConsecutiveFailures int
	// WindowSuccesses and WindowFailures are the results within Window; zero unless
	// closed.
	WindowSuccesses, WindowFailures int
	// ProbesOut is the number of probes whose result is awaited, and ProbeSuccesses
	// the number of those that succeeded; zero unless half-open.
	ProbesOut, ProbeSuccesses int
	// ProbeDueAt is when the next probe may be admitted, which can be in the past;
	// zero if closed.
	ProbeDueAt time.Time
}

package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// State is what a worker does.
type State string

// The states of a worker.
const (
	// Running: it takes messages, or would if its breaker were closed.
	Running State = "running"
	// Stopping: it takes none any more, and ends what it has begun.
	Stopping State = "stopping"
	// Stopped: it has ended cleanly, and this is its last heartbeat.
	Stopped State = "stopped"
)

// MaxDependencies is the largest number of dependencies in a heartbeat.
const MaxDependencies = 100

// maxName bounds a dependency's name in a heartbeat, in bytes.
const maxName = 256

// Heartbeat is how one worker is doing on one subscription.
type Heartbeat struct {
	// Source and Group are the subscription, and Worker is the worker's name.
	Source, Group, Worker string
	// Version is the release of the program that the worker runs in, empty if
	// unknown.
	Version string
	// State is what the worker does.
	State State
	// StartedAt is when the worker began, and At when the rest was true.
	StartedAt, At time.Time
	// Interval is the time between two heartbeats.
	Interval time.Duration
	// PolicyDigest tells policies apart; see decision.Policy.Digest.
	PolicyDigest string
	// Paused says that no message is asked for, because the breaker is open.
	Paused bool
	// Breaker is that of the handler.
	Breaker Breaker
	// Dependencies are the breakers of named dependencies, by name, at most
	// MaxDependencies of them, and More is the number of those left out.
	Dependencies []Dependency
	More         int
	// InFlight counts the messages that the worker has.
	InFlight InFlight
}

// Breaker is the state of a breaker.
type Breaker struct {
	// State is "closed", "open" or "half-open".
	State string `json:"state"`
	// ProbeDueAt is when the next probe may be made, zero if the breaker is closed.
	ProbeDueAt time.Time `json:"probe_due_at,omitzero"`
}

// Dependency is the breaker of a named dependency.
type Dependency struct {
	Name string `json:"name"`
	Breaker
}

// InFlight are numbers of messages, and of handlers that are stuck.
type InFlight struct {
	// Waiting messages do not run yet, Running ones do, the move of Staying ones
	// failed, and Suspects must run alone. Stuck handlers did not return after their
	// timeout.
	Waiting  int `json:"waiting"`
	Running  int `json:"running"`
	Staying  int `json:"staying"`
	Suspects int `json:"suspects"`
	Stuck    int `json:"stuck"`
}

// Key is the key to publish the heartbeat under: one for each subscription and
// worker.
func (h Heartbeat) Key() string { return joined(h.Source, h.Group, h.Worker) }

type wireHeartbeat struct {
	head

	Source       string       `json:"source"`
	Group        string       `json:"group"`
	Worker       string       `json:"worker"`
	Version      string       `json:"version,omitempty"` //nolint:tagliatelle // "v" is the version of the format
	State        State        `json:"state"`
	StartedAt    time.Time    `json:"started_at,omitzero"`
	At           time.Time    `json:"at,omitzero"`
	IntervalMS   int64        `json:"interval_ms,omitempty"`
	Policy       string       `json:"policy,omitempty"`
	Paused       bool         `json:"paused,omitempty"`
	Breaker      Breaker      `json:"breaker"`
	Dependencies []Dependency `json:"dependencies,omitempty"`
	More         int          `json:"more,omitempty"`
	InFlight     InFlight     `json:"in_flight"`
}

// EncodeHeartbeat returns the record, at most MaxHeartbeat bytes long. If there
// are more dependencies than MaxDependencies, or than fit, those whose breaker is
// not closed go first. The error is a *FormatError. The argument is not changed.
func EncodeHeartbeat(h Heartbeat) ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	for most := MaxDependencies; ; most /= 2 {
		raw, err := encodeHeartbeat(h, most)
		if err == nil || most == 0 {
			return raw, err
		}
	}
}

func encodeHeartbeat(h Heartbeat, most int) ([]byte, error) {
	kept, more := fewer(h.Dependencies, most)
	return encode(kindHeartbeat, MaxHeartbeat, wireHeartbeat{
		head:   head{Version: Version, Type: kindHeartbeat},
		Source: h.Source, Group: h.Group, Worker: h.Worker, Version: h.Version, State: h.State,
		StartedAt: wireTime(h.StartedAt), At: wireTime(h.At), IntervalMS: h.Interval.Milliseconds(),
		Policy: h.PolicyDigest, Paused: h.Paused, Breaker: wireBreaker(h.Breaker),
		Dependencies: kept, More: h.More + more, InFlight: h.InFlight,
	})
}

// fewer returns at most the given number of dependencies, by name, and the number
// of the others.
func fewer(all []Dependency, most int) (kept []Dependency, more int) {
	kept = slices.Clone(all)
	byName := func(a, b Dependency) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortStableFunc(kept, func(a, b Dependency) int {
		if first := a.State == closed; first != (b.State == closed) {
			if first {
				return 1
			}
			return -1
		}
		return byName(a, b)
	})
	if len(kept) > most {
		more = len(kept) - most
		kept = kept[:most]
	}
	slices.SortStableFunc(kept, byName)
	for i := range kept {
		kept[i].Name = kept[i].Name[:min(len(kept[i].Name), maxName)]
		kept[i].Breaker = wireBreaker(kept[i].Breaker)
	}
	return kept, more
}

func wireBreaker(b Breaker) Breaker {
	b.ProbeDueAt = wireTime(b.ProbeDueAt)
	return b
}

// DecodeHeartbeat reads a record. The error is a *VersionError if a newer release
// wrote it, else a *FormatError; the heartbeat is zero with an error.
func DecodeHeartbeat(raw []byte) (Heartbeat, error) {
	var w wireHeartbeat
	if err := decode(kindHeartbeat, MaxHeartbeat, raw, &w); err != nil {
		return Heartbeat{}, err
	}
	if most := maxInterval.Milliseconds(); w.IntervalMS < 0 || w.IntervalMS > most {
		return Heartbeat{}, &FormatError{Kind: kindHeartbeat, Problem: fmt.Sprintf("an interval of %d ms", w.IntervalMS)}
	}
	for i := range w.Dependencies {
		w.Dependencies[i].Breaker = wireBreaker(w.Dependencies[i].Breaker)
	}
	h := Heartbeat{
		Source: w.Source, Group: w.Group, Worker: w.Worker, Version: w.Version, State: w.State,
		StartedAt: wireTime(w.StartedAt), At: wireTime(w.At), Interval: time.Duration(w.IntervalMS) * time.Millisecond,
		PolicyDigest: w.Policy, Paused: w.Paused, Breaker: wireBreaker(w.Breaker),
		Dependencies: w.Dependencies, More: w.More, InFlight: w.InFlight,
	}
	if err := h.check(); err != nil {
		return Heartbeat{}, err
	}
	return h, nil
}

// The states of a breaker.
const (
	closed   = "closed"
	open     = "open"
	halfOpen = "half-open"
)

func (b Breaker) known() bool { return b.State == closed || b.State == open || b.State == halfOpen }

func (h Heartbeat) check() error {
	bad := func(format string, args ...any) error {
		return &FormatError{Kind: kindHeartbeat, Problem: fmt.Sprintf(format, args...)}
	}
	switch {
	case h.Source == "":
		return bad("no source")
	case h.Worker == "":
		return bad("no name of a worker")
	case h.State != Running && h.State != Stopping && h.State != Stopped:
		return bad("unknown state %q", h.State)
	case h.Interval < 0 || h.Interval > maxInterval:
		return bad("an interval of %v", h.Interval)
	case !h.Breaker.known():
		return bad("unknown state of the breaker %q", h.Breaker.State)
	}
	for _, d := range h.Dependencies {
		if !d.known() {
			return bad("unknown state %q of dependency %q", d.State, d.Name)
		}
	}
	return nil
}

// maxInterval is a day, far beyond what tells anybody that a worker is there.
const maxInterval = 24 * time.Hour

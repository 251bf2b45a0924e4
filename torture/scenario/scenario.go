package scenario

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/torture/checker"
)

// Beacon is the producer whose messages always succeed. They are published while
// a run drains: a message that fails for the last time waits for proof that its
// downstream is well, which is another message that succeeds.
const Beacon uint16 = 0

// HeaderID is the header with the message's id.
const HeaderID = "Torture-Id"

// Mix is the share of each outcome in percent. What is left of 100 succeeds.
type Mix struct {
	// Transient messages fail a few times and then succeed.
	Transient int `json:"transient"`
	// Hopeless messages fail like transient ones, every time.
	Hopeless int `json:"hopeless"`
	// Permanent messages fail for good at once.
	Permanent int `json:"permanent"`
	// Slow messages take long and succeed.
	Slow int `json:"slow"`
	// Panic messages panic every time.
	Panic int `json:"panic"`
}

// Usual is the mix of an ordinary day. Harsh is one in which most messages are on
// their way from one queue to another, so that a kill always hits some; few of
// them fail in a way that speaks against the downstream, since the breaker would
// stop the others.
var (
	Usual = Mix{Transient: 5, Hopeless: 1, Permanent: 4, Slow: 3, Panic: 2}   //nolint:gochecknoglobals // a constant in all but name
	Harsh = Mix{Transient: 4, Hopeless: 1, Permanent: 40, Slow: 3, Panic: 15} //nolint:gochecknoglobals // likewise
)

// Scenario is a seed and a mix.
type Scenario struct {
	Seed uint64 `json:"seed"`
	Mix  Mix    `json:"mix"`
}

// Outcome is what a handler does.
type Outcome uint8

// The outcomes.
const (
	Succeed Outcome = iota + 1
	// FailFirst: transient failures at attempts 1 to Script.Fails, then success.
	FailFirst
	// Hopeless: a transient failure at every attempt.
	Hopeless
	// Schema, Business, Integration and Requested: permanent failures; the last
	// asks for quarantine.
	Schema
	Business
	Integration
	Requested
	// Slow: success after a while.
	Slow
	// Panic at every attempt.
	Panic
)

// Script is what happens to one message.
type Script struct {
	Outcome Outcome
	// Fails is for FailFirst: 1 or 2. That leaves room for attempts that an outage
	// costs before the breaker opens.
	Fails int
	// Work is how long the handler takes before it comes to its outcome.
	Work time.Duration
}

// Handlers take up to usualWork, so that a kill finds some of them running, and
// slow ones slowWork.
const (
	usualWork = 20 * time.Millisecond
	slowWork  = 100 * time.Millisecond
)

// Attempts is the number of attempts of the policy under which the scripts hold.
const Attempts = 5

// random is the source of everything about one message.
func (s Scenario) random(id checker.ID, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(s.Seed^stream<<56, uint64(id.Producer)<<32|uint64(id.Counter))) //nolint:gosec // a script, not a secret
}

// Script returns what happens to the message.
func (s Scenario) Script(id checker.ID) Script {
	if id.Producer == Beacon {
		return Script{Outcome: Succeed}
	}
	r := s.random(id, 1)
	script := s.draw(r)
	script.Work = time.Duration(r.Int64N(int64(usualWork)))
	if script.Outcome == Slow {
		script.Work = slowWork
	}
	return script
}

// draw draws the outcome.
func (s Scenario) draw(r *rand.Rand) Script {
	n := r.IntN(100)
	for _, share := range []struct {
		percent int
		script  func() Script
	}{
		{s.Mix.Transient, func() Script { return Script{Outcome: FailFirst, Fails: 1 + r.IntN(2)} }},
		{s.Mix.Hopeless, func() Script { return Script{Outcome: Hopeless} }},
		{s.Mix.Permanent, func() Script { return Script{Outcome: Schema + Outcome(r.IntN(int(Requested-Schema)+1))} }},
		{s.Mix.Slow, func() Script { return Script{Outcome: Slow} }},
		{s.Mix.Panic, func() Script { return Script{Outcome: Panic} }},
	} {
		if n < share.percent {
			return share.script()
		}
		n -= share.percent
	}
	return Script{Outcome: Succeed}
}

// Fate returns where the message has to end.
func (s Scenario) Fate(id checker.ID) checker.Fate {
	switch s.Script(id).Outcome {
	case Hopeless:
		return checker.Fate{Fails: true, Category: failure.Transient.String(), Attempts: true}
	case Schema:
		return checker.Fate{Fails: true, Category: failure.Schema.String()}
	case Business, Requested:
		return checker.Fate{Fails: true, Category: failure.Business.String()}
	case Integration:
		return checker.Fate{Fails: true, Category: failure.Integration.String()}
	case Panic:
		return checker.Fate{Fails: true, Category: failure.Crash.String(), Attempts: true}
	case Succeed, FailFirst, Slow:
	}
	return checker.Fate{}
}

const maxBody = 2048

// Message returns body and headers of the message. Both hold its id; the rest is
// random bytes, with what gets lost easily: bytes that are no text, an empty
// value, a name that comes twice, an order that is not by name.
func (s Scenario) Message(id checker.ID) (body []byte, headers []broker.Header) {
	r := s.random(id, 2)
	body = append([]byte(id.String()), '\n')
	for range r.IntN(maxBody / 8) {
		body = binary.BigEndian.AppendUint64(body, r.Uint64())
	}
	noise := binary.BigEndian.AppendUint64(nil, r.Uint64())
	return body, []broker.Header{
		{Name: "X-Second", Value: []byte(strconv.Itoa(r.IntN(1000)))},
		{Name: HeaderID, Value: []byte(id.String())},
		{Name: "X-Empty", Value: []byte{}},
		{Name: "X-Bytes", Value: append([]byte("\r\n\x00\xff"), noise...)},
		{Name: "X-Second", Value: []byte(" again ")},
		{Name: "A-First", Value: []byte("ö")},
	}
}

// Digest returns the fingerprint of the message as it was made.
func (s Scenario) Digest(id checker.ID) checker.Digest { return Sum(s.Message(id)) }

// Sum returns the fingerprint of a message as it was found.
func Sum(body []byte, headers []broker.Header) checker.Digest {
	pairs := make([]checker.Pair, len(headers))
	for i, h := range headers {
		pairs[i] = checker.Pair{Name: h.Name, Value: h.Value}
	}
	return checker.Sum(body, pairs)
}

// ID reads the id of a message that was found. Body and header have to agree.
func ID(body []byte, headers []broker.Header) (checker.ID, error) {
	end := min(len(body), 32)
	for i, c := range body[:end] {
		if c == '\n' {
			end = i
			break
		}
	}
	id, err := checker.ParseID(string(body[:end]))
	if err != nil {
		return checker.ID{}, fmt.Errorf("body: %w", err)
	}
	for _, h := range headers {
		if h.Name == HeaderID {
			if string(h.Value) != id.String() {
				return checker.ID{}, fmt.Errorf("the body says that it is %s and the header that it is %q", id, h.Value)
			}
			return id, nil
		}
	}
	return checker.ID{}, fmt.Errorf("message %s has no header %s", id, HeaderID)
}

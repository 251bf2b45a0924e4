package simulation

import (
	"fmt"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// kind is what the handler does with a message.
type kind int

const (
	works        kind = iota
	transient         // fails times times, then works
	forever           // fails transiently, always
	unclassified      // fails times times with an error that says nothing
	schema
	business
	integration
	requested // asks for quarantine
	panics    // times times
	panicsForever
	slow   // returns within its time
	late   // returns after its time, within its grace
	stuck  // returns long after its grace
	kills  // kills the process times times
	killer // kills the process, always
	throttled
	retryAfter
	dependent // calls a named dependency
	kindEnd
)

var kindNames = [...]string{
	"works", "transient", "forever", "unclassified", "schema", "business", "integration", "requested", "panics",
	"panics-forever", "slow", "late", "stuck", "kills", "killer", "throttled", "retry-after", "dependent",
}

func (k kind) String() string { return kindNames[k] }

// hostility is what a producer puts into a header that is ours.
type hostility int

const (
	friendly hostility = iota
	garbage            // bytes that are no envelope
	copied             // the envelope of another message, as a service that copies headers sends it
	future             // an envelope of a later release
)

// message is one message and its script.
type message struct {
	id       int
	at       time.Duration // when it is published
	kind     kind
	times    int
	takes    time.Duration // of the handler
	size     int
	key      string // of the header, empty for none
	expires  time.Duration
	hostile  hostility
	steering bool // carries headers that steer a broker
	twice    bool // the producer publishes it two times
}

func (m *message) body() []byte {
	b := fmt.Appendf(nil, "m%d|", m.id)
	for len(b) < m.size {
		b = append(b, byte('a'+len(b)%26))
	}
	return b
}

// idOf reads the id of a message from its body, -1 if it is none of ours.
func idOf(body []byte) int {
	if len(body) < 3 || body[0] != 'm' {
		return -1
	}
	id := 0
	for _, c := range body[1:] {
		if c == '|' {
			return id
		}
		if c < '0' || c > '9' || id > 1e6 {
			break
		}
		id = 10*id + int(c-'0')
	}
	return -1
}

const keyHeader = "order-id"

func (m *message) headers() []broker.Header {
	out := []broker.Header{{Name: "content-type", Value: []byte("text/plain")}, {Name: "x-many", Value: []byte("1")}, {Name: "x-many", Value: []byte{0xff, 0, '\n'}}}
	if m.key != "" {
		out = append(out, broker.Header{Name: keyHeader, Value: []byte(m.key)})
	}
	return out
}

func (m *message) control() []broker.Header {
	if !m.steering {
		return nil
	}
	return []broker.Header{{Name: "Nats-Rollup", Value: []byte("all")}, {Name: "expiration", Value: []byte("1000")}}
}

func (p *plan) drawMessages(d dice) {
	n := 1 + d.IntN(24)
	if d.chance(0.1) {
		n = 40 + d.IntN(60)
	}
	span := pick(d, 0, 2*time.Second, time.Minute, 10*time.Minute)
	p.horizon = max(span, 5*time.Second) + d.span(10*time.Second, 30*time.Minute)
	weights := [kindEnd]float64{works: 0.5}
	for k := range weights {
		if d.chance(0.35) {
			weights[k] += d.Float64()
		}
	}
	crashSafe := p.caps.Marks && (p.caps.Count == broker.CountExact || p.caps.Count == broker.CountApproximate)
	if !crashSafe || d.chance(0.5) {
		weights[killer] = 0 // nothing would ever stop it
	}
	total := 0.0
	for _, w := range weights {
		total += w
	}
	hostile, expiring, steering, large := d.chance(0.2), d.chance(0.2), d.chance(0.2), d.chance(0.2)
	for id := range n {
		m := message{id: id, kind: works, times: 1 + d.IntN(p.policy.Retry.Attempts+1), takes: d.span(time.Millisecond, p.policy.HandlerTimeout/2)}
		for at, k := d.Float64()*total, kind(0); k < kindEnd; k++ {
			if at -= weights[k]; at < 0 {
				m.kind = k
				break
			}
		}
		if span > 0 {
			m.at = time.Duration(d.Int64N(int64(span)))
		}
		m.size = 8
		if large && d.chance(0.3) {
			m.size = 200 + d.IntN(1200)
		}
		if p.keyHeader && d.chance(0.8) {
			m.key = fmt.Sprintf("order-%d", id)
			if id > 0 && d.chance(0.05) {
				m.key = p.messages[d.IntN(id)].key // another body under the key of another message
			}
		}
		if expiring && d.chance(0.2) {
			m.expires = d.span(time.Second, p.horizon)
		}
		if hostile && d.chance(0.3) {
			m.hostile = pick(d, garbage, copied, future)
		}
		if m.hostile == future {
			// They go round until the end, which is no more than a few are worth.
			if p.futures++; p.futures > 3 {
				m.hostile, p.futures = friendly, 3
			}
		}
		m.steering = steering && d.chance(0.5)
		m.twice = d.chance(0.02)
		p.messages = append(p.messages, m)
	}
}

// describe is the script of a message in a word or two.
func (m *message) describe() string {
	parts := []string{m.kind.String()}
	switch m.kind { //nolint:exhaustive // the other kinds do the same each time, or count nothing
	case transient, unclassified, panics, kills, throttled, retryAfter:
		parts = append(parts, fmt.Sprintf("×%d", m.times))
	}
	for _, c := range []struct {
		is   bool
		what string
	}{
		{m.expires > 0, "expires"},
		{m.hostile == garbage, "garbage-envelope"},
		{m.hostile == copied, "copied-envelope"},
		{m.hostile == future, "newer-envelope"},
		{m.steering, "steering"},
		{m.twice, "published-twice"},
	} {
		if c.is {
			parts = append(parts, c.what)
		}
	}
	return strings.Join(parts, " ")
}

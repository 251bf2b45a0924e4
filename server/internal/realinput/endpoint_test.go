package realinput_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// attempts is how many attempts a message has: two that its rule takes, five
	// that an outage may take before the breaker opens, and one that succeeds.
	attempts = 8
	// outage is how long the endpoint answers everything with 404, as after a
	// deployment that went wrong. It is longer than all attempts of a message take.
	outage = 3 * time.Second
	// strikes is how often a kill of the plan may hit a payload. One that is hit
	// more often looks to a worker like one that kills it.
	strikes = 2
)

// endpoint is what the worker delivers to. It fails by the payload's rule, knows
// what it has seen, and pulls the trigger when a worker has to die.
type endpoint struct {
	payloads map[string]*payload // by delivery id
	// kill ends the worker of a life, unless it is dead already, and returns when
	// the next one is started. It happens while a request waits for its answer: then
	// nothing else can be running alone, and the request says what was hit.
	kill func(life string) bool

	mu       sync.Mutex
	visits   map[string]*visit
	arrivals int
	// plan holds the numbers of the requests at which the worker is killed.
	plan  []int
	kills int
	// failAt is the request at which the outage begins, failUntil its end, zero
	// before it began, and failed counts its answers.
	failAt, failed int
	failUntil      time.Time
	problems       []string
	rng            *rand.Rand
}

// visit is what the endpoint saw of one payload.
type visit struct {
	requests, accepted int
	// rejected counts the answers other than 2xx, and failures those of them that
	// the payload's rule asks for.
	rejected, failures int
	struck             int
	key                string
	// lives are the workers whose requests were accepted.
	lives []string
}

func (e *endpoint) problem(format string, args ...any) {
	e.problems = append(e.problems, fmt.Sprintf(format, args...))
}

// answer is what the endpoint does with one request.
type answer struct {
	status int
	header [2]string
	reset  bool
	outage bool
	// kill ends the worker instead of answering, after a wait in which others are
	// answered. planned is the visit that a kill of the plan hits.
	kill    bool
	wait    time.Duration
	planned *visit
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		// The worker died while it was sending.
		return
	}
	life := r.Header.Get(headerLife)
	a := e.decide(r, body, life)
	switch {
	case a.kill:
		<-time.NewTimer(a.wait).C
		if e.kill(life) && a.planned != nil {
			e.killed(a.planned)
		}
		return
	case a.reset:
		hangUp(w)
		return
	case a.header[0] != "":
		w.Header().Set(a.header[0], a.header[1])
	}
	w.WriteHeader(a.status)
}

// killed strikes a kill off the plan.
func (e *endpoint) killed(v *visit) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.plan = e.plan[1:]
	e.kills++
	v.struck++
}

// hangUp resets the connection.
func hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func (e *endpoint) decide(r *http.Request, body []byte, life string) answer {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := r.Header.Get(headerDelivery)
	p := e.payloads[id]
	if p == nil {
		e.problem("a request came with the unknown delivery id %q", id)
		return answer{status: http.StatusOK}
	}
	v := e.visits[id]
	if v == nil {
		v = &visit{key: r.Header.Get("Idempotency-Key")}
		e.visits[id] = v
	}
	e.check(r, body, p, v)
	v.requests++
	e.arrivals++
	now := time.Now()
	if e.due(p, v, now) {
		return answer{kill: true, wait: time.Duration(e.rng.IntN(8000)) * time.Microsecond, planned: v}
	}
	a := e.byRule(p, v, now)
	switch {
	case a.kill:
	case a.outage:
		// The payload's own failures are not used up by those of everybody.
		v.rejected++
	case a.status >= 300 || a.reset:
		v.rejected++
		v.failures++
	default:
		v.accepted++
		v.lives = append(v.lives, life)
	}
	return a
}

// due reports whether the plan wants a kill now. A worker that is started near
// the end of the outage would learn of it only by what it fails, so there is none
// in its second half.
func (e *endpoint) due(p *payload, v *visit, now time.Time) bool {
	late := now.Before(e.failUntil) && e.failUntil.Sub(now) < outage/2
	return p.rule != deadly && len(e.plan) > 0 && e.arrivals >= e.plan[0] && v.struck < strikes && !late
}

// check compares a request with what was published.
func (e *endpoint) check(r *http.Request, body []byte, p *payload, v *visit) {
	if p.rule == refused {
		e.problem("a payload of %s came that the schema refuses", p.event)
	}
	if sha256.Sum256(body) != p.sum {
		e.problem("%s of %s came with another body: %d bytes instead of %d", p.delivery, p.event, len(body), len(p.body))
	}
	for _, h := range p.headers {
		if got := r.Header.Values(h.Name); len(got) != 1 || got[0] != string(h.Value) {
			e.problem("%s of %s came with %s %q instead of %q", p.delivery, p.event, h.Name, got, h.Value)
		}
	}
	if got := r.Header.Get(headerSignature); got != signature(body) {
		e.problem("%s of %s came with a wrong signature", p.delivery, p.event)
	}
	if key := r.Header.Get("Idempotency-Key"); key == "" || key != v.key {
		e.problem("%s of %s came with the idempotency key %q, before with %q", p.delivery, p.event, key, v.key)
	}
	if n, err := strconv.Atoi(r.Header.Get("Redrive-Attempt")); err != nil || n < 1 || n > attempts {
		e.problem("%s of %s came as attempt %q", p.delivery, p.event, r.Header.Get("Redrive-Attempt"))
	}
}

// byRule is how the endpoint treats a payload when nothing else happens.
func (e *endpoint) byRule(p *payload, v *visit, now time.Time) answer {
	if e.failUntil.IsZero() && e.arrivals >= e.failAt {
		e.failUntil = now.Add(outage)
	}
	if now.Before(e.failUntil) {
		e.failed++
		return answer{status: http.StatusNotFound, outage: true}
	}
	// One attempt is left to succeed.
	again := v.failures < p.times && v.rejected < attempts-1
	switch p.rule {
	case overload:
		if again {
			return answer{status: http.StatusServiceUnavailable}
		}
	case conflict:
		if again {
			return answer{status: http.StatusConflict}
		}
	case throttle:
		if v.failures == 0 {
			return answer{status: http.StatusTooManyRequests, header: [2]string{"Retry-After", "1"}}
		}
	case reset:
		if again {
			return answer{reset: true}
		}
	case broke:
		return answer{status: http.StatusInternalServerError}
	case malformed:
		return answer{status: http.StatusBadRequest}
	case forbidden:
		return answer{status: http.StatusForbidden}
	case gone:
		return answer{status: http.StatusGone}
	case foreign:
		return answer{status: http.StatusUnprocessableEntity, header: [2]string{"Redrive-Category", "integration"}}
	case setAside:
		return answer{status: http.StatusBadRequest, header: [2]string{"Redrive-Category", "quarantine"}}
	case deadly:
		return answer{kill: true}
	case accept, refused:
	}
	return answer{status: http.StatusOK}
}

// progress returns how many payloads were accepted, and how many kills are left.
func (e *endpoint) progress() (accepted, left int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.visits {
		if v.accepted > 0 {
			accepted++
		}
	}
	return accepted, len(e.plan)
}

// trouble returns what was wrong with the requests so far.
func (e *endpoint) trouble() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.problems)
}

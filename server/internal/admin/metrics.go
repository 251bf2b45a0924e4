package admin

import (
	"strings"
	"sync"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

// Build describes the running binary.
type Build struct {
	// Version, Commit and Go are the version of redrive, its commit and that of
	// the toolchain. Empty if unknown.
	Version, Commit, Go string
}

// Metrics counts what workers do. It is safe for concurrent use.
type Metrics struct {
	build Build

	mu      sync.Mutex
	workers []*WorkerMetrics
	brokers map[string]bool
}

// NewMetrics returns metrics that are all zero.
func NewMetrics(build Build) *Metrics {
	return &Metrics{build: build, brokers: map[string]bool{}}
}

// Worker adds the metrics of one subscription. Give the result to the worker as
// an observer.
func (m *Metrics) Worker(brokerName, source, group string) *WorkerMetrics {
	w := &WorkerMetrics{
		labels:   []string{"broker", brokerName, "source", source, "group", group},
		outcomes: map[string]uint64{outcomeHandled: 0},
		problems: map[redrive.EventKind]uint64{},
		dead:     map[ending]uint64{}, quarantined: map[ending]uint64{},
	}
	for _, c := range failure.Categories() {
		w.outcomes[c.String()] = 0
	}
	// A series that is not there before its first event hides that event from
	// rate() and increase(), so the usual ones are there from the beginning.
	for _, c := range []failure.Category{failure.Schema, failure.Business, failure.Integration} {
		w.dead[ending{c, string(envelope.ReasonPermanent)}] = 0
	}
	w.dead[ending{failure.Transient, string(envelope.ReasonAttempts)}] = 0
	w.dead[ending{failure.Transient, string(envelope.ReasonExpired)}] = 0
	w.quarantined[ending{failure.Transient, string(envelope.ReasonPoison)}] = 0
	w.quarantined[ending{failure.Crash, string(envelope.ReasonPanic)}] = 0
	w.quarantined[ending{failure.Crash, string(envelope.ReasonCrashLoop)}] = 0
	for _, kind := range problemKinds() {
		w.problems[kind] = 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.workers = append(m.workers, w)
	return w
}

// BrokerUp records whether a broker answered.
func (m *Metrics) BrokerUp(name string, up bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.brokers[name] = up
}

// outcomeHandled is the outcome of a run that succeeded; the others are the
// names of categories.
const outcomeHandled = "handled"

// ending is why a message left the flow.
type ending struct {
	category failure.Category
	reason   string
}

func problemKinds() []redrive.EventKind {
	return []redrive.EventKind{
		redrive.EventSuspect, redrive.EventMoveFailed, redrive.EventLeaseLost, redrive.EventTimeout, redrive.EventStuck,
		redrive.EventReceiveFailed, redrive.EventMarkFailed, redrive.EventInboxUnreachable,
		redrive.EventOutcomeFailed, redrive.EventOutcomeLost,
	}
}

// WorkerMetrics counts what one worker does. It is safe for concurrent use.
type WorkerMetrics struct {
	labels []string

	mu                            sync.Mutex
	snapshot                      func() redrive.Snapshot
	ready                         func() error
	outcomes                      map[string]uint64
	retried, duplicates, released uint64
	dead, quarantined             map[ending]uint64
	problems                      map[redrive.EventKind]uint64
}

// Watch says where the state of the worker can be read when metrics are asked
// for.
func (w *WorkerMetrics) Watch(snapshot func() redrive.Snapshot, ready func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snapshot, w.ready = snapshot, ready
}

// Observe implements redrive.Observer.
func (w *WorkerMetrics) Observe(e *redrive.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case redrive.EventHandled:
		w.outcomes[outcomeHandled]++
	case redrive.EventFailed:
		if e.Failure != nil {
			w.outcomes[e.Failure.Category.String()]++
		}
	case redrive.EventRetry:
		w.retried++
	case redrive.EventDuplicate:
		w.duplicates++
	case redrive.EventReleased:
		w.released++
	case redrive.EventDeadLettered:
		w.dead[ending{e.Category, e.Reason}]++
	case redrive.EventQuarantined:
		w.quarantined[ending{e.Category, e.Reason}]++
	case redrive.EventSuspect, redrive.EventMoveFailed, redrive.EventLeaseLost, redrive.EventTimeout, redrive.EventStuck,
		redrive.EventReceiveFailed, redrive.EventMarkFailed, redrive.EventInboxUnreachable,
		redrive.EventOutcomeFailed, redrive.EventOutcomeLost:
		w.problems[e.Kind]++
	case redrive.EventBreaker:
		// The breaker's own snapshot says more.
	}
}

// Text returns all metrics in the Prometheus text format.
func (m *Metrics) Text() []byte {
	f := newFamilies()
	f.build.add(1, "version", m.build.Version, "commit", m.build.Commit, "go_version", m.build.Go)
	m.mu.Lock()
	workers := append([]*WorkerMetrics(nil), m.workers...)
	for name, up := range m.brokers {
		f.brokerUp.add(truth(up), "broker", name)
	}
	m.mu.Unlock()
	for _, w := range workers {
		w.collect(f)
	}
	return text(f.all())
}

func (w *WorkerMetrics) collect(f *families) {
	w.mu.Lock()
	for outcome, n := range w.outcomes {
		f.attempts.add(float64(n), w.with("outcome", outcome)...)
	}
	f.retried.add(float64(w.retried), w.labels...)
	f.duplicates.add(float64(w.duplicates), w.labels...)
	f.released.add(float64(w.released), w.labels...)
	for e, n := range w.dead {
		f.dead.add(float64(n), w.with("category", e.category.String(), "reason", e.reason)...)
	}
	for e, n := range w.quarantined {
		f.quarantined.add(float64(n), w.with("category", e.category.String(), "reason", e.reason)...)
	}
	for kind, n := range w.problems {
		f.problems.add(float64(n), w.with("kind", string(kind))...)
	}
	snapshot, ready := w.snapshot, w.ready
	w.mu.Unlock()
	// The worker has a lock of its own, so it is asked outside of ours.
	if snapshot != nil {
		w.collectState(f, snapshot(), ready())
	}
}

func (w *WorkerMetrics) collectState(f *families, s redrive.Snapshot, ready error) {
	for _, state := range []breaker.State{breaker.Closed, breaker.Open, breaker.HalfOpen} {
		name := strings.ReplaceAll(state.String(), "-", "_")
		f.circuit.add(truth(s.Breaker.State == state), w.with("state", name)...)
	}
	f.openings.add(float64(s.Breaker.Openings), w.labels...)
	f.inFlight.add(float64(s.Waiting), w.with("state", "waiting")...)
	f.inFlight.add(float64(s.Handlers), w.with("state", "running")...)
	f.inFlight.add(float64(s.Staying), w.with("state", "staying")...)
	f.inFlight.add(float64(s.Stuck), w.with("state", "stuck")...)
	f.suspects.add(float64(s.Suspects), w.labels...)
	f.workerUp.add(truth(ready == nil), w.labels...)
}

// with returns the labels of the subscription and more.
func (w *WorkerMetrics) with(more ...string) []string {
	return append(append(make([]string, 0, len(w.labels)+len(more)), w.labels...), more...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

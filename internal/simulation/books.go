package simulation

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
)

// books is what really happened, written down where it happened. The laws are
// checked against it, some at once and the others at the end.
type books struct {
	w          *world
	violations []Violation
	ledgers    [][]ledger // by group, then message
	copies     map[broker.Incarnation]*copyBook
	publishIDs map[string]string // of each copy's moves
	stored     []int             // publications of each message
	confirmed  []bool
	keys       []string
	failures   []failed
	due        map[string]int64 // of each retry by its publish id, the earliest that was announced
	calls      map[outageCalls]int
	jumped     bool // a clock was wrong at some time
	cut        bool // a process did not stop in good order

	handlerRuns, deliveries, deaths, effects int
}

// ledger is what one subscription did with one message.
type ledger struct {
	runs      int
	turns     int // of the script
	settled   int // runs whose delivery ended in a confirmed move
	unsettled int // deliveries with a run that did not
	uncounted int // failures that cost nothing, by the worker's own account
	own       int // failures that no outage caused
	effects   int
	forks     int // copies beside an original that stayed
	replays   int
	lone      bool  // a copy was given up by the rule for messages that fail alone
	usedUp    int64 // when its attempts first were
	away      *outage
	several   bool // outages that it met: the newest is away
}

// copyBook is one stored copy.
type copyBook struct {
	at        broker.Incarnation
	last      *delivery
	handed    int
	explained int // deliveries that ended in a release
	marked    int // StartedAlone, as stored
	aloneLost int // deliveries that were started alone and did not end in a move
	times     []int64
}

// failed is a failure that spoke against the downstream.
type failed struct {
	p  *process
	id int
	at int64
}

// Violation is a law that was broken.
type Violation struct {
	// Law is the short name of the law.
	Law string
	// What happened, with the time.
	What string
}

func newBooks(w *world) books {
	n := len(w.plan.messages)
	b := books{
		w: w, copies: map[broker.Incarnation]*copyBook{}, publishIDs: map[string]string{}, due: map[string]int64{}, calls: map[outageCalls]int{},
		stored: make([]int, n), confirmed: make([]bool, n), keys: make([]string, n),
	}
	for range w.groups {
		b.ledgers = append(b.ledgers, make([]ledger, n))
	}
	return b
}

func (b *books) ledger(group, id int) *ledger { return &b.ledgers[group][id] }

func (b *books) of(p *process, id int) *ledger { return b.ledger(p.seat.group, id) }

const mostViolations = 20

func (b *books) violate(law, format string, args ...any) {
	if len(b.violations) >= mostViolations {
		return
	}
	v := Violation{Law: law, What: fmt.Sprintf(format, args...)}
	if slices.Contains(b.violations, v) {
		return
	}
	b.w.trace.line("VIOLATION").s(v.Law).s(v.What).end()
	b.violations = append(b.violations, v)
}

func (b *books) published(id int) {
	if id >= 0 && id < len(b.stored) {
		b.stored[id]++
	}
}

// lineages is how many copies of a message may have been on their way at one
// time or another.
func (b *books) lineages(group, id int) int {
	l := b.ledger(group, id)
	return b.stored[id] + l.forks + l.replays
}

// handed books a hand-over of a copy.
func (b *books) handed(p *process, inner broker.Delivery) *delivery {
	w := b.w
	at := inner.Identity()
	at.Cluster = p.group // a copy in a shared source is handed to each group
	c := b.copies[at]
	if c == nil {
		c = &copyBook{at: at}
		b.copies[at] = c
	}
	if c.last != nil {
		b.lose(c.last)
	}
	d := &delivery{Delivery: inner, p: p, copy: c, id: idOf(inner.Msg().Body)}
	c.last = d
	c.handed++
	b.deliveries++
	w.trace.line("deliver").p(p).n("m", d.id).s(at.Queue).s(at.Position).n("earlier=", inner.Deliveries().Earlier).end()
	if d.id < 0 || d.id >= len(w.plan.messages) {
		b.violate("unexpected", "a message with the body %q was never published", inner.Msg().Body)
		d.id = 0
	}
	b.intact(p.group, inner.Msg())
	b.early(d.id, at.Queue, inner.Msg())
	p.held = append(p.held, d)
	b.hot(c, d)
	b.crowded(p)
	return d
}

// announced books when a retry is due at the earliest.
func (b *books) announced(publishID string, at int64) {
	if before, known := b.due[publishID]; publishID != "" && (!known || at < before) {
		b.due[publishID] = at
	}
}

// early finds a retry that is handed over before it is due, by the broker's clock.
func (b *books) early(id int, queue string, m *broker.Message) {
	if broker.KindOf(queue) != broker.KindRetry {
		return
	}
	e, err := envelope.Decode(m.Envelope)
	if err != nil {
		b.violate("envelope", "the retry of m%d carries no envelope: %v", id, err)
		return
	}
	if at, known := b.due[e.PublishID]; known && b.w.sched.now < at/int64(time.Millisecond)*int64(time.Millisecond) {
		b.violate("never early", "m%d was handed over %s before it was due", id, time.Duration(at-b.w.sched.now))
	}
}

// outageCalls are the calls of a process to something while it is away.
type outageCalls struct {
	p    *process
	what *outage
}

// called counts a call to something that is away.
func (b *books) called(p *process, id int, away *outage) {
	l := b.of(p, id)
	l.several = l.several || l.away != nil && l.away != away
	l.away = away
	key, long := outageCalls{p, away}, away.to-away.from
	b.calls[key]++
	if most := b.w.plan.callsWithin(long); b.calls[key] == most+1 {
		b.violate("an outage bounds calls", "%s made more than %d calls in an outage of %s", p.name, most, long)
	}
}

// callsWithin is how often one process may call what is away for so long: until
// its breaker opens, what is under way then, and the probes.
func (p *plan) callsWithin(long time.Duration) int {
	c := p.policy.WithDefaults().Breaker
	return c.Consecutive + 2*p.concurrency + c.Probes*(16+int(long/(5*time.Second)))
}

// hot finds a copy that goes round and round.
func (b *books) hot(c *copyBook, d *delivery) {
	const most = 15
	now := b.w.sched.now
	c.times = append(c.times, now)
	if len(c.times) > most {
		c.times = c.times[1:]
		if now-c.times[0] < int64(time.Second) {
			b.violate("no busy loop", "m%d was handed over %d times within a second", d.id, most)
		}
	}
}

// crowded finds a worker that holds more than it may. What it cannot settle, or
// is giving back, is not counted.
func (b *books) crowded(p *process) {
	if s := p.worker.Snapshot(); s.Waiting+s.Handlers > b.w.plan.inFlight {
		b.violate("in flight", "%s has %d messages waiting and %d running, at most %d are allowed", p.name, s.Waiting, s.Handlers, b.w.plan.inFlight)
	}
}

// lose books a delivery that ended without a confirmed move.
func (b *books) lose(d *delivery) {
	if d.over {
		return
	}
	d.over = true
	d.p.held = drop(d.p.held, d)
	// A worker that does not know that the lease is lost may still run it.
	b.of(d.p, d.id).unsettled += max(1, d.runs)
	if d.alone {
		d.copy.aloneLost++
	}
}

func (b *books) maybeLost(d *delivery, err error) {
	if errors.Is(err, broker.ErrLeaseLost) {
		b.lose(d)
	}
}

func (b *books) marked(d *delivery, m broker.Mark) {
	if m.StartedAlone > d.copy.marked {
		d.alone = true
	}
	d.copy.marked = m.StartedAlone
}

// copied books a copy beside an original that is still there.
func (b *books) copied(d *delivery) { b.of(d.p, d.id).forks++ }

// attempted checks a move that a worker is about to make.
func (b *books) attempted(d *delivery, o broker.Outcome) {
	var id, kind string
	var raw []byte
	switch o := o.(type) {
	case broker.Retry:
		id, kind, raw = o.PublishID, "retry", o.Envelope
		b.announced(id, int64(o.At.Round(0).Sub(b.w.epoch)))
		// A move that is repeated keeps the time of a clock that may have been wrong.
		d.tries++
		if d.tries == 1 && d.Deliveries().Mark.Pending == nil && b.w.healed && o.At.After(d.p.Now().Add(max(b.w.plan.policy.WithDefaults().Retry.MaxAge, time.Hour))) {
			b.violate("bounded", "m%d waits for %s", d.id, o.At.Sub(d.p.Now()))
		}
	case broker.Dead:
		id, kind, raw = o.PublishID, "dead", o.Envelope
	default:
		return
	}
	e, err := envelope.Decode(raw)
	if err != nil {
		b.violate("envelope", "the copy of m%d carries no envelope: %v", d.id, err)
		return
	}
	b.sameKey(d.id, e.Key)
	if !b.w.plan.identity {
		return
	}
	at := d.copy.at.String() + " " + kind
	switch before, known := b.publishIDs[at]; {
	case !known:
		b.publishIDs[at] = id
	case before != id:
		b.violate("publish ids are stable", "the %s of m%d from %s is published as %s, and before as %s", kind, d.id, d.copy.at, id, before)
	}
}

// sameKey checks that a message has one key, in every copy, process and group.
func (b *books) sameKey(id int, key string) {
	m := &b.w.plan.messages[id]
	if b.stored[id] > 1 || key == "" || !b.w.plan.identity && m.key == "" {
		return
	}
	switch {
	case b.keys[id] == "":
		b.keys[id] = key
	case b.keys[id] != key:
		b.violate("key is stable", "m%d has the key %s, and had %s", id, key, b.keys[id])
	}
}

// settled books a move that took effect.
func (b *books) settled(d *delivery, o broker.Outcome) {
	l := b.of(d.p, d.id)
	if !d.over {
		d.over = true
		d.p.held = drop(d.p.held, d)
	}
	if r, ok := o.(broker.Release); ok {
		d.copy.explained++
		if !r.Mark.IsZero() {
			d.copy.marked = r.Mark.StartedAlone
		}
		l.unsettled += d.runs // an interrupted run costs nothing
		return
	}
	l.settled += d.runs
	switch o.(type) {
	case broker.Retry, broker.Dead:
		if b.w.plan.split {
			l.forks--
		}
	}
}

// begin books the start of the handler and checks what it was given, nil if the
// message is none of ours.
func (b *books) begin(p *process, m *redrive.Message) *run {
	w := b.w
	id := idOf(m.Body)
	if id < 0 || id >= len(w.plan.messages) {
		return nil
	}
	r := &run{p: p, id: id, start: w.sched.now}
	if w.plan.inbox != noInbox {
		r.start = w.sched.current.claimed // which is in the time that a handler has
	}
	copies := 0
	for _, d := range p.held {
		if d.id == id && !d.over {
			copies++
			if r.delivery == nil || d.runs < r.delivery.runs {
				r.delivery = d
			}
		}
	}
	r.sure = copies == 1
	if r.delivery != nil {
		r.delivery.runs++
		r.alone = r.delivery.alone && r.sure
	}
	l := b.of(p, id)
	l.runs++
	b.handlerRuns++
	if r.delivery == nil {
		l.unsettled++ // the lease is lost already
	}
	w.trace.line("run").p(p).n("m", id).n("attempt=", m.Attempt).end()
	if m.Attempt > m.MaxAttempts {
		b.violate("attempts", "m%d runs for attempt %d of %d", id, m.Attempt, m.MaxAttempts)
	}
	b.sameKey(id, m.IdempotencyKey)
	b.together(r)
	p.running = append(p.running, r)
	return r
}

// together checks that no more handlers run than may, and a suspect alone.
func (b *books) together(r *run) {
	pl := b.w.plan
	n := 1
	for _, other := range r.p.running {
		if !other.stuck {
			n++
		}
		if r.alone && !other.stuck || other.alone {
			b.violate("a suspect runs alone", "m%d and m%d run together in %s", other.id, r.id, r.p.name)
		}
	}
	if n > pl.concurrency {
		b.violate("concurrency", "%d handlers run in %s, at most %d are allowed", n, r.p.name, pl.concurrency)
	}
}

// turn counts the runs that the script of a message counts.
func (b *books) turn(r *run) int {
	l := b.of(r.p, r.id)
	l.turns++
	return l.turns
}

func (b *books) effect(r *run) {
	b.of(r.p, r.id).effects++
	b.effects++
}

// end books the end of a handler.
func (b *books) end(r *run, err error, panicking bool) {
	r.ended = true
	r.p.running = drop(r.p.running, r)
	t := b.w.trace.line("return").p(r.p).n("m", r.id)
	if panicking {
		t.s("by a panic").end()
	} else {
		t.err(err).end()
	}
	limit := int64(b.w.plan.policy.HandlerTimeout + b.w.plan.policy.HandlerGrace)
	if (err != nil || panicking || b.w.sched.now-r.start >= limit) && !r.outage {
		b.of(r.p, r.id).own++
	}
}

// observe books what a worker says of itself.
func (w *world) observe(p *process, e *redrive.Event) {
	if p.dead {
		return
	}
	id := -1
	if e.Message != nil {
		id = idOf(e.Message.Body)
	}
	t := w.trace.line("event").p(p).s(string(e.Kind))
	if id >= 0 {
		t.n("m", id)
	}
	if e.Row != "" {
		t.s(string(e.Row))
	}
	if e.Kind == redrive.EventBreaker {
		t.s(e.State.String())
	}
	t.end()
	if id < 0 || id >= len(w.plan.messages) {
		return
	}
	l := w.books.of(p, id)
	switch e.Kind { //nolint:exhaustive // the others say nothing that the books need
	case redrive.EventFailed:
		if !e.Counted {
			l.uncounted++
		}
		if e.Failure.Downstream {
			w.books.failures = append(w.books.failures, failed{p, id, w.sched.now})
		}
		// Another copy that a crash forked off may go on failing afterwards.
		l.lone = l.lone || e.Row == decision.RowLone
		if e.Row == decision.RowUnclear && l.usedUp == 0 {
			l.usedUp = w.sched.now
		}
		w.books.abandoned(p, id)
	case redrive.EventLeaseLost:
		w.books.abandoned(p, id)
	case redrive.EventInboxUnreachable:
		l.uncounted++
	case redrive.EventSuspect:
		w.books.suspected(p, id)
	}
}

// abandoned books that a worker has given its verdict on a run that goes on.
func (b *books) abandoned(p *process, id int) {
	for _, r := range p.running {
		if r.id == id && !r.stuck {
			r.stuck = true
			if !r.outage {
				b.of(p, id).own++
			}
		}
	}
}

// suspected checks that there is a reason to suspect a message.
func (b *books) suspected(p *process, id int) {
	for _, c := range b.copies {
		if c.last.id == id && c.at.Cluster == p.group && (c.handed-1-c.explained >= 2 || c.last.Deliveries().Mark.StartedAlone > 0) {
			return
		}
	}
	b.violate("suspicion has a reason", "m%d is suspected of killing its process, and every delivery of it was explained", id)
}

// exited checks that a process that was asked to stop did so.
func (b *books) exited(p *process, asked bool, err error) {
	if !asked {
		b.violate("clean stop", "%s ended by itself: %v", p.name, err)
	}
	if err != nil {
		b.cut = true
		if b.w.stopped && !p.late {
			b.violate("clean stop", "%s: %v", p.name, err)
		}
		return
	}
	if n := len(p.running); n > 0 {
		b.violate("clean stop", "%s ended with %d handlers running", p.name, n)
	}
	s := p.worker.Snapshot()
	if s.Waiting+s.Handlers+s.Staying+s.Suspects != 0 {
		b.violate("conservation", "%s ended with %d waiting, %d running, %d staying and %d suspects", p.name, s.Waiting, s.Handlers, s.Staying, s.Suspects)
	}
}

// intact checks that a message is what was published.
func (b *books) intact(where string, m *broker.Message) {
	id := idOf(m.Body)
	if id < 0 || id >= len(b.w.plan.messages) {
		b.violate("unexpected", "%s holds a message that was never published: %q", where, m.Body)
		return
	}
	want := &b.w.plan.messages[id]
	if !bytes.Equal(m.Body, want.body()) || !bytes.Equal(m.Key, []byte(want.describe())) {
		b.violate("body is sacred", "m%d in %s has another body or key", id, where)
	}
	if !slices.EqualFunc(m.Headers, want.headers(), func(a, c broker.Header) bool { return a.Name == c.Name && bytes.Equal(a.Value, c.Value) }) {
		b.violate("headers are kept", "m%d in %s has the headers %q", id, where, m.Headers)
	}
}

// callMeter counts the requests of a process within a second.
type callMeter struct {
	second int64
	calls  int
	handed int
}

func (c *callMeter) count(w *world, p *process) {
	if s := w.sched.now / int64(time.Second); s != c.second {
		*c = callMeter{second: s, handed: w.books.deliveries}
	}
	c.calls++
	if most := 200 + 20*(w.plan.inFlight+w.books.deliveries-c.handed); c.calls == most && !w.stopped {
		w.books.violate("no busy loop", "%s makes %d calls within a second", p.name, most)
	}
}

package redrive

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/internal/engine"
)

// flight is a delivery in this worker: the machine's item, and what the
// goroutines need beside it.
type flight struct {
	item     engine.Item
	once     sync.Once
	msg      Message
	digest   string // of the body, empty until somebody needs it
	read     string // the incarnation that was read, likewise
	foreign  []byte // an envelope that belongs to another message
	mu       sync.Mutex
	ctx      *handlerContext // of the newest run
	run      int
	cause    error // of the newest cancel, which may come before its run has begun
	causeRun int
	held     *heldClaim     // under which the handler runs, nil without an inbox
	outcome  broker.Outcome // of the move under way, kept so that a repeat is the same
}

func flightOf(it *engine.Item) *flight {
	f, _ := it.Data.(*flight)
	return f
}

// begin keeps the context of a run that is about to start.
func (f *flight) begin(run int, ctx *handlerContext) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.run, f.ctx = run, ctx
	if f.cause != nil && f.causeRun == run {
		ctx.end(f.cause)
	}
}

// abort cancels a run of the handler, also one that is only about to start. A run
// that has given way to another is left alone.
func (f *flight) abort(run int, cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if run < f.run {
		return
	}
	f.cause, f.causeRun = cause, run
	if run == f.run && f.ctx != nil {
		f.ctx.end(cause)
	}
}

// move returns the outcome of the move under way, nil if there is none.
func (f *flight) move() broker.Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.outcome
}

func (f *flight) setMove(o broker.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outcome = o
}

// event is a call into the machine.
type event func(now time.Time, out []engine.Action) []engine.Action

// step tells the machine what happened and does what it answers. The caller
// holds own, if not nil: its settlement is made right here. A caller that can go on
// with the run of a handler takes next, if there is one; with runs false all of them
// go to others.
func (w *Worker) step(own *engine.Item, runs bool, e event) (next job) {
	buffer, _ := w.buffers.Get().(*[]engine.Action)
	if buffer == nil {
		buffer = new([]engine.Action)
	}
	now, actions := w.tell(e, (*buffer)[:0])
	last, next := w.execute(now, own, runs, actions)
	clear(actions)
	*buffer = actions
	w.buffers.Put(buffer)
	if last.Kind == engine.Settle && !w.settleAsync(now, &last) {
		if next.item != nil { // It must not wait for the settlement.
			w.startRun(next)
			next = job{}
		}
		w.settleItem(now, &last)
	}
	return next
}

// tell tells the machine what happened.
func (w *Worker) tell(e event, out []engine.Action) (now time.Time, actions []engine.Action) {
	w.mu.Lock()
	now = w.host.Now()
	actions = e(now, out)
	next := w.machine.Next()
	kick := !next.IsZero() && (w.armed.IsZero() || next.Before(w.armed))
	if kick {
		w.armed = next
	}
	w.mu.Unlock()
	if kick {
		w.kick.Open()
	}
	return now, actions
}

// execute does what the machine asked for. What may block goes to goroutines of
// its own, but for the settlement of the caller's own message, which is returned
// for the caller to make, and observers, who are told here.
func (w *Worker) execute(now time.Time, own *engine.Item, runs bool, actions []engine.Action) (last engine.Action, next job) {
	for i := range actions {
		a := &actions[i]
		switch a.Kind {
		case engine.Receive:
			w.limit.Store(int64(a.Max))
			w.asked.Open()
		case engine.Run:
			w.busy.Add(1)
			if j := (job{a.Item, now}); runs && next.item == nil {
				next = j
			} else {
				w.startRun(j)
			}
		case engine.Cancel:
			flightOf(a.Item).abort(a.Run, a.Err)
		case engine.Settle:
			if a.Item == own && last.Kind == 0 {
				last = *a
				continue
			}
			settle := *a
			w.spawn(func() { w.settleItem(now, &settle) })
		case engine.Report:
			report := *a
			w.spawn(func() { w.reportOutcome(&report) })
		case engine.StoreMark:
			mark := *a
			w.spawn(func() { w.mark(&mark) })
		case engine.Extend:
			it, d := a.Item, a.Duration
			w.spawn(func() { w.extend(it, d) })
		case engine.PauseIntake:
			w.paused.Open()
		case engine.Notify:
			w.notify(now, a)
		}
	}
	return last, next
}

func (w *Worker) spawn(f func()) {
	w.busy.Add(1)
	w.host.Start(func() {
		defer w.rest()
		f()
	})
}

// rest ends what busy counts.
func (w *Worker) rest() {
	if w.busy.Add(-1) == 0 {
		w.quiet.Open()
	}
}

// startRun gives a job that busy counts to a goroutine that has nothing to do, or to
// a new one.
func (w *Worker) startRun(j job) {
	if r := w.crew.call(); r != nil {
		r.next <- j
		return
	}
	w.host.Start(func() { w.runner(j) })
}

// runner does one job after another: first those that its own made possible.
func (w *Worker) runner(j job) {
	running := true
	defer func() {
		if running { // the handler ended its goroutine
			w.rest()
		}
	}()
	r := &runner{next: make(chan job, 1)}
	for {
		for j.item != nil {
			running = true
			next := w.run(j.item, j.began)
			running = false
			w.rest()
			j = next
		}
		if !w.crew.wait(r) {
			return
		}
		if j = <-r.next; j.item == nil {
			return
		}
	}
}

// receiveLoop fetches whenever the machine asks for messages.
func (w *Worker) receiveLoop() {
	var items []*engine.Item
	for {
		w.asked.Wait(time.Time{})
		if w.fetch.ctx.Err() != nil {
			return
		}
		limit := int(w.limit.Swap(0))
		if limit == 0 {
			continue
		}
		deliveries, err := w.sub.Receive(w.fetch.ctx, limit)
		if w.fetch.ctx.Err() != nil {
			err = nil
		}
		clear(items)
		items = items[:0]
		for _, d := range deliveries {
			items = append(items, &w.arrive(d).item)
		}
		w.step(nil, false, func(now time.Time, out []engine.Action) []engine.Action {
			return w.machine.Received(now, items, err, out)
		})
	}
}

// arrive reads what the message carries. An envelope that belongs to another
// message, copied along by a service, is kept as data and not believed.
func (w *Worker) arrive(d broker.Delivery) *flight {
	f := &flight{}
	m := d.Msg()
	f.item = engine.Item{Delivery: d, Deliveries: d.Deliveries(), ExpiresAt: m.ExpiresAt, Data: f}
	if m.Envelope == nil {
		return f
	}
	f.digest = envelope.Digest(m.Body)
	e, err := envelope.Decode(m.Envelope)
	if newer := (*envelope.VersionError)(nil); errors.As(err, &newer) {
		f.item.Newer = true
		return f
	}
	if err != nil || !e.Belongs(w.cfg.Source, w.cfg.Group, f.digest) {
		f.foreign = m.Envelope
		return f
	}
	f.item.Env = &e
	return f
}

// tickLoop calls Tick when the machine wants it.
func (w *Worker) tickLoop() {
	due := time.Time{}
	for {
		w.kick.Wait(due)
		if w.ended.Load() {
			return
		}
		w.mu.Lock()
		due = w.machine.Next()
		w.armed = due
		w.mu.Unlock()
		if !due.IsZero() && !w.host.Now().Before(due) {
			w.busy.Add(1)
			w.step(nil, false, w.machine.Tick)
			w.rest()
			w.mu.Lock()
			due = w.machine.Next()
			w.armed = due
			w.mu.Unlock()
		}
	}
}

func (w *Worker) extend(it *engine.Item, d time.Duration) {
	if h := w.claimToExtend(flightOf(it)); h != nil {
		w.spawn(func() { w.extendClaim(h) })
	}
	ctx, cancel := w.host.Timeout(w.settle.ctx, w.cfg.SettleTimeout)
	defer cancel()
	err := it.Delivery.Extend(ctx, d)
	if err == nil {
		return
	}
	lost := errors.Is(err, broker.ErrLeaseLost)
	if !lost {
		w.cfg.Logger.Warn("extend a lease", slog.String("source", w.cfg.Source), slog.Any("error", err))
	}
	w.step(nil, false, func(now time.Time, out []engine.Action) []engine.Action {
		return w.machine.Extended(now, it, lost, out)
	})
}

// pauseLoop tells the broker whether messages will be asked for, always the
// newest answer, and until the broker has heard it: a worker whose Resume is lost
// would never get a message again.
func (w *Worker) pauseLoop() {
	told, sure, fails := false, true, 0
	again := time.Time{}
	for {
		w.paused.Wait(again)
		if w.fetch.ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		pause := w.machine.Paused()
		w.mu.Unlock()
		if again = (time.Time{}); sure && pause == told {
			continue
		}
		if sure = w.pauseIntake(pause); sure {
			told, fails = pause, 0
			continue
		}
		again = w.host.Now().Add(min(10*time.Second, 50*time.Millisecond<<min(fails, 8)))
		fails++
	}
}

// pauseIntake reports whether the broker is known to have heard it.
func (w *Worker) pauseIntake(pause bool) bool {
	ctx, cancel := w.host.Timeout(w.fetch.ctx, w.cfg.SettleTimeout)
	defer cancel()
	call := w.sub.Resume
	if pause {
		call = w.sub.Pause
	}
	err := call(ctx)
	if err != nil {
		w.cfg.Logger.Warn("pause or resume the intake", slog.String("source", w.cfg.Source), slog.Bool("pause", pause), slog.Any("error", err))
	}
	return err == nil
}

func (w *Worker) notify(now time.Time, a *engine.Action) {
	if len(w.cfg.Observers) == 0 {
		return
	}
	e := Event{
		Kind: eventKinds[a.Event], Source: w.cfg.Source, Group: w.cfg.Group, At: now,
		Took: a.Duration, Row: a.Verdict.Row, Category: a.Verdict.Category, Reason: string(a.Verdict.Reason),
		Counted: a.Verdict.Counted, Failure: a.Failure, State: a.State, Err: a.Err,
	}
	if !a.Verdict.At.IsZero() {
		e.Delay = max(0, a.Verdict.At.Sub(now))
	}
	if a.Item != nil {
		e.Message = w.message(flightOf(a.Item))
	}
	for _, o := range w.cfg.Observers {
		o.Observe(&e)
	}
}

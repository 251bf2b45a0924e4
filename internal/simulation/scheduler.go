package simulation

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime/debug"
)

// killed is what unwinds the tasks of a process that has died. It is thrown at
// every call that would leave the process, so nothing that is done on the way out
// has an effect.
type killed struct{}

// scheduler runs tasks one at a time. Which of those that can go on does so is
// drawn from the seed, and time moves only when none can.
type scheduler struct {
	random   *rand.Rand
	now      int64 // virtual nanoseconds since the epoch
	runnable []*task
	timers   timerHeap
	serial   uint64
	guarded  []guard
	current  *task
	idle     []*coroutine
	steps    int
	fatal    string // a panic that nobody recovered, with its stack
}

// task is a goroutine of the code under test, or of the world around it.
type task struct {
	process *process
	co      *coroutine
	waiting bool
	turn    uint32 // tells the timers of an earlier wait from those of this one
	done    bool
	moving  *delivery // whose move is under way
	claimed int64     // when it asked the inbox
}

// guard is a task that goes on when a context ends.
type guard struct {
	task *task
	turn uint32
	ctx  context.Context //nolint:containedctx // it is what is waited for
}

// coroutine runs one task after the other.
type coroutine struct {
	resume func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	job    func()
}

func newCoroutine() *coroutine {
	c := &coroutine{}
	c.resume, c.stop = iter.Pull(func(yield func(struct{}) bool) {
		c.yield = yield
		for {
			c.job()
			c.job = nil
			if !yield(struct{}{}) {
				return
			}
		}
	})
	return c
}

// start makes a task that is ready to run.
func (s *scheduler) start(p *process, f func()) {
	t := &task{process: p}
	if n := len(s.idle); n > 0 {
		t.co, s.idle = s.idle[n-1], s.idle[:n-1]
	} else {
		t.co = newCoroutine()
	}
	t.co.job = func() {
		defer func() {
			t.done = true
			if v := recover(); v != nil {
				if _, ok := v.(killed); !ok && s.fatal == "" {
					s.fatal = fmt.Sprintf("panic: %v\n%s", v, debug.Stack())
				}
			}
		}()
		if !p.dead {
			f()
		}
	}
	p.tasks = append(p.tasks, t)
	s.runnable = append(s.runnable, t)
}

// resume lets a task run until it waits or ends.
func (s *scheduler) resume(t *task) {
	s.current = t
	t.co.resume()
	s.current = nil
	if t.done {
		s.idle = append(s.idle, t.co)
		t.co = nil
	}
}

// step runs one task, or moves time to the next timer. It reports false if
// nothing is left to wait for, or nothing before the deadline.
func (s *scheduler) step(deadline int64) bool {
	s.endWaits()
	for len(s.runnable) == 0 {
		if len(s.timers) == 0 || s.timers[0].at > deadline {
			return false
		}
		s.fire()
		s.endWaits()
	}
	s.steps++
	i := 0
	if n := len(s.runnable); n > 1 {
		i = s.random.IntN(n)
	}
	t := s.runnable[i]
	last := len(s.runnable) - 1
	s.runnable[i] = s.runnable[last]
	s.runnable = s.runnable[:last]
	p := t.process
	switch {
	case t.done:
	case p.frozenUntil > s.now:
		p.frozen = append(p.frozen, t)
	default:
		if p.steps++; p.steps == p.killAt {
			p.kill("at a step")
		} else {
			s.resume(t)
		}
		if p.dead {
			s.unwind(p)
		} else {
			p.reap()
		}
	}
	return true
}

// unwind ends the tasks of a dead process.
func (s *scheduler) unwind(p *process) {
	for len(p.tasks) > 0 {
		all := p.tasks
		p.tasks = nil
		for _, t := range all {
			if t.done {
				continue
			}
			t.turn++
			t.waiting = false
			s.resume(t)
			if !t.done {
				p.tasks = append(p.tasks, t)
			}
		}
	}
	p.frozen = nil
}

// yield lets others run first.
func (s *scheduler) yield() {
	t := s.current
	s.runnable = append(s.runnable, t)
	s.leave(t)
}

// wait blocks the current task until it is woken, time has come to until (if that
// is not negative), or the context ends.
func (s *scheduler) wait(ctx context.Context, until int64) {
	t := s.current
	t.waiting = true
	if until >= 0 {
		s.at(until, t, nil)
	}
	if ctx.Done() != nil {
		s.guarded = append(s.guarded, guard{t, t.turn, ctx})
	}
	s.leave(t)
}

// sleep waits for a time, or for the end of the context.
func (s *scheduler) sleep(ctx context.Context, d int64) {
	if d <= 0 {
		s.yield()
		return
	}
	until := s.now + d
	for s.now < until && ctx.Err() == nil {
		s.wait(ctx, until)
	}
}

func (s *scheduler) leave(t *task) {
	t.co.yield(struct{}{})
	if t.process.dead {
		panic(killed{}) //nolint:forbidigo // it unwinds the task of a dead process
	}
}

// wake makes a waiting task ready.
func (s *scheduler) wake(t *task) {
	if t.waiting && !t.done {
		t.waiting = false
		t.turn++
		s.runnable = append(s.runnable, t)
	}
}

// endWaits wakes the tasks whose context has ended.
func (s *scheduler) endWaits() {
	kept := s.guarded[:0]
	for _, g := range s.guarded {
		switch {
		case g.task.done || g.task.turn != g.turn || !g.task.waiting:
		case g.ctx.Err() != nil:
			s.wake(g.task)
		default:
			kept = append(kept, g)
		}
	}
	clear(s.guarded[len(kept):])
	s.guarded = kept
}

// timer wakes a task, or calls a function of the world.
type timer struct {
	at     int64
	serial uint64
	task   *task
	turn   uint32
	call   *callback
}

// callback can be taken back.
type callback struct{ f func() }

func (s *scheduler) at(when int64, t *task, c *callback) {
	s.serial++
	e := timer{at: max(when, s.now), serial: s.serial, task: t, call: c}
	if t != nil {
		e.turn = t.turn
	}
	s.timers.push(e)
}

// call makes f happen after a time, unless what it returns is emptied.
func (s *scheduler) call(after int64, f func()) *callback {
	c := &callback{f}
	s.at(s.now+after, nil, c)
	return c
}

// fire moves time to the next timer, and lets it have its effect.
func (s *scheduler) fire() {
	e := s.timers.pop()
	if e.call != nil && e.call.f == nil || e.task != nil && (e.task.turn != e.turn || !e.task.waiting || e.task.done) {
		return
	}
	s.now = e.at
	if e.call != nil {
		f := e.call.f
		e.call.f = nil
		f()
		return
	}
	s.wake(e.task)
}

// timerHeap is a binary heap by time, then by age.
type timerHeap []timer

func (e *timer) before(other *timer) bool {
	if e.at != other.at {
		return e.at < other.at
	}
	return e.serial < other.serial
}

func (h *timerHeap) push(e timer) {
	*h = append(*h, e)
	q := *h
	for i := len(q) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q[i].before(&q[parent]) {
			break
		}
		q[i], q[parent] = q[parent], q[i]
		i = parent
	}
}

func (h *timerHeap) pop() timer {
	q := *h
	top := q[0]
	last := len(q) - 1
	q[0] = q[last]
	q[last] = timer{}
	q = q[:last]
	*h = q
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && q[child+1].before(&q[child]) {
			child++
		}
		if !q[child].before(&q[i]) {
			break
		}
		q[i], q[child] = q[child], q[i]
		i = child
	}
	return top
}

package redrivetest

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// ErrInjected is what a [Fault] returns that was given no error of its own.
var ErrInjected = errors.New("injected fault")

// Fault is one way in which a broker fails, for [Inject]. A constructor such as
// [FailSettle] says which calls it concerns, Nth, Every and Times say which of
// those it hits, and With, ApplyThenLose, Hang, LoseLease and Delay say what
// happens. Without any of them every call fails with [ErrInjected] before it
// takes effect. Set it up before it is handed to Inject; it is then safe for
// concurrent use.
type Fault struct {
	op    op
	queue string
	nth   int
	every int
	times int

	effect effect
	err    error
	delay  time.Duration
	// link, if not nil, says whether the fault strikes, by its switch, and ends a
	// hang when it is healed.
	link *Link
	on   *atomic.Bool

	mu    sync.Mutex
	seen  int
	fired int
}

type op uint16

const (
	opPublish op = 1 << iota
	opReceive
	opDone
	opRelease
	opRetry
	opDead
	opExtend
	opMark
	opStats
	opLetters

	opSettle = opDone | opRelease | opRetry | opDead
)

type effect uint8

const (
	failBefore effect = iota
	applyThenLose
	hang
	loseLease
	slow
)

// FailPublish concerns each message that is published to a queue that matches
// the glob. In every glob '*' stands for any characters; no glob means every
// queue.
func FailPublish(glob ...string) *Fault { return newFault(opPublish, glob) }

// FailReceive concerns Receive and TryReceive of subscriptions whose source
// matches.
func FailReceive(glob ...string) *Fault { return newFault(opReceive, glob) }

// FailSettle concerns every outcome. The glob is matched with the queue that the
// outcome is about: the target of Dead, the retry queue of the subscription for
// Retry, the source for Done and Release. So FailSettle("*.dlq") hits
// dead-lettering only.
func FailSettle(glob ...string) *Fault { return newFault(opSettle, glob) }

// FailDone concerns Settle with Done, by source.
func FailDone(glob ...string) *Fault { return newFault(opDone, glob) }

// FailRelease concerns Settle with Release, by source.
func FailRelease(glob ...string) *Fault { return newFault(opRelease, glob) }

// FailRetry concerns Settle with Retry, by retry queue.
func FailRetry(glob ...string) *Fault { return newFault(opRetry, glob) }

// FailDead concerns Settle with Dead, by target.
func FailDead(glob ...string) *Fault { return newFault(opDead, glob) }

// FailExtend concerns Extend, by source.
func FailExtend(glob ...string) *Fault { return newFault(opExtend, glob) }

// FailMark concerns Mark, by source.
func FailMark(glob ...string) *Fault { return newFault(opMark, glob) }

// FailStats concerns Stats, by queue.
func FailStats(glob ...string) *Fault { return newFault(opStats, glob) }

// FailLetters concerns Scan, Drain, Get and Remove, by queue.
func FailLetters(glob ...string) *Fault { return newFault(opLetters, glob) }

func newFault(o op, glob []string) *Fault {
	f := &Fault{op: o, queue: "*", err: ErrInjected}
	if len(glob) > 0 {
		f.queue = glob[0]
	}
	return f
}

// Nth hits only the n-th matching call, counted from 1.
func (f *Fault) Nth(n int) *Fault { f.nth = n; return f }

// Every hits each n-th matching call.
func (f *Fault) Every(n int) *Fault { f.every = n; return f }

// Times stops after n hits.
func (f *Fault) Times(n int) *Fault { f.times = n; return f }

// With fails with err before the call takes effect.
func (f *Fault) With(err error) *Fault { f.effect, f.err = failBefore, err; return f }

// ApplyThenLose lets the call take effect and loses the confirmation: the caller
// gets an error that wraps broker.ErrUnknown. A Settle that is then repeated
// with the same outcome succeeds, as it does on a broker; what Receive has
// taken comes again after its lease.
func (f *Fault) ApplyThenLose() *Fault { f.effect = applyThenLose; return f }

// Hang makes the call wait, without effect, until its context ends.
func (f *Fault) Hang() *Fault { f.effect = hang; return f }

// LoseLease makes the delivery lost: this call and every later one on the same
// delivery fails with broker.ErrLeaseLost. On calls that are not about a
// delivery it is an ordinary error.
func (f *Fault) LoseLease() *Fault { f.effect, f.err = loseLease, broker.ErrLeaseLost; return f }

// Delay makes the call wait for d, or for the end of its context, before it
// goes on.
func (f *Fault) Delay(d time.Duration) *Fault { f.effect, f.delay = slow, d; return f }

// Fired returns how many calls the fault has hit.
func (f *Fault) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Seen returns how many calls matched, hit or not.
func (f *Fault) Seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

// hits counts a call and says whether the fault strikes.
func (f *Fault) hits(o op, queue string) bool {
	if f.op&o == 0 || !matches(f.queue, queue) || f.on != nil && !f.on.Load() {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen++
	hit := (f.nth == 0 || f.seen == f.nth) && (f.every == 0 || f.seen%f.every == 0) && (f.times == 0 || f.fired < f.times)
	if hit {
		f.fired++
	}
	return hit
}

// matches reports whether name fits the glob, in which '*' stands for any
// characters and everything else for itself.
func matches(glob, name string) bool {
	head, rest, star := strings.Cut(glob, "*")
	if !star {
		return glob == name
	}
	if !strings.HasPrefix(name, head) {
		return false
	}
	for name = name[len(head):]; ; name = name[1:] {
		if matches(rest, name) {
			return true
		}
		if name == "" {
			return false
		}
	}
}

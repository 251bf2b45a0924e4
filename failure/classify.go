package failure

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxMessage is the largest Failure.Message in bytes.
const MaxMessage = 2048

// MaxType is the largest Failure.Type in bytes.
const MaxType = 256

// maxErrors bounds the errors looked at in one tree, so that a chain that
// leads back to itself ends.
const maxErrors = 1 << 14

// Rule names the category of errors that it knows, usually by errors.Is or
// errors.As. It returns false for all others. A rule must be safe for
// concurrent use. A rule that panics, or returns None, knows nothing.
type Rule func(error) (Category, bool)

// Classify says what a handler's error means. It returns the zero Failure for a
// nil error. It never panics, whatever the methods of the error do, and is safe
// for concurrent use.
//
// The category comes from the first of these that knows one:
//
//  1. the outermost marker, such as AsSchema or RetryAfter;
//  2. the rules, in order;
//  3. the defaults: a [PanicError] is Crash; *json.SyntaxError and
//     *json.UnmarshalTypeError are Schema; timeouts, *net.OpError,
//     *net.DNSError, io.ErrUnexpectedEOF and the system's errors of connections
//     and of exhausted resources are Transient;
//  4. otherwise Transient, with Unclassified set. context.Canceled is one of
//     these: the worker recognises its own cancelling before it asks.
//
// Each branch of errors.Join, and of any error that unwraps to several, is
// classified for itself, rules included. A permanent category in any branch
// wins over Crash, Crash over Transient, and a named Transient over an
// unclassified one. A rule sees the joined error as a whole only when no branch
// has a marker or a rule of its own.
//
// Of RetryAfter, Throttled and Quarantine the outermost one counts; between
// branches Quarantine wins over Throttled, Throttled over RetryAfter, and the
// longest delay is kept. A permanent failure has no delay.
//
// Type is the type of the innermost error that says something: the types of
// errors.New, fmt.Errorf, errors.Join and markers do only when there is nothing
// else. Well-known values have names of their own, such as
// "syscall.ECONNREFUSED" or "io.EOF". An error with a method
// ErrorType() string names its type itself, such as "http 503".
//
// encoding/json reports a body that ends too early as io.ErrUnexpectedEOF when
// it reads from a stream, which is Transient here because it usually is a
// connection that broke. Whoever decodes a complete body marks the error with
// AsSchema.
//
// Timeout stays false: only who called the handler knows that its time is up.
func Classify(err error, rules ...Rule) Failure {
	if err == nil {
		return Failure{}
	}
	w := walk{rules: rules, left: maxErrors}
	found := w.look(err)
	f := Failure{
		Category:     found.category,
		Unclassified: !found.known,
		Err:          err,
		Type:         found.typeName(),
		Message:      clip(errorText(err), MaxMessage),
		Downstream:   found.category == Transient && !found.local,
	}
	switch found.action {
	case actionQuarantine:
		f.Quarantine = true
	case actionThrottled:
		f.Throttled = found.category == Transient
		f.RetryAfter = found.delay
	case actionRetryAfter:
		f.RetryAfter = found.delay
	case actionNone:
	}
	if found.category.Permanent() {
		f.RetryAfter = 0
	}
	if p := found.panicked; p != nil {
		f.Stack = clip(string(p.Stack), MaxStack)
		f.Frame = p.Frame()
	}
	return f
}

// finding is what is known of one error and all it wraps.
type finding struct {
	category Category
	// known: a marker, a rule or a default named the category.
	known bool
	// decided: a marker or a rule did.
	decided bool
	// local: nothing in it speaks against the downstream.
	local  bool
	action action
	delay  time.Duration
	cause
	panicked *PanicError
}

// wrapped is what fmt.Errorf makes of one error: text, and what it wraps. Most
// chains are made of it, and there is nothing else to ask it.
var wrapped = reflect.TypeOf(fmt.Errorf("%w", io.EOF)) //nolint:gochecknoglobals // a type

// walk looks through one tree of errors.
type walk struct {
	rules []Rule
	// left is the number of errors that may still be looked at.
	left int
}

// look follows the chain from err to its end or to the first error with several
// branches.
func (w *walk) look(err error) finding {
	var (
		marks   marks
		found   = finding{category: Transient}
		next    = err
		several []error
	)
	for next != nil && several == nil && w.left > 0 {
		w.left--
		switch e := next.(type) {
		case *markedError:
			marks.add(e)
			next = e.err
			continue
		case *PanicError:
			found.crashed(e)
			next = nil
			continue
		}
		if reflect.TypeOf(next) == wrapped {
			found.last = wrapped.String()
			next = errors.Unwrap(next)
			continue
		}
		found.see(next)
		found.suggest(defaultCategory(next))
		next, several = unwrap(next)
	}
	w.branches(&found, several)
	if marks.category == None && !found.decided {
		if c, ok := w.ask(err); ok {
			found.category, found.known, found.decided = c, true, true
		}
	}
	marks.apply(&found)
	return found
}

// branches adds what the branches of an error say to what its own chain says.
func (w *walk) branches(found *finding, several []error) {
	var best finding
	some, local := false, true
	for _, branch := range several {
		if branch == nil || w.left <= 0 {
			continue
		}
		b := w.look(branch)
		local = local && b.local
		if !some {
			best, some = b, true
			continue
		}
		best.join(b)
	}
	if !some {
		return
	}
	own := *found
	*found = best
	found.local = local
	if own.rank() > best.rank() {
		found.category, found.known, found.cause = own.category, own.known, own.cause
	}
	if !found.said() && own.said() {
		found.cause = own.cause
	}
}

// join adds a branch. The stronger category brings its cause along.
func (f *finding) join(b finding) {
	stronger := b.rank() > f.rank()
	if b.rank() == f.rank() {
		stronger = b.decided && !f.decided || b.decided == f.decided && b.said() && !f.said()
	}
	if stronger {
		f.category, f.known, f.cause = b.category, b.known, b.cause
	}
	f.decided = f.decided || b.decided
	f.delay = max(f.delay, b.delay)
	f.action = max(f.action, b.action)
	if f.panicked == nil {
		f.panicked = b.panicked
	}
}

// rank orders findings by what wins among the branches of an error.
func (f *finding) rank() int {
	switch {
	case f.category.Permanent():
		return 3
	case f.category == Crash:
		return 2
	case f.known:
		return 1
	}
	return 0
}

// suggest takes a category that a default knows, if it is stronger.
func (f *finding) suggest(c Category) {
	if other := (finding{category: c, known: true}); c != None && other.rank() > f.rank() {
		f.category, f.known = c, true
	}
}

// crashed notes a panic. Nothing inside it counts: that a handler panicked with
// a timeout does not make it one.
func (f *finding) crashed(p *PanicError) {
	if p == nil {
		f.see(p)
		return
	}
	f.named = p.valueType()
	if f.panicked == nil {
		f.panicked = p
	}
	f.suggest(Crash)
}

// marks collects the markers of one chain, outermost first.
type marks struct {
	category  Category
	action    action
	delay     time.Duration
	permanent bool
	local     bool
}

func (m *marks) add(e *markedError) {
	if m.category == None {
		m.category = e.category
		m.permanent = m.permanent || e.permanent
	}
	if m.action == actionNone {
		m.action, m.delay = e.action, e.delay
	}
	m.local = m.local || e.local
}

func (m *marks) apply(f *finding) {
	if m.category != None {
		f.category, f.known, f.decided = m.category, true, true
	}
	if m.permanent {
		if !f.category.Permanent() {
			f.category = Business
		}
		f.known, f.decided = true, true
	}
	if m.local {
		f.local, f.known = true, true
	}
	if m.action != actionNone {
		f.action, f.delay = m.action, m.delay
	}
}

// ask returns the category of the first rule that knows the error.
func (w *walk) ask(err error) (Category, bool) {
	for _, rule := range w.rules {
		if c := try(rule, err); c != None && int(c) < len(categoryNames) {
			return c, true
		}
	}
	return None, false
}

func try(rule Rule, err error) (c Category) {
	defer func() {
		if recover() != nil {
			c = None
		}
	}()
	if rule == nil {
		return None
	}
	c, ok := rule(err)
	if !ok {
		return None
	}
	return c
}

// clip returns s as valid UTF-8 of at most n bytes.
func clip(s string, n int) string {
	if len(s) > n {
		// Cutting before the repair bounds its cost; the rune that is cut in two
		// is taken off whole.
		cut := n
		for cut > n-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	if utf8.ValidString(s) {
		return s
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > n {
		return clip(s, n)
	}
	return s
}

package failure

import (
	"bytes"
	"fmt"
	"strings"
)

// MaxStack is the largest stack in bytes that a PanicError or Failure keeps.
const MaxStack = 16 << 10

// PanicError is a panic of a handler as an error. [Classify] makes it a Crash.
type PanicError struct {
	// Value is what the handler panicked with.
	Value any
	// Stack is the text of the goroutine's stack, at most MaxStack bytes. The
	// innermost frames come first and are the ones that are kept.
	Stack []byte
}

// NewPanic returns the error for a recovered value and the text that
// runtime/debug.Stack returned in the deferred function that recovered it. The
// stack is copied, and cut at the end of a line. A value that is a *PanicError
// already, carried over from another goroutine, is returned as it is, because
// its stack is the one that tells the cause.
func NewPanic(value any, stack []byte) *PanicError {
	if p, ok := value.(*PanicError); ok && p != nil {
		return p
	}
	if len(stack) > MaxStack {
		stack = stack[:MaxStack]
		if end := bytes.LastIndexByte(stack, '\n'); end >= 0 {
			stack = stack[:end+1]
		}
	}
	return &PanicError{Value: value, Stack: bytes.Clone(stack)}
}

// Error returns "panic: " and the value.
func (p *PanicError) Error() string {
	if p == nil {
		return "panic"
	}
	return "panic: " + fmt.Sprint(p.Value)
}

// Unwrap returns the value if it is an error, so that errors.Is and errors.As
// find it; nil otherwise.
func (p *PanicError) Unwrap() error {
	if p == nil {
		return nil
	}
	err, _ := p.Value.(error)
	return err
}

// valueType names the root cause: that of the error that was the value, or the
// type of the value, as in "panic(string)".
func (p *PanicError) valueType() string {
	err, ok := p.Value.(error)
	if !ok {
		return fmt.Sprintf("panic(%T)", p.Value)
	}
	var c cause
	for left := maxErrors; err != nil && left > 0; left-- {
		if m, ok := err.(*markedError); ok {
			err = m.err
			continue
		}
		c.see(err)
		err, _ = unwrap(err)
	}
	return c.typeName()
}

// Frame returns the innermost frame of the panic outside the runtime, with the
// import path of its package, such as "github.com/acme/orders.(*Handler).Handle".
// It is empty if the stack does not tell. File and line are left out: they
// change with every release, and the frame is part of the signature.
func (p *PanicError) Frame() string {
	if p == nil {
		return ""
	}
	stack := string(p.Stack)
	// What is above the call of panic is the deferred function that recovered.
	// The first such call is the newest panic, the one that was recovered.
	if at := strings.Index(stack, "\npanic("); at >= 0 {
		return firstFrame(stack[at+1:], notRuntime)
	}
	if frame := firstFrame(stack, notOurs); frame != "" {
		return frame
	}
	return firstFrame(stack, notRuntime)
}

// firstFrame returns the first function of a stack that want accepts.
func firstFrame(stack string, want func(string) bool) string {
	for line := range strings.Lines(stack) {
		if strings.HasPrefix(line, "created by ") {
			return ""
		}
		if line[0] == '\t' || strings.HasPrefix(line, "goroutine ") {
			continue
		}
		// The arguments hold no parenthesis, a receiver before them does.
		end := strings.LastIndexByte(line, '(')
		if end <= 0 {
			continue
		}
		// The toolchain escapes dots in the last element of an import path.
		if frame := strings.ReplaceAll(line[:end], "%2e", "."); want(frame) {
			return clip(frame, MaxType)
		}
	}
	return ""
}

func notRuntime(frame string) bool {
	return frame != "panic" && !strings.HasPrefix(frame, "runtime.") &&
		!strings.HasPrefix(frame, "runtime/") && !strings.HasPrefix(frame, "internal/runtime/")
}

func notOurs(frame string) bool {
	const module = "github.com/redrive-dev/redrive"
	rest, ours := strings.CutPrefix(frame, module)
	return notRuntime(frame) && (!ours || rest == "" || rest[0] != '.' && rest[0] != '/')
}

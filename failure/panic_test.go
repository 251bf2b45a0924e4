package failure_test

import (
	"errors"
	"io"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/redrive-dev/redrive/failure"
)

// recovered runs f as a worker does.
func recovered(f func()) (p *failure.PanicError) {
	defer func() {
		if v := recover(); v != nil {
			p = failure.NewPanic(v, debug.Stack())
		}
	}()
	f()
	return nil
}

type handler struct{ orders map[string]int }

func (h *handler) handle(string) { h.orders["x"]++ }

func (h *handler) index(items []int) int { return items[len(items)] }

func (h *handler) rethrow() {
	defer func() {
		_ = recover()
		panic("second")
	}()
	h.handle("x")
}

func generic[T any](v []T) T { return v[len(v)] }

func TestPanicFrame(t *testing.T) {
	const pkg = "github.com/redrive-dev/redrive/failure_test."
	h := &handler{}
	tests := []struct {
		name         string
		run          func()
		frame        string
		typ, message string
	}{
		{"nil map", func() { h.handle("x") }, pkg + "(*handler).handle", "runtime.plainError", "panic: assignment to entry in nil map"},
		{"index", func() { h.index(nil) }, pkg + "(*handler).index", "runtime.boundsError", "panic: runtime error: index out of range [0] with length 0"},
		{"nil pointer", func() { (*handler)(nil).handle("x") }, pkg + "(*handler).handle", "runtime.errorString", "panic: runtime error: invalid memory address or nil pointer dereference"},
		{"generic", func() { generic[int](nil) }, pkg + "generic[...]", "runtime.boundsError", "panic: runtime error: index out of range [0] with length 0"},
		{"value", func() { panic(42) }, "", "panic(int)", "panic: 42"},
		{"error", func() { panic(io.EOF) }, "", "io.EOF", "panic: EOF"},
		{"panic while panicking", h.rethrow, pkg + "(*handler).rethrow.func1", "panic(string)", "panic: second"},
		{"in the library", func() { _ = strings.Repeat("x", -1) }, "strings.Repeat", "panic(string)", "panic: strings: negative Repeat count"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := recovered(test.run)
			f := failure.Classify(p)
			if test.frame != "" && f.Frame != test.frame {
				t.Errorf("frame %q, want %q in\n%s", f.Frame, test.frame, p.Stack)
			}
			if !strings.HasPrefix(f.Frame, "strings.") && !strings.HasPrefix(f.Frame, pkg) {
				t.Errorf("frame %q is neither the test's nor the library's", f.Frame)
			}
			if f.Category != failure.Crash || f.Downstream || f.Message != test.message || f.Stack == "" {
				t.Errorf("got %+v", f)
			}
			if f.Type != test.typ {
				t.Errorf("type %q, want %q", f.Type, test.typ)
			}
		})
	}
}

func TestPanicFrameOfText(t *testing.T) {
	tests := []struct{ name, stack, want string }{
		{"none", "", ""},
		{"no frame", "goroutine 1 [running]:\nruntime.main()\n\t/go/proc.go:1\n", ""},
		{"without a panic", "goroutine 1 [running]:\nruntime/debug.Stack()\n\t/go/stack.go:1\ngithub.com/redrive-dev/redrive.(*Worker).run(0x1)\n\t/w.go:1\ngopkg.in/orders%2ev3.Handle({0x1, 0x2})\n\t/o.go:2\n", "gopkg.in/orders.v3.Handle"},
		{"only our own", "github.com/redrive-dev/redrive.Do(...)\n\t/w.go:1\n", "github.com/redrive-dev/redrive.Do"},
		{"another module with our prefix", "github.com/redrive-dev/redrive-orders.Handle(0x1)\n\t/w.go:1\n", "github.com/redrive-dev/redrive-orders.Handle"},
		{"creator is no frame", "goroutine 1 [running]:\nruntime.goexit()\n\t/go/asm.s:1\ncreated by main.main in goroutine 1\n\t/m.go:1\n", ""},
	}
	for _, test := range tests {
		if got := failure.NewPanic("x", []byte(test.stack)).Frame(); got != test.want {
			t.Errorf("%s: frame %q, want %q", test.name, got, test.want)
		}
	}
}

func TestPanicBoundsStack(t *testing.T) {
	stack := []byte(strings.Repeat("main.f(...)\n\t/main.go:1\n", 2000))
	p := failure.NewPanic("x", stack)
	if len(p.Stack) > failure.MaxStack || len(p.Stack) < failure.MaxStack-100 || p.Stack[len(p.Stack)-1] != '\n' {
		t.Errorf("%d bytes, ending with %q", len(p.Stack), p.Stack[len(p.Stack)-10:])
	}
	stack[0] = 'X'
	if p.Stack[0] != 'm' {
		t.Error("the stack is shared with the caller")
	}
	f := failure.Classify(&failure.PanicError{Value: "x", Stack: stack})
	if len(f.Stack) > failure.MaxStack {
		t.Errorf("the failure keeps %d bytes", len(f.Stack))
	}
}

func TestPanicCarriedOver(t *testing.T) {
	inner := recovered(func() { panic("inner") })
	if outer := recovered(func() { panic(inner) }); outer != inner {
		t.Errorf("a panic carried over from another goroutine became %v", outer)
	}
	if !errors.Is(failure.NewPanic(io.EOF, nil), io.EOF) {
		t.Error("the error that was the value is not found")
	}
	var none *failure.PanicError
	if none.Error() != "panic" || none.Unwrap() != nil || none.Frame() != "" {
		t.Error("methods of a nil PanicError")
	}
}

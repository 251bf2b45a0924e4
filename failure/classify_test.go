package failure_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/failure"
)

type stockError struct{ item string }

func (e *stockError) Error() string { return "no stock of " + e.item }

type batchError struct{ all []error }

func (e *batchError) Error() string   { return "batch failed" }
func (e *batchError) Unwrap() []error { return e.all }

type callError struct {
	status int
	err    error
}

func (e *callError) Error() string     { return fmt.Sprintf("call: status %d", e.status) }
func (e *callError) ErrorType() string { return fmt.Sprintf("http %d", e.status) }
func (e *callError) Unwrap() error     { return e.err }

// namedError names its own type.
type namedError string

func (e namedError) Error() string     { return "named" }
func (e namedError) ErrorType() string { return string(e) }

type slowError struct{}

func (slowError) Error() string   { return "too slow" }
func (slowError) Timeout() bool   { return true }
func (slowError) Temporary() bool { return false }

type isError struct{ target error }

func (e isError) Error() string        { return "as good as " + e.target.Error() }
func (e isError) Is(target error) bool { return target == e.target }

type asError struct{}

func (asError) Error() string { return "json inside" }
func (asError) As(target any) bool {
	p, ok := target.(**json.SyntaxError)
	if ok {
		*p = &json.SyntaxError{}
	}
	return ok
}

// rudeError panics wherever it can.
type rudeError struct{ name *string }

func (e *rudeError) Error() string     { return *e.name }
func (e *rudeError) ErrorType() string { return *e.name }
func (e *rudeError) Timeout() bool     { return *e.name == "" }
func (e *rudeError) Temporary() bool   { return *e.name == "" }
func (e *rudeError) Is(error) bool     { return *e.name == "" }
func (e *rudeError) As(any) bool       { return *e.name == "" }
func (e *rudeError) Unwrap() error     { return errors.New(*e.name) }

type loopError struct{}

func (e *loopError) Error() string { return "loop" }
func (e *loopError) Unwrap() error { return e }

type knotError struct{}

func (e *knotError) Error() string   { return "knot" }
func (e *knotError) Unwrap() []error { return []error{e, nil, e} }

// uncomparableError breaks code that compares errors or keeps them in maps.
type uncomparableError []string

func (e uncomparableError) Error() string { return strings.Join(e, ", ") }

func refused() error {
	return &url.Error{Op: "Post", URL: "http://billing/charges", Err: &net.OpError{
		Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED),
	}}
}

func badJSON() error {
	var v any
	return json.Unmarshal([]byte("{,}"), &v)
}

func wrongJSON() error {
	var v struct{ Total int }
	return json.Unmarshal([]byte(`{"Total":"x"}`), &v)
}

func TestClassifyDefaults(t *testing.T) {
	var nilStock *stockError
	tests := []struct {
		name         string
		err          error
		category     failure.Category
		unclassified bool
		typ          string
	}{
		{"plain", errors.New("x"), failure.Transient, true, "*errors.errorString"},
		{"formatted", fmt.Errorf("a: %w", errors.New("x")), failure.Transient, true, "*errors.errorString"},
		{"own type", fmt.Errorf("a: %w", &stockError{"pen"}), failure.Transient, true, "*failure_test.stockError"},
		{"nil pointer", nilStock, failure.Transient, true, "*failure_test.stockError"},
		{"cancelled", fmt.Errorf("a: %w", context.Canceled), failure.Transient, true, "context.Canceled"},
		{"eof", io.EOF, failure.Transient, true, "io.EOF"},
		{"deadline", fmt.Errorf("a: %w", context.DeadlineExceeded), failure.Transient, false, "context.DeadlineExceeded"},
		{"os deadline", os.ErrDeadlineExceeded, failure.Transient, false, "os.ErrDeadlineExceeded"},
		{"unexpected eof", fmt.Errorf("a: %w", io.ErrUnexpectedEOF), failure.Transient, false, "io.ErrUnexpectedEOF"},
		{"refused", fmt.Errorf("charge: %w", refused()), failure.Transient, false, "syscall.ECONNREFUSED"},
		{"reset", syscall.ECONNRESET, failure.Transient, false, "syscall.ECONNRESET"},
		{"broken pipe", os.NewSyscallError("write", syscall.EPIPE), failure.Transient, false, "syscall.EPIPE"},
		{"not there", &os.PathError{Op: "open", Path: "/x", Err: syscall.ENOENT}, failure.Transient, true, "syscall.ENOENT"},
		{"name", &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "db"}}, failure.Transient, false, "*net.DNSError"},
		{"op", &net.OpError{Op: "read", Net: "tcp", Err: errors.New("x")}, failure.Transient, false, "*net.OpError"},
		{"timeout", fmt.Errorf("a: %w", slowError{}), failure.Transient, false, "failure_test.slowError"},
		{"is", isError{context.DeadlineExceeded}, failure.Transient, false, "failure_test.isError"},
		{"is another", isError{io.EOF}, failure.Transient, true, "failure_test.isError"},
		{"as", asError{}, failure.Schema, false, "failure_test.asError"},
		{"json syntax", fmt.Errorf("decode: %w", badJSON()), failure.Schema, false, "*json.SyntaxError"},
		{"json type", wrongJSON(), failure.Schema, false, "*json.UnmarshalTypeError"},
		{"json misuse", &json.InvalidUnmarshalError{}, failure.Transient, true, "*json.InvalidUnmarshalError"},
		{"named", fmt.Errorf("a: %w", &callError{503, io.ErrUnexpectedEOF}), failure.Transient, false, "http 503"},
		{"panic", fmt.Errorf("a: %w", failure.NewPanic("boom", nil)), failure.Crash, false, "panic(string)"},
		{"panic with error", failure.NewPanic(fmt.Errorf("a: %w", refused()), nil), failure.Crash, false, "syscall.ECONNREFUSED"},
		{"panic with marker", failure.NewPanic(failure.AsSchema(io.EOF), nil), failure.Crash, false, "io.EOF"},
		{"loop", &loopError{}, failure.Transient, true, "*failure_test.loopError"},
		{"knot", &knotError{}, failure.Transient, true, "*failure_test.knotError"},
		{"uncomparable", uncomparableError{"a", "b"}, failure.Transient, true, "failure_test.uncomparableError"},
		{"rude", &rudeError{}, failure.Transient, true, "*failure_test.rudeError"},
		{"nil panic", (*failure.PanicError)(nil), failure.Transient, true, "*failure.PanicError"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := failure.Classify(test.err)
			if f.Category != test.category || f.Unclassified != test.unclassified || f.Type != test.typ {
				t.Errorf("got %v, unclassified %v, type %q; want %v, %v, %q", f.Category, f.Unclassified, f.Type, test.category, test.unclassified, test.typ)
			}
			if want := test.category == failure.Transient; f.Downstream != want {
				t.Errorf("Downstream = %v, want %v", f.Downstream, want)
			}
			if f.Message == "" {
				t.Error("no message")
			}
			if f.Timeout {
				t.Error("Timeout is set, which only the caller of the handler can know")
			}
		})
	}
}

func TestClassifyMarkers(t *testing.T) {
	base := &stockError{"pen"}
	const typ = "*failure_test.stockError"
	tests := []struct {
		name string
		err  error
		want failure.Failure
	}{
		{"permanent", failure.Permanent(base), failure.Failure{Category: failure.Business}},
		{"permanent inside a wrapper", fmt.Errorf("a: %w", failure.Permanent(base)), failure.Failure{Category: failure.Business}},
		{"permanent over integration", failure.Permanent(fmt.Errorf("a: %w", failure.AsIntegration(base))), failure.Failure{Category: failure.Integration}},
		{"permanent over transient", failure.Permanent(failure.AsTransient(base)), failure.Failure{Category: failure.Business}},
		{"permanent over retry after", failure.Permanent(failure.RetryAfter(time.Second, base)), failure.Failure{Category: failure.Business}},
		{"permanent over throttled", failure.Permanent(failure.Throttled(time.Second, base)), failure.Failure{Category: failure.Business}},
		{"schema over permanent", failure.AsSchema(failure.Permanent(base)), failure.Failure{Category: failure.Schema}},
		{"transient over permanent", failure.AsTransient(failure.Permanent(failure.AsSchema(base))), failure.Failure{Category: failure.Transient, Downstream: true}},
		{"outer category wins", failure.AsBusiness(failure.AsSchema(base)), failure.Failure{Category: failure.Business}},
		{"transient", failure.AsTransient(base), failure.Failure{Category: failure.Transient, Downstream: true}},
		{"retry after", failure.RetryAfter(time.Minute, base), failure.Failure{Category: failure.Transient, Downstream: true, RetryAfter: time.Minute}},
		{"retry after, negative", failure.RetryAfter(-1, base), failure.Failure{Category: failure.Transient, Downstream: true}},
		{"retry after, twice", failure.RetryAfter(1, failure.RetryAfter(2, base)), failure.Failure{Category: failure.Transient, Downstream: true, RetryAfter: 1}},
		{"retry after over schema", failure.RetryAfter(1, failure.AsSchema(base)), failure.Failure{Category: failure.Transient, Downstream: true, RetryAfter: 1}},
		{"throttled", failure.Throttled(time.Minute, base), failure.Failure{Category: failure.Transient, Downstream: true, RetryAfter: time.Minute, Throttled: true}},
		{"schema over throttled", failure.AsSchema(failure.Throttled(1, base)), failure.Failure{Category: failure.Schema}},
		{"quarantine", failure.Quarantine(base), failure.Failure{Category: failure.Transient, Unclassified: true, Downstream: true, Quarantine: true}},
		{"quarantine schema", failure.Quarantine(failure.AsSchema(base)), failure.Failure{Category: failure.Schema, Quarantine: true}},
		{"schema quarantine", failure.AsSchema(failure.Quarantine(base)), failure.Failure{Category: failure.Schema, Quarantine: true}},
		{"quarantine over throttled", failure.Quarantine(failure.Throttled(1, base)), failure.Failure{Category: failure.Transient, Downstream: true, Quarantine: true}},
		{"throttled over quarantine", failure.Throttled(1, failure.Quarantine(base)), failure.Failure{Category: failure.Transient, Downstream: true, RetryAfter: 1, Throttled: true}},
		{"local", failure.Local(base), failure.Failure{Category: failure.Transient}},
		{"local schema", failure.Local(failure.AsSchema(base)), failure.Failure{Category: failure.Schema}},
		{"retry after local", failure.RetryAfter(1, failure.Local(base)), failure.Failure{Category: failure.Transient, RetryAfter: 1}},
		{"local retry after", failure.Local(failure.RetryAfter(1, base)), failure.Failure{Category: failure.Transient, RetryAfter: 1}},
		{"crash", failure.Mark(failure.Crash, base), failure.Failure{Category: failure.Crash}},
		{"no category", failure.Mark(failure.None, base), failure.Failure{Category: failure.Transient, Unclassified: true, Downstream: true}},
		{"unknown category", failure.Mark(99, base), failure.Failure{Category: failure.Transient, Unclassified: true, Downstream: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.want.Type, test.want.Message = typ, test.err.Error()
			got := failure.Classify(test.err)
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(failure.Failure{}, "Err")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if !errors.Is(test.err, base) || got.Err != test.err {
				t.Error("the error is not what the handler returned")
			}
		})
	}
	schema := failure.Classify(failure.Permanent(fmt.Errorf("decode: %w", badJSON())))
	if schema.Category != failure.Schema || schema.Type != "*json.SyntaxError" {
		t.Errorf("Permanent over a JSON syntax error is %v, %s", schema.Category, schema.Type)
	}
}

func TestMarkersOfNil(t *testing.T) {
	for i, err := range []error{
		failure.Permanent(nil), failure.AsSchema(nil), failure.AsBusiness(nil), failure.AsIntegration(nil), failure.AsTransient(nil),
		failure.RetryAfter(1, nil), failure.Throttled(1, nil), failure.Quarantine(nil), failure.Local(nil), failure.Mark(failure.Crash, nil),
	} {
		if err != nil {
			t.Errorf("marker %d of nil is %v", i, err)
		}
	}
	if diff := cmp.Diff(failure.Failure{}, failure.Classify(nil)); diff != "" {
		t.Errorf("Classify(nil) (-want +got)\n%s", diff)
	}
	if failure.Marked(io.EOF) || !failure.Marked(fmt.Errorf("a: %w", failure.Local(io.EOF))) {
		t.Error("Marked does not tell marked errors from others")
	}
}

func TestClassifyBranches(t *testing.T) {
	stock, text := &stockError{"pen"}, errors.New("x")
	tests := []struct {
		name       string
		err        error
		category   failure.Category
		typ        string
		downstream bool
	}{
		{"schema after transient", errors.Join(refused(), badJSON()), failure.Schema, "*json.SyntaxError", false},
		{"two verbs", fmt.Errorf("%w and %w", failure.AsTransient(text), failure.AsBusiness(stock)), failure.Business, "*failure_test.stockError", false},
		{"nested", errors.Join(text, fmt.Errorf("a: %w", errors.Join(text, failure.AsSchema(stock)))), failure.Schema, "*failure_test.stockError", false},
		{"crash over transient", errors.Join(refused(), failure.NewPanic(7, nil)), failure.Crash, "panic(int)", false},
		{"schema over crash", errors.Join(failure.NewPanic(7, nil), badJSON()), failure.Schema, "*json.SyntaxError", false},
		{"named over unclassified", errors.Join(stock, refused()), failure.Transient, "syscall.ECONNREFUSED", true},
		{"something over text", errors.Join(text, stock), failure.Transient, "*failure_test.stockError", true},
		{"only text", errors.Join(text, text), failure.Transient, "*errors.errorString", true},
		{"stated over found", errors.Join(badJSON(), failure.AsBusiness(stock)), failure.Business, "*failure_test.stockError", false},
		{"marker outside", failure.AsTransient(errors.Join(badJSON(), stock)), failure.Transient, "*json.SyntaxError", true},
		{"permanent outside", failure.Permanent(errors.Join(stock, badJSON())), failure.Schema, "*json.SyntaxError", false},
		{"own type of several", &batchError{[]error{nil, text}}, failure.Transient, "*failure_test.batchError", true},
		{"own type of none", &batchError{[]error{}}, failure.Transient, "*failure_test.batchError", true},
		{"all local", errors.Join(failure.Local(text), failure.Local(stock)), failure.Transient, "*failure_test.stockError", false},
		{"the other local", errors.Join(text, failure.Local(stock)), failure.Transient, "*failure_test.stockError", true},
		{"one local", errors.Join(failure.Local(stock), text), failure.Transient, "*failure_test.stockError", true},
		{"local outside", failure.Local(errors.Join(stock, text)), failure.Transient, "*failure_test.stockError", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := failure.Classify(test.err)
			if f.Category != test.category || f.Type != test.typ || f.Downstream != test.downstream {
				t.Errorf("got %v, %q, downstream %v; want %v, %q, %v", f.Category, f.Type, f.Downstream, test.category, test.typ, test.downstream)
			}
		})
	}
	f := failure.Classify(errors.Join(failure.RetryAfter(3, text), failure.Throttled(2, text)))
	if !f.Throttled || f.RetryAfter != 3 || f.Quarantine {
		t.Errorf("throttled branch: %+v", f)
	}
	f = failure.Classify(errors.Join(failure.Quarantine(text), failure.Throttled(2, text)))
	if f.Throttled || f.RetryAfter != 0 || !f.Quarantine {
		t.Errorf("quarantined branch: %+v", f)
	}
}

func TestClassifyRules(t *testing.T) {
	stock := func(c failure.Category) failure.Rule {
		return func(err error) (failure.Category, bool) {
			var target *stockError
			return c, errors.As(err, &target)
		}
	}
	batch := func(err error) (failure.Category, bool) {
		var target *batchError
		return failure.Integration, errors.As(err, &target)
	}
	all := func(c failure.Category) failure.Rule {
		return func(error) (failure.Category, bool) { return c, true }
	}
	rude := func(error) (failure.Category, bool) { panic("rule") }
	pen := &stockError{"pen"}
	tests := []struct {
		name  string
		err   error
		rules []failure.Rule
		want  failure.Category
	}{
		{"matches", fmt.Errorf("a: %w", pen), []failure.Rule{stock(failure.Business)}, failure.Business},
		{"does not match", io.EOF, []failure.Rule{stock(failure.Business)}, failure.Transient},
		{"first wins", pen, []failure.Rule{stock(failure.Integration), all(failure.Business)}, failure.Integration},
		{"before the defaults", badJSON(), []failure.Rule{all(failure.Transient)}, failure.Transient},
		{"after the markers", failure.AsSchema(pen), []failure.Rule{stock(failure.Business)}, failure.Schema},
		{"inside permanent", failure.Permanent(pen), []failure.Rule{stock(failure.Integration)}, failure.Integration},
		{"inside quarantine", failure.Quarantine(pen), []failure.Rule{stock(failure.Integration)}, failure.Integration},
		{"panics, nil, none and unknown are passed over", pen, []failure.Rule{rude, nil, all(failure.None), all(77), stock(failure.Business)}, failure.Business},
		{"one branch", errors.Join(io.EOF, pen), []failure.Rule{stock(failure.Business)}, failure.Business},
		{"the other branch is classified for itself", errors.Join(badJSON(), pen), []failure.Rule{stock(failure.Transient)}, failure.Schema},
		{"the joined error", &batchError{[]error{io.EOF}}, []failure.Rule{batch}, failure.Integration},
		{"a branch before the joined error", &batchError{[]error{failure.AsTransient(io.EOF)}}, []failure.Rule{batch}, failure.Transient},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := failure.Classify(test.err, test.rules...)
			if f.Category != test.want {
				t.Errorf("got %v, want %v", f.Category, test.want)
			}
		})
	}
	if f := failure.Classify(pen, stock(failure.Transient)); f.Unclassified {
		t.Error("a Transient that a rule named is unclassified")
	}
}

func TestClassifyBoundsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Repeat(rapid.String().Draw(t, "text"), rapid.SampledFrom([]int{1, 100, 1000}).Draw(t, "times"))
		if rapid.Bool().Draw(t, "cut") && text != "" {
			text = text[1:]
		}
		text += rapid.SampledFrom([]string{"", "\xff", "\xe6\x97"}).Draw(t, "end")
		f := failure.Classify(errors.New(text))
		if len(f.Message) > failure.MaxMessage || !utf8.ValidString(f.Message) {
			t.Fatalf("message of %d bytes, valid %v", len(f.Message), utf8.ValidString(f.Message))
		}
		if utf8.ValidString(text) && (!strings.HasPrefix(text, f.Message) || len(text) <= failure.MaxMessage && f.Message != text || len(f.Message) < min(len(text), failure.MaxMessage-3)) {
			t.Fatalf("%d bytes became another text of %d bytes", len(text), len(f.Message))
		}
	})
	f := failure.Classify(namedError(strings.Repeat("é\xff", failure.MaxType)))
	if len(f.Type) > failure.MaxType || len(f.Type) < failure.MaxType-3 || !utf8.ValidString(f.Type) {
		t.Errorf("type of %d bytes: %q", len(f.Type), f.Type)
	}
	if f := failure.Classify(namedError("")); f.Type != "failure_test.namedError" {
		t.Errorf("an error that names no type has the type %q", f.Type)
	}
}

// genError draws trees of errors of all kinds.
func genError(t *rapid.T, depth int) error {
	leaves := []error{
		io.EOF, io.ErrUnexpectedEOF, context.Canceled, context.DeadlineExceeded, refused(), badJSON(), &stockError{"x"},
		&rudeError{}, (*rudeError)(nil),
		slowError{},
		uncomparableError{"x"},
		failure.NewPanic("x", nil), (*json.SyntaxError)(nil),
		asError{},
		syscall.EIO,
	}
	if depth == 0 || rapid.IntRange(0, 5).Draw(t, "leaf") == 0 {
		return rapid.SampledFrom(leaves).Draw(t, "error")
	}
	inner := genError(t, depth-1)
	switch rapid.IntRange(0, 8).Draw(t, "kind") {
	case 0:
		return failure.Mark(failure.Category(rapid.IntRange(0, 6).Draw(t, "category")), inner)
	case 1:
		return failure.Permanent(inner)
	case 2:
		return failure.RetryAfter(time.Duration(rapid.Int64().Draw(t, "delay")), inner)
	case 3:
		return failure.Throttled(time.Duration(rapid.Int64().Draw(t, "delay")), inner)
	case 4:
		return failure.Quarantine(inner)
	case 5:
		return failure.Local(inner)
	case 6:
		return &batchError{[]error{inner, nil, genError(t, depth-1)}}
	case 7:
		return &callError{status: 500, err: inner}
	}
	return &url.Error{Op: "Get", URL: "x", Err: inner}
}

func TestClassifyHoldsTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		err := genError(t, rapid.IntRange(0, 6).Draw(t, "depth"))
		f := failure.Classify(err)
		switch {
		case f.Category == failure.None:
			t.Fatal("no category")
		case f.Unclassified && f.Category != failure.Transient:
			t.Fatalf("unclassified %v", f.Category)
		case f.Downstream && f.Category != failure.Transient:
			t.Fatalf("%v speaks against the downstream", f.Category)
		case f.Category.Permanent() && (f.RetryAfter != 0 || f.Throttled):
			t.Fatalf("%v with a delay", f.Category)
		case f.Quarantine && (f.Throttled || f.RetryAfter != 0):
			t.Fatal("quarantined and delayed")
		case f.RetryAfter < 0:
			t.Fatalf("delay %v", f.RetryAfter)
		case f.Type == "":
			t.Fatal("no type")
		}
		for name, c := range map[string]struct {
			err error
			ok  func(failure.Failure) bool
		}{
			"permanent":   {failure.Permanent(err), func(f failure.Failure) bool { return f.Category.Permanent() }},
			"transient":   {failure.AsTransient(err), func(f failure.Failure) bool { return f.Category == failure.Transient && !f.Unclassified }},
			"quarantine":  {failure.Quarantine(err), func(g failure.Failure) bool { return g.Quarantine && g.Category == f.Category }},
			"local":       {failure.Local(err), func(g failure.Failure) bool { return !g.Downstream && g.Category == f.Category }},
			"throttled":   {failure.Throttled(9, err), func(f failure.Failure) bool { return f.Throttled && f.RetryAfter == 9 }},
			"retry after": {failure.RetryAfter(9, err), func(f failure.Failure) bool { return !f.Throttled && !f.Quarantine && f.RetryAfter == 9 }},
			"schema near": {errors.Join(err, failure.AsSchema(io.EOF)), func(f failure.Failure) bool { return f.Category.Permanent() }},
		} {
			g := failure.Classify(c.err)
			if !c.ok(g) {
				t.Fatalf("%s: %+v", name, g)
			}
			if name != "schema near" && g.Type != f.Type {
				t.Fatalf("%s changed the type from %s to %s", name, f.Type, g.Type)
			}
		}
	})
}

func TestClassifyIsCheap(t *testing.T) {
	for name, err := range benchmarkErrors() {
		if name == "joined" {
			// The text of joined errors is put together on each call.
			continue
		}
		if n := testing.AllocsPerRun(100, func() { failure.Classify(err) }); n > 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

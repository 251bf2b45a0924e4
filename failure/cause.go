package failure

import (
	"context"
	"io"
	"os"
	"reflect"
)

// cause collects how the root cause of an error is called.
type cause struct {
	// named is what the innermost error with an ErrorType method says.
	named string
	// specific is the type of the innermost error that is more than text.
	specific string
	// last is the type of the innermost error.
	last string
}

// see notes one error of a chain that is followed inwards.
func (c *cause) see(err error) {
	if n, ok := err.(interface{ ErrorType() string }); ok {
		if name := ownType(n); name != "" {
			c.named = name
		}
	}
	name, generic := typeName(err)
	c.last = name
	if !generic {
		c.specific = name
	}
}

// said reports whether anything is known.
func (c *cause) said() bool { return c.named != "" || c.specific != "" }

// typeName returns the best name that was found.
func (c *cause) typeName() string {
	switch {
	case c.named != "":
		return clip(c.named, MaxType)
	case c.specific != "":
		return clip(c.specific, MaxType)
	}
	return clip(c.last, MaxType)
}

// typeName returns the name of one error's type, and whether that type says
// nothing about what went wrong.
func typeName(err error) (name string, generic bool) {
	switch err {
	case context.DeadlineExceeded:
		return "context.DeadlineExceeded", false
	case os.ErrDeadlineExceeded:
		return "os.ErrDeadlineExceeded", false
	case context.Canceled:
		return "context.Canceled", false
	case io.EOF:
		return "io.EOF", false
	case io.ErrUnexpectedEOF:
		return "io.ErrUnexpectedEOF", false
	}
	if name := errnoName(err); name != "" {
		return name, false
	}
	name = reflect.TypeOf(err).String()
	switch name {
	case "*errors.errorString", "*errors.joinError",
		"*fmt.wrapError", "*fmt.wrapErrors", "*fmt.errorString",
		"*errors.fundamental", "*errors.withStack", "*errors.withMessage":
		// The last three are those of github.com/pkg/errors.
		return name, true
	}
	return name, false
}

func ownType(err interface{ ErrorType() string }) (name string) {
	defer func() {
		if recover() != nil {
			name = ""
		}
	}()
	return err.ErrorType()
}

// errorText returns the text of an error, also of one that cannot tell it, such
// as a nil pointer of a type with methods on its fields.
func errorText(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = "error of type " + reflect.TypeOf(err).String() + ", whose Error method panicked"
		}
	}()
	return err.Error()
}

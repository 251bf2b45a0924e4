package failure

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"slices"
)

// defaultCategory says what one error means by itself, without what it wraps.
// None if nothing is known of it. It follows the errors.Is and errors.As
// protocols by hand, because one pass over the chain is several times cheaper
// than a dozen.
func defaultCategory(err error) Category {
	switch err {
	case context.DeadlineExceeded, os.ErrDeadlineExceeded, io.ErrUnexpectedEOF:
		return Transient
	}
	switch err.(type) {
	case *json.SyntaxError, *json.UnmarshalTypeError:
		return Schema
	case *net.OpError, *net.DNSError:
		return Transient
	}
	if transient, ok := errnoTransient(err); ok {
		if transient {
			return Transient
		}
		return None
	}
	if t, ok := err.(net.Error); ok && timedOut(t) {
		return Transient
	}
	if is, ok := err.(interface{ Is(error) bool }); ok && isAny(is, context.DeadlineExceeded, os.ErrDeadlineExceeded, io.ErrUnexpectedEOF) {
		return Transient
	}
	if as, ok := err.(interface{ As(any) bool }); ok {
		return asCategory(as)
	}
	return None
}

func timedOut(err net.Error) (timeout bool) {
	defer func() {
		if recover() != nil {
			timeout = false
		}
	}()
	return err.Timeout()
}

func isAny(err interface{ Is(error) bool }, targets ...error) (is bool) {
	defer func() {
		if recover() != nil {
			is = false
		}
	}()
	return slices.ContainsFunc(targets, err.Is)
}

func asCategory(err interface{ As(any) bool }) (c Category) {
	defer func() {
		if recover() != nil {
			c = None
		}
	}()
	var (
		syntax    *json.SyntaxError
		unmarshal *json.UnmarshalTypeError
		op        *net.OpError
		dns       *net.DNSError
		timeout   net.Error
	)
	switch {
	case err.As(&syntax), err.As(&unmarshal):
		return Schema
	case err.As(&op), err.As(&dns), err.As(&timeout) && timeout.Timeout():
		return Transient
	}
	return None
}

// unwrap returns what the error wraps: one error, or several.
func unwrap(err error) (one error, several []error) { //nolint:staticcheck // the errors are what is returned
	defer func() {
		if recover() != nil {
			one, several = nil, nil
		}
	}()
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return e.Unwrap(), nil
	case interface{ Unwrap() []error }:
		return nil, e.Unwrap()
	}
	return nil, nil
}

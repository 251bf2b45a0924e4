package cli

import (
	"context"
	"errors"
	"fmt"
)

// The exit codes. They are public: scripts decide on them.
const (
	// ExitOK: done.
	ExitOK = 0
	// ExitError: it did not work.
	ExitError = 1
	// ExitUsage: the command line is wrong, or a confirmation is needed.
	ExitUsage = 2
	// ExitPartial: finished, but some messages failed or were refused.
	ExitPartial = 3
	// ExitAuth: not authenticated or not allowed.
	ExitAuth = 4
	// ExitGate: a check refused: approval, health, expiry.
	ExitGate = 5
	// ExitTimeout: it took too long.
	ExitTimeout = 6
	// ExitFindings: a check ran and found drift or problems.
	ExitFindings = 7
	// ExitInterrupted: stopped by a signal.
	ExitInterrupted = 130
)

var (
	// ErrInterrupted is the cause of a context that a signal ended.
	ErrInterrupted = errors.New("interrupted")
	// ErrTerminated is the cause of a context that SIGTERM ended: for a command that
	// runs until it is stopped that is a clean end, for any other an interruption.
	ErrTerminated = fmt.Errorf("%w: asked to terminate", ErrInterrupted)
)

// Error is an error with an exit code and a hint for people.
type Error struct {
	// Code is the exit code. Default: ExitError.
	Code int
	// Err is what is wrong.
	Err error
	// Hint says what to do, in one sentence without a full stop; empty if there is
	// nothing to say.
	Hint string
	// Silent errors are only an exit code: the output has said everything.
	Silent bool
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// usageError says that the command line is wrong.
func usageError(hint, format string, args ...any) error {
	return &Error{Code: ExitUsage, Err: fmt.Errorf(format, args...), Hint: hint}
}

// exitCode returns the code for what a command returned.
func exitCode(ctx context.Context, err error) int {
	var typed *Error
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &typed):
		if typed.Code == 0 {
			return ExitError
		}
		return typed.Code
	case errors.Is(err, ErrInterrupted),
		errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), ErrInterrupted):
		return ExitInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		return ExitTimeout
	}
	return ExitError
}

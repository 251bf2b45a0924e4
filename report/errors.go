package report

import "fmt"

// The kinds of records.
const (
	kindOutcome   = "outcome"
	kindHeartbeat = "heartbeat"
)

// VersionError says that a newer release wrote the record. It is for a newer
// reader, and must be left where it is.
type VersionError struct {
	// Kind is "outcome" or "heartbeat", and Version the version that it states.
	Kind    string
	Version int64
}

// Error implements error.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s has version %d and this release reads versions up to %d: update redrive", e.Kind, e.Version, Version)
}

// FormatError says that a body is not the record it should be, or that a record
// cannot be written as one.
type FormatError struct {
	// Kind is "outcome" or "heartbeat".
	Kind string
	// Problem says what is wrong.
	Problem string
	// Err is the error of the JSON decoder, nil if it had none.
	Err error
}

// Error implements error.
func (e *FormatError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Kind, e.Problem, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Kind, e.Problem)
}

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

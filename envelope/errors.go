package envelope

import "fmt"

// VersionError says that an envelope was written in a version of the format
// that this release cannot read. The message is fine: a newer release can
// handle it.
type VersionError struct {
	// Version is the version that the envelope states.
	Version int64
}

// Error implements error.
func (e *VersionError) Error() string {
	return fmt.Sprintf("envelope has version %d and this release reads versions up to %d: update redrive", e.Version, Version)
}

// SyntaxError says that a header is not an envelope.
type SyntaxError struct {
	// Offset is the byte at which the problem was noticed.
	Offset int
	// Field is the field in which it was, such as "att.t"; empty if in none.
	Field string
	// Problem says what is wrong.
	Problem string
}

// Error implements error.
func (e *SyntaxError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("envelope is damaged at byte %d: %s", e.Offset, e.Problem)
	}
	return fmt.Sprintf("envelope is damaged at byte %d, in field %q: %s", e.Offset, e.Field, e.Problem)
}

// SizeError says that an envelope cannot be made small enough.
type SizeError struct {
	// Limit is the limit that was asked for, in bytes.
	Limit int
	// Need is the smallest limit that would do: MinLimit, or the size that is left
	// after all trimming.
	Need int
}

// Error implements error.
func (e *SizeError) Error() string {
	return fmt.Sprintf("envelope needs %d bytes and the limit is %d: raise the limit, or shorten the names of source, consumer group and ids", e.Need, e.Limit)
}

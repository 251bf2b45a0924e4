package breaker

import (
	"errors"
	"fmt"
	"time"
)

// ErrOpen is what every refusal of Allow is, by errors.Is.
var ErrOpen = errors.New("circuit breaker is not closed")

// OpenError is the refusal of a breaker that is open, or half-open with all its
// probes out.
type OpenError struct {
	// Name is what the breaker guards; empty if it was given no name.
	Name string
	// Until is when it may admit a probe.
	Until time.Time
}

// Error implements error.
func (e *OpenError) Error() string {
	name := ""
	if e.Name != "" {
		name = fmt.Sprintf(" of %q", e.Name)
	}
	return fmt.Sprintf("circuit breaker%s is not closed, next probe at %s", name, e.Until.Format(time.RFC3339Nano))
}

// Is reports whether target is ErrOpen.
func (e *OpenError) Is(target error) bool { return target == ErrOpen }

// RecoverAt returns Until: when it makes sense to ask again.
func (e *OpenError) RecoverAt() time.Time { return e.Until }

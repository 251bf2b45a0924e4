package broker

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is a setting of a queue with which redrive cannot keep its promise.
type Problem struct {
	// Rule is the stable id of the rule that is broken, such as
	// "rabbitmq-dlq-delivery-limit". [Spec.Accept] takes it.
	Rule string
	// Queue is the native name of what is set wrongly.
	Queue string
	// What says what is wrong, and Remedy what to do about it, each without a full
	// stop.
	What, Remedy string
}

// String returns the problem in one line.
func (p Problem) String() string {
	return fmt.Sprintf("%s: %s: %s (rule %s)", p.Queue, p.What, p.Remedy, p.Rule)
}

// RefusedError says that a subscription cannot be opened, with every problem.
type RefusedError struct {
	Problems []Problem
}

// Error implements error, with one line for each problem.
func (e *RefusedError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "messages could be lost: " + strings.Join(lines, "\n")
}

// Refuse returns a *RefusedError with the problems whose rules are not accepted,
// nil if there is none. Problems keep their order.
func Refuse(problems []Problem, accept []string) error {
	var left []Problem
	for _, p := range problems {
		if !slices.Contains(accept, p.Rule) {
			left = append(left, p)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return &RefusedError{Problems: left}
}

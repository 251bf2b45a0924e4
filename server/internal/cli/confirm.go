package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"
)

// confirm asks a person before something happens that cannot be undone. want is
// what must be typed; empty means "yes" or "y". It returns nil if the answer is
// right or --yes was given, and never waits where nobody can answer.
func (c *call) confirm(ctx context.Context, question, want string) error {
	if c.flags.yes {
		return nil
	}
	if c.flags.noInput || !c.IsTerminal(c.Stdin) {
		return usageError("look at what would happen, then add --yes", "confirmation needed: %s", question)
	}
	if want == "" {
		_, _ = fmt.Fprintf(c.Stderr, "%s [y/N] ", question)
	} else {
		_, _ = fmt.Fprintf(c.Stderr, "%s Type %s to go on: ", question, want)
	}
	answer := make(chan string, 1)
	// A read cannot be cancelled: the goroutine ends with the process.
	go func() {
		line, _ := bufio.NewReader(c.Stdin).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		_, _ = fmt.Fprintln(c.Stderr)
		return ctx.Err()
	case line := <-answer:
		if want != "" && line == want || want == "" && (strings.EqualFold(line, "y") || strings.EqualFold(line, "yes")) {
			return nil
		}
		return usageError("", "not confirmed, so nothing was done")
	}
}

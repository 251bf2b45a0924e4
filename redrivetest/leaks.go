package redrivetest

import (
	"runtime"
	"strings"
	"time"
)

// NoLeaks fails the test if, five seconds after it ended, goroutines run that
// did not run when NoLeaks was called. It cannot be used in parallel tests,
// whose goroutines it would take for leaks. Call it first, so that it looks
// after every other cleanup has run.
func NoLeaks(t TB) {
	t.Helper()
	before := goroutines()
	t.Cleanup(func() {
		t.Helper()
		if left := leaked(before, 5*time.Second); len(left) > 0 {
			t.Errorf("%d goroutines leaked:\n\n%s", len(left), strings.Join(left, "\n\n"))
		}
	})
}

// leaked returns the stacks of goroutines that are new since before, looking
// again until there are none or the patience ends.
func leaked(before map[string]string, patience time.Duration) []string {
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		var left []string
		for id, stack := range goroutines() {
			if _, old := before[id]; !old {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-end.C:
			return left
		}
	}
}

// goroutines returns the stacks of all goroutines but those of the runtime and
// of package testing, by id.
func goroutines() map[string]string {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	out := map[string]string{}
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		first, rest, _ := strings.Cut(stack, "\n")
		fields := strings.Fields(first) // goroutine 7 [select]:
		if len(fields) < 2 || ignored(rest) {
			continue
		}
		out[fields[1]] = stack
	}
	return out
}

func ignored(frames string) bool {
	top, _, _ := strings.Cut(frames, "\n")
	if strings.HasPrefix(top, "runtime.") || strings.HasPrefix(top, "testing.") || strings.HasPrefix(top, "os/signal.") {
		return true
	}
	return strings.Contains(frames, "\ncreated by runtime.") || strings.Contains(frames, "created by testing.") || strings.Contains(frames, "redrivetest.goroutines(")
}

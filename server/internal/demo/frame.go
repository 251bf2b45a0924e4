package demo

import (
	"fmt"
	"strings"
	"time"

	"github.com/redrive-dev/redrive"
)

// Frame is what the view shows of one moment.
type Frame struct {
	Elapsed time.Duration
	Seed    uint64
	Mutant  string
	// Published is the number of confirmed orders, of Total; zero for no end.
	Published, Total int
	// Handled is the number of effects, Retries that of moves to the retry queue.
	Handled, Retries int64
	// In and Out are orders in a second, and History is Out over the last seconds,
	// the newest last.
	In, Out int
	History []int
	// Down says that the downstream is down, for DownFor more.
	Down    bool
	DownFor time.Duration
	// Breaker is the state, empty while no worker runs; ProbeIn is when it lets the
	// next call through.
	Breaker string
	ProbeIn time.Duration
	// Worker is the id of the worker process, 0 while there is none.
	Worker                                   int
	Running, Concurrency, Waiting, Suspects  int
	Deaths, Kills                            int
	Source, Retry, DeadLetters               int64
	QuarantinedTransient, QuarantinedCrashed int64
	QuarantinedOther                         int64
	// Timeline is what happened, the newest last.
	Timeline []Entry
}

// Entry is a line of the timeline.
type Entry struct {
	Elapsed time.Duration
	Text    string
	Tone    Tone

	// key joins what happens many times in a row.
	key   string
	count int
	until time.Duration
}

// Line is the entry as a line of text.
func (e Entry) line() string {
	if e.count > 1 {
		return fmt.Sprintf("%s (%s×)", e.Text, thousands(e.count))
	}
	return e.Text
}

// timeline keeps the newest entries, and joins equal ones that follow each
// other.
type timeline struct{ entries []Entry }

// maxTimeline is more than a large terminal shows.
const maxTimeline = 100

// joined is how long after an entry a further one of its kind is added to it.
const joined = 10 * time.Second

// add adds an entry and returns whether it began a new line.
func (t *timeline) add(e Entry) bool {
	e.count, e.until = 1, e.Elapsed
	for i := len(t.entries) - 1; i >= 0 && i >= len(t.entries)-4; i-- {
		if last := &t.entries[i]; e.key != "" && last.key == e.key && e.Elapsed-last.until < joined {
			last.count++
			last.until = e.Elapsed
			return false
		}
	}
	t.entries = append(t.entries, e)
	if n := len(t.entries); n > maxTimeline {
		t.entries = append(t.entries[:0:0], t.entries[n-maxTimeline:]...)
	}
	return true
}

// entry tells an event to people. ok is false for what they need not see.
func (e event) entry(start time.Time) (out Entry, ok bool) {
	out.Elapsed = e.At.Sub(start)
	switch e.Kind {
	case eventBreaker:
		switch e.State {
		case "open":
			out.Text, out.Tone, out.key = "breaker open: orders wait, none is given up", Warn, "open"
		case "half-open":
			out.Text, out.Tone, out.key = "breaker half-open: one order tries the downstream", Dim, "half-open"
		default:
			out.Text, out.Tone = "breaker closed: the downstream is back", Good
		}
	case eventOutage:
		out.Text, out.Tone = e.Text, Bad
	case eventOutageEnded:
		out.Text, out.Tone = "the downstream answers again", Good
	case eventStarted:
		out.Text, out.Tone = "worker started, "+e.Text, Dim
	case eventDied:
		out.Text, out.Tone = "worker died: "+e.Text, Bad
	case eventKilled:
		out.Text, out.Tone = fmt.Sprintf("worker killed in the middle of a move, order %d", e.Order), Bad
	case eventPublished:
		out.Text, out.Tone = e.Text, Dim
	case string(redrive.EventDeadLettered):
		out.Text, out.Tone, out.key = "dead-lettered: "+e.Category+", "+words(e.Reason), Warn, "dead"+e.Category+e.Reason
	case string(redrive.EventQuarantined):
		out.Text, out.Tone = fmt.Sprintf("order %d quarantined: %s, %s", e.Order, e.Category, words(e.Reason)), Accent
	case string(redrive.EventSuspect):
		out.Text, out.Tone, out.key = "run alone, since a worker died with it", Warn, "suspect"
	case string(redrive.EventTimeout):
		out.Text, out.Tone, out.key = "a handler ran out of time", Warn, "timeout"
	case string(redrive.EventMoveFailed), string(redrive.EventReceiveFailed), string(redrive.EventMarkFailed):
		out.Text, out.Tone, out.key = "the broker did not answer, and is asked again: "+e.Text, Warn, e.Kind
	default:
		return out, false
	}
	return out, true
}

// words writes a name for people.
func words(name string) string { return strings.ReplaceAll(name, "_", " ") }

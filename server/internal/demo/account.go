package demo

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

// Copy is a message that was found in a queue.
type Copy struct {
	// ID is the order, 0 if the message names none.
	ID uint64
	// Queue and Kind are where it was.
	Queue string
	Kind  broker.QueueKind
	// Body is the digest of what was found.
	Body Digest
	// Category and Reason are what its envelope says, Attempts the number of counted
	// attempts, and Uncounted that of the others.
	Category            failure.Category
	Reason              envelope.Reason
	Attempts, Uncounted int
	// KeyChanged says that the idempotency key is not the producer's.
	KeyChanged bool
}

// Books is what an account is made of.
type Books struct {
	// Published are the bodies of everything that may have been published, and
	// Confirmed says which of it was.
	Published map[uint64]Digest
	Confirmed map[uint64]bool
	// Effects are the contents of the effect log, in order.
	Effects []Effect
	// Copies are the contents of all queues.
	Copies []Copy
	// Unseen is the number of messages that wait in queues of which nobody can tell
	// what is in them.
	Unseen int
	// Source is the queue that the orders were published to.
	Source string
	// Plan is what was planned.
	Plan Plan
	// Kills is how often the worker was killed on purpose: then a bystander may be
	// taken for the killer.
	Kills int
	// Unfinished says that the run was stopped before its end: then messages may
	// still be on their way.
	Unfinished bool
}

// Account says where every order ended. Its JSON is stable: a script may decide
// on it.
type Account struct {
	// Published is the number of orders that the broker confirmed, and those beyond
	// that were found.
	Published int `json:"published"`
	// Handled is the number of orders that took effect, and Retried of those, in
	// whatever place, that failed before.
	Handled int `json:"handled"`
	Retried int `json:"retried"`
	// DeadLettered counts the orders in the dead-letter queue by category and
	// reason, and Quarantined those in quarantines by category.
	DeadLettered map[string]map[string]int `json:"dead_lettered"`
	Quarantined  map[string]int            `json:"quarantined"`
	// Pending is the number of orders that wait in the source or the retry queue.
	Pending int `json:"pending"`
	// Duplicates is how often an order took effect again, or was found a second time
	// among the letters. A killed process makes repeats: no order is lost by one.
	Duplicates int `json:"duplicates"`
	// Attempts is how many orders took how many counted attempts.
	Attempts map[string]int `json:"attempts"`
	// BreakerOpenings is how often a breaker opened, WorkerDeaths how often the
	// worker process died, and Kills how many of these deaths were the demo's own.
	BreakerOpenings int `json:"breaker_openings"`
	WorkerDeaths    int `json:"worker_deaths"`
	Kills           int `json:"kills"`
	// OutageDeadLettered is the number of orders that were given up as transient
	// although nothing was wrong with them.
	OutageDeadLettered int `json:"outage_dead_lettered"`
	// Lost is the number of confirmed orders that are nowhere.
	Lost int `json:"lost"`
	// Unexpected is the number of messages that nobody published, and of orders
	// found in a place that does not fit what was planned for them.
	Unexpected int `json:"unexpected"`
	// Altered is the number of orders found with another body or idempotency key.
	Altered int `json:"altered"`
	// Contradictory is the number of orders that took effect and are dead letters or
	// in quarantine too.
	Contradictory int `json:"contradictory"`
	// Settled says that nothing was on its way any more.
	Settled bool `json:"settled"`
	// Left says what the run left on a broker that others use too, empty for nothing.
	Left string `json:"left,omitempty"`
	// DurationSeconds is how long the run took.
	DurationSeconds float64 `json:"duration_seconds"`
	// Balanced says that every order is where it may be, and once.
	Balanced bool `json:"balanced"`
	// Problems describes what is wrong, at most 20 lines.
	Problems []string `json:"problems"`
}

const maxProblems = 20

// ledgerLine is all that is known of one order.
type ledgerLine struct {
	effects, letters, waiting int
	attempts                  uint32
	retried, altered          bool
	place                     Copy
}

// Balance computes the account. It has no effect and asks nobody.
func Balance(b Books) Account {
	a := Account{
		DeadLettered: map[string]map[string]int{}, Quarantined: map[string]int{},
		Attempts: map[string]int{}, Kills: b.Kills, Problems: []string{},
	}
	lines := a.collect(b)
	published := slices.Sorted(maps.Keys(b.Published))
	for _, id := range published {
		l := lines[id]
		if l == nil && !b.Confirmed[id] {
			continue // Nobody knows whether it was published, and it was not.
		}
		a.Published++
		if l == nil && b.Unseen > 0 {
			// It may be one of those.
			b.Unseen--
			a.Pending++
			continue
		}
		if l == nil {
			a.Lost++
			kind, _ := b.Plan.Of(id)
			a.problem("order %d (%s) was published and is nowhere", id, kind)
			continue
		}
		a.place(id, l, b)
	}
	a.Settled = a.Pending == 0 && !b.Unfinished
	if a.Pending > 0 && !b.Unfinished {
		a.problem("%d orders still wait in %s and its retry queue", a.Pending, cmp.Or(b.Source, Source))
	}
	a.Balanced = a.Lost == 0 && a.Unexpected == 0 && a.Altered == 0 && a.Contradictory == 0 &&
		a.OutageDeadLettered == 0 && (a.Settled || b.Unfinished) &&
		a.Handled+a.letters()+a.Pending == a.Published
	return a
}

// collect sorts what was found by order, and reports what is nobody's.
func (a *Account) collect(b Books) map[uint64]*ledgerLine {
	lines := make(map[uint64]*ledgerLine, len(b.Published))
	line := func(id uint64) *ledgerLine {
		l := lines[id]
		if l == nil {
			l = &ledgerLine{}
			lines[id] = l
		}
		return l
	}
	for _, e := range b.Effects {
		if _, ok := b.Published[e.ID]; !ok {
			a.Unexpected++
			a.problem("order %d took effect and nobody published it", e.ID)
			continue
		}
		l := line(e.ID)
		if l.effects++; l.effects == 1 {
			l.attempts = e.Attempt
		}
		l.retried = l.retried || e.FailedBefore || e.Attempt > 1
	}
	for _, c := range b.Copies {
		want, ok := b.Published[c.ID]
		if !ok {
			a.Unexpected++
			a.problem("a message in %s, order %d, was published by nobody", c.Queue, c.ID)
			continue
		}
		l := line(c.ID)
		l.altered = l.altered || c.Body != want || c.KeyChanged
		l.retried = l.retried || c.Attempts+c.Uncounted > 1
		switch c.Kind {
		case broker.KindDeadLetter, broker.KindQuarantine:
			if l.letters++; l.letters == 1 {
				l.place = c
			}
		case broker.KindSource, broker.KindRetry, broker.KindReplay:
			l.waiting++
		case broker.KindOutcomes, broker.KindHeartbeats:
		}
	}
	return lines
}

// place books one order.
func (a *Account) place(id uint64, l *ledgerLine, b Books) {
	a.Duplicates += max(0, l.effects-1) + max(0, l.letters-1)
	if l.retried {
		a.Retried++
	}
	if l.altered {
		a.Altered++
		a.problem("order %d was found with another body or key", id)
	}
	switch {
	case l.letters > 0:
		a.letter(id, l, b)
		if l.effects > 0 {
			a.Contradictory++
			a.problem("order %d took effect and is in %s", id, l.place.Queue)
		}
	case l.effects > 0:
		a.Handled++
		a.Attempts[strconv.FormatUint(uint64(l.attempts), 10)]++
		if kind, _ := b.Plan.Of(id); kind != Ordinary && kind != Brief {
			a.Unexpected++
			a.problem("order %d (%s) took effect, which it cannot", id, kind)
		}
	default:
		a.Pending++
	}
}

// letter books an order that is a dead letter or in quarantine.
func (a *Account) letter(id uint64, l *ledgerLine, b Books) {
	c := l.place
	a.Attempts[strconv.Itoa(c.Attempts)]++
	category := cmp.Or(c.Category.String(), "none")
	if c.Kind == broker.KindQuarantine {
		a.Quarantined[category]++
	} else {
		if a.DeadLettered[category] == nil {
			a.DeadLettered[category] = map[string]int{}
		}
		a.DeadLettered[category][cmp.Or(string(c.Reason), "none")]++
	}
	kind, _ := b.Plan.Of(id)
	switch {
	case c.Category == failure.Transient && kind == Ordinary:
		a.OutageDeadLettered++
		a.problem("order %d was given up as transient in %s, and only the downstream was at fault", id, c.Queue)
	case !fits(kind, c, b.Kills > 0):
		a.Unexpected++
		a.problem("order %d (%s) is in %s with reason %q", id, kind, c.Queue, c.Reason)
	}
}

// fits reports whether an order of a kind may be where it was found.
func fits(kind Kind, c Copy, killed bool) bool {
	quarantine := c.Kind == broker.KindQuarantine
	if killed && quarantine && c.Reason == envelope.ReasonCrashLoop {
		return true
	}
	switch kind {
	case Malformed:
		return !quarantine && c.Category == failure.Schema && c.Reason == envelope.ReasonPermanent
	case Refused:
		return !quarantine && c.Category == failure.Business && c.Reason == envelope.ReasonPermanent
	case Poison:
		return c.Category == failure.Transient &&
			(quarantine && c.Reason == envelope.ReasonPoison || !quarantine && c.Reason == envelope.ReasonAttempts)
	case Panicking:
		return quarantine && c.Category == failure.Crash && c.Reason == envelope.ReasonPanic
	case Killer:
		return quarantine && c.Category == failure.Crash && c.Reason == envelope.ReasonCrashLoop
	case Ordinary, Brief:
	}
	return false
}

// letters is the number of orders in the dead-letter queue and in quarantines.
func (a *Account) letters() int {
	n := 0
	for _, reasons := range a.DeadLettered {
		for _, count := range reasons {
			n += count
		}
	}
	for _, count := range a.Quarantined {
		n += count
	}
	return n
}

func (a *Account) problem(format string, args ...any) {
	if len(a.Problems) < maxProblems {
		a.Problems = append(a.Problems, fmt.Sprintf(format, args...))
	}
}

// WriteText writes the account for people.
func (a *Account) WriteText(w io.Writer) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-24s%s\n", name, fmt.Sprintf(format, args...))
	}
	line("published", "%s", thousands(a.Published))
	line("handled", "%s", thousands(a.Handled))
	line("retried", "%s", thousands(a.Retried))
	for _, category := range slices.Sorted(maps.Keys(a.DeadLettered)) {
		for _, reason := range slices.Sorted(maps.Keys(a.DeadLettered[category])) {
			line("dead-lettered", "%s  %s, %s", thousands(a.DeadLettered[category][reason]), category, reason)
		}
	}
	for _, category := range slices.Sorted(maps.Keys(a.Quarantined)) {
		line("quarantined", "%s  %s", thousands(a.Quarantined[category]), category)
	}
	if a.Pending > 0 {
		line("waiting", "%s", thousands(a.Pending))
	}
	line("attempts", "%s", a.histogram())
	line("breaker opened", "%d times", a.BreakerOpenings)
	line("worker process died", "%d times", a.WorkerDeaths)
	line("took effect twice", "%s", thousands(a.Duplicates))
	line("given up in the outage", "%s", thousands(a.OutageDeadLettered))
	line("lost", "%s", thousands(a.Lost))
	if others := a.Unexpected + a.Altered + a.Contradictory; others > 0 {
		line("wrong in another way", "%s", thousands(others))
	}
	verdict := "balanced: every order is handled, waiting, dead-lettered or in quarantine"
	if !a.Balanced {
		verdict = "NOT BALANCED"
	}
	fmt.Fprintf(&b, "\n  %s (%.1f s)\n", verdict, a.DurationSeconds)
	for _, p := range a.Problems {
		fmt.Fprintf(&b, "  - %s\n", p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// histogram lists the attempts with their numbers of orders.
func (a *Account) histogram() string {
	keys := slices.SortedFunc(maps.Keys(a.Attempts), func(x, y string) int {
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
	})
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = k + ": " + thousands(a.Attempts[k])
	}
	return strings.Join(parts, ", ")
}

// thousands writes a number with separators.
func thousands[N int | int64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}

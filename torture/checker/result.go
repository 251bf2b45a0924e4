package checker

import (
	"fmt"
	"slices"
	"strings"
)

// Law names what can be violated.
type Law string

// The laws, see the package documentation.
const (
	LawLost             Law = "lost"
	LawUnexpected       Law = "unexpected"
	LawMutated          Law = "mutated"
	LawBoth             Law = "both"
	LawDuplicateLetters Law = "duplicate_letters"
	LawDuplicateEffects Law = "duplicate_effects"
	LawKey              Law = "key"
	LawHistory          Law = "history"
	LawAttempts         Law = "attempts"
	LawOutage           Law = "outage"
	LawInnocent         Law = "innocent"
	LawMisfiled         Law = "misfiled"
)

// Laws lists the laws in the order in which they are reported.
func Laws() []Law {
	return []Law{
		LawLost, LawUnexpected, LawMutated, LawBoth, LawDuplicateLetters, LawDuplicateEffects,
		LawKey, LawHistory, LawAttempts, LawOutage, LawInnocent, LawMisfiled,
	}
}

// The verdicts.
const (
	// Pass: the run drained and every law held.
	Pass = "pass"
	// Fail: a law was violated.
	Fail = "fail"
	// Undecided: every law held as far as can be told, and the run did not drain.
	Undecided = "unknown"
)

// Finding is what violates a law.
type Finding struct {
	Count int `json:"count"`
	// Examples are at most ten of them, as text.
	Examples []string `json:"examples,omitempty"`
}

const maxExamples = 10

// Loss places lost messages in the sequence of their producer: before the first
// message that is left, between two, or after the last. A loss at the end can be a
// reader that was too slow; one in the middle cannot.
type Loss struct {
	Prefix  int `json:"prefix"`
	Middle  int `json:"middle"`
	Postfix int `json:"postfix"`
}

// Total is the number of lost messages.
func (l Loss) Total() int { return l.Prefix + l.Middle + l.Postfix }

// Result is what Check found. Counts of places are counts of messages; a message
// can be counted in two.
type Result struct {
	OK      bool   `json:"ok"`
	Verdict string `json:"verdict"`
	Drained bool   `json:"drained"`

	Published int `json:"published"`
	Confirmed int `json:"confirmed"`
	Refused   int `json:"refused"`
	Unknown   int `json:"unknown"`
	// Repeated is the number of publications that ended unknown at least once.
	Repeated int `json:"repeated"`

	Effects      int `json:"effects"`
	DeadLettered int `json:"dead_lettered"`
	Quarantined  int `json:"quarantined"`
	Expired      int `json:"expired"`
	Pending      int `json:"pending"`
	// Ghosts are messages that were handled and are in a queue all the same: the broker
	// that was killed knew the acknowledgement and not the removal.
	Ghosts int `json:"ghosts"`

	Lost Loss `json:"lost"`
	// Dup is the number of effects made again, and DupBound the most that the kills
	// and lost leases allow.
	Dup      int `json:"dup"`
	DupBound int `json:"dup_bound"`
	// DupLetters is the number of letters that are there again. No kill excuses one;
	// a publication that was tried again and stored twice does.
	DupLetters int `json:"dup_letters"`
	// Unacknowledged messages had an effect before a kill and are letters too. The
	// rule against crash loops makes them, and Both counts all others.
	Unacknowledged int `json:"unacknowledged_effects_in_letters"`
	// Forgotten messages came back after the broker had confirmed their settlement,
	// because it was killed before it wrote that down for good.
	Forgotten int `json:"forgotten_settlements"`
	// Blamed are messages that the rule against crash loops took for killers, with
	// reason: they were running alone at that many kills.
	Blamed int `json:"blamed"`

	// Interrupted is the number of worker processes that ended with runs unsettled.
	Interrupted int `json:"interrupted_workers"`
	// Runs is the number of handler calls, Unsettled of those that no settlement
	// followed, Redelivered the number of repeated deliveries, LeasesLost of lost
	// leases, OutageRuns of calls that failed because everything did, and Alone of
	// suspects that ran alone.
	Runs        int `json:"runs"`
	Unsettled   int `json:"unsettled_runs"`
	Redelivered int `json:"redelivered"`
	LeasesLost  int `json:"leases_lost"`
	OutageRuns  int `json:"outage_runs"`
	Alone       int `json:"alone"`

	// Violations has an entry for every law that was broken.
	Violations map[Law]Finding `json:"violations"`
}

// Broken lists the laws that were broken, in the order of Laws.
func (r *Result) Broken() []Law {
	var out []Law
	for _, l := range Laws() {
		if r.Violations[l].Count > 0 {
			out = append(out, l)
		}
	}
	return out
}

// String returns the result as one line.
func (r *Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d published, %d confirmed; %d had their effect, %d dead-lettered, %d quarantined, %d expired, %d pending; lost %d, unexpected %d, both %d, mutated %d; %d duplicate effects (bound %d), %d duplicate letters",
		strings.ToUpper(r.Verdict), r.Published, r.Confirmed, r.Effects, r.DeadLettered, r.Quarantined, r.Expired, r.Pending,
		r.Lost.Total(), r.Violations[LawUnexpected].Count, r.Violations[LawBoth].Count, r.Violations[LawMutated].Count, r.Dup, r.DupBound, r.DupLetters)
	for _, l := range r.Broken() {
		f := r.Violations[l]
		fmt.Fprintf(&b, "\n  %s: %d, such as %s", l, f.Count, strings.Join(f.Examples[:min(3, len(f.Examples))], "; "))
	}
	return b.String()
}

// Add enters what another consumer group made of the same publications. Figures
// of places, runs and findings add up; what was published stays.
func (r *Result) Add(other *Result) {
	for _, f := range []struct{ to, from *int }{
		{&r.Effects, &other.Effects},
		{&r.DeadLettered, &other.DeadLettered},
		{&r.Quarantined, &other.Quarantined},
		{&r.Expired, &other.Expired},
		{&r.Pending, &other.Pending},
		{&r.Ghosts, &other.Ghosts},
		{&r.Lost.Prefix, &other.Lost.Prefix},
		{&r.Lost.Middle, &other.Lost.Middle},
		{&r.Lost.Postfix, &other.Lost.Postfix},
		{&r.Forgotten, &other.Forgotten},
		{&r.Dup, &other.Dup},
		{&r.DupBound, &other.DupBound},
		{&r.DupLetters, &other.DupLetters},
		{&r.Unacknowledged, &other.Unacknowledged},
		{&r.Blamed, &other.Blamed},
		{&r.Interrupted, &other.Interrupted},
		{&r.Runs, &other.Runs},
		{&r.Unsettled, &other.Unsettled},
		{&r.Redelivered, &other.Redelivered},
		{&r.LeasesLost, &other.LeasesLost},
		{&r.OutageRuns, &other.OutageRuns},
		{&r.Alone, &other.Alone},
	} {
		*f.to += *f.from
	}
	for l, f := range other.Violations {
		mine := r.Violations[l]
		mine.Count += f.Count
		mine.Examples = slices.Concat(mine.Examples, f.Examples)
		mine.Examples = mine.Examples[:min(len(mine.Examples), maxExamples)]
		if r.Violations == nil {
			r.Violations = map[Law]Finding{}
		}
		r.Violations[l] = mine
	}
	r.OK = r.OK && other.OK
	switch {
	case r.Verdict == Fail || other.Verdict == Fail:
		r.Verdict = Fail
	case r.Verdict == Undecided || other.Verdict == Undecided:
		r.Verdict = Undecided
	}
}

func (r *Result) violate(l Law, format string, args ...any) {
	f := r.Violations[l]
	f.Count++
	if len(f.Examples) < maxExamples {
		f.Examples = append(slices.Clip(f.Examples), fmt.Sprintf(format, args...))
	}
	r.Violations[l] = f
}

package checker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// account is what is known of one message.
type account struct {
	starts, effects         int
	unsettled               int // runs whose end nobody confirmed
	outageRuns              int // runs that failed because everything did
	uncounted, released     int // runs that cost no attempt
	redelivered, leasesLost int
	unexplained             int // the most deliveries of a copy that nothing explained
	repeats                 int // of its publication
	aloneKilled             int // processes that died while it ran alone
	aloneSettled            int // times that it ran alone and was settled
	letters                 int // dead-lettered, quarantined or expired
	pending                 int
	altered                 bool
	keys                    []uint32 // distinct, and never more than two
	retried                 map[uint8]int
}

// disturbances excuse further runs, effects and copies of a message.
func (a *account) disturbances() int {
	return a.unsettled + a.redelivered + a.leasesLost + a.repeats
}

func (a *account) key(k uint32) {
	if len(a.keys) < 2 && !slices.Contains(a.keys, k) {
		a.keys = append(a.keys, k)
	}
}

// check is one run of Check.
type check struct {
	h        *History
	accounts map[ID]*account
	result   Result
}

// Check decides. It takes time and memory linear in the size of the history, and
// the same history gives the same result.
func Check(h *History) Result {
	c := &check{h: h, accounts: make(map[ID]*account, len(h.Publications))}
	c.result.Violations = map[Law]Finding{}
	for _, j := range h.Journals {
		c.journal(j)
	}
	for i := range h.Letters {
		c.letter(&h.Letters[i])
	}
	for _, j := range h.Others {
		for _, r := range j {
			if a := c.accounts[r.ID]; a != nil && r.Kind == Started {
				a.key(r.Key)
			}
		}
	}
	// Sorted, so that examples and their order do not change from call to call.
	ids := slices.SortedFunc(maps.Keys(c.accounts), compareIDs)
	for _, id := range ids {
		c.message(id, c.accounts[id])
	}
	c.publications()
	c.result.DupBound = (h.Kills+h.ServerKills)*h.InFlight + c.result.LeasesLost + c.result.Repeated
	if h.PowerCuts > 0 {
		c.result.DupBound = c.result.Runs
	}
	if h.Inbox {
		c.result.DupBound = 0
	}
	if most := h.forgetful() * h.InFlight; h.PowerCuts == 0 && c.result.Forgotten > most {
		c.result.violate(LawDuplicateEffects, "%d messages came back after they were settled, and %d kills explain %d",
			c.result.Forgotten, h.forgetful(), most)
	}
	if c.result.Dup > c.result.DupBound {
		c.result.violate(LawDuplicateEffects, "%d effects were made again, which is more than %d kills and %d lost leases can explain",
			c.result.Dup, h.Kills, c.result.LeasesLost)
	}
	c.result.Drained = h.Drained
	switch {
	case len(c.result.Violations) > 0:
		c.result.Verdict = Fail
	case h.Drained && c.result.Pending == 0:
		c.result.Verdict, c.result.OK = Pass, true
	default:
		c.result.Verdict = Undecided
	}
	return c.result
}

// forgetful is the number of blows after which settlements can be forgotten.
func (h *History) forgetful() int {
	n := h.ServerKills + h.PowerCuts
	if h.Forgets {
		n += h.Kills
	}
	return n
}

func compareIDs(a, b ID) int {
	return cmp.Or(cmp.Compare(a.Producer, b.Producer), cmp.Compare(a.Counter, b.Counter))
}

func (c *check) of(id ID) *account {
	a := c.accounts[id]
	if a == nil {
		a = &account{}
		c.accounts[id] = a
	}
	return a
}

// journal enters what one process wrote down.
func (c *check) journal(records []Record) {
	open := map[ID]int{} // runs that are not settled
	alone := map[ID]bool{}
	for _, r := range records {
		a := c.of(r.ID)
		a.altered = a.altered || r.Flags&Altered != 0
		switch r.Kind {
		case Started:
			a.starts++
			a.key(r.Key)
			open[r.ID]++
		case Effect:
			a.effects++
		case Failed:
			if r.Flags&Outage != 0 {
				c.result.OutageRuns++
				a.outageRuns++
			}
		case Redelivered:
			a.redelivered++
			a.unexplained = max(a.unexplained, int(r.Attempt))
		case LeaseLost:
			a.leasesLost++
		case Alone:
			c.result.Alone++
			if alone[r.ID] {
				a.aloneKilled++ // nobody confirmed the end of the time before
			}
			alone[r.ID] = true
		case Done, Retried, Lettered, Released:
			// What is settled without a run, such as a message that a stopping worker
			// gives back, says nothing about the runs.
			a.settle(r, open[r.ID] > 0)
			if open[r.ID]--; open[r.ID] <= 0 {
				delete(open, r.ID)
			}
			if alone[r.ID] {
				a.aloneSettled++
				delete(alone, r.ID)
			}
		case kinds:
		}
	}
	if len(open) > 0 {
		c.result.Interrupted++
	}
	for id, n := range open {
		c.of(id).unsettled += n
	}
	for id := range alone {
		c.of(id).aloneKilled++
	}
}

func (a *account) settle(r Record, ran bool) {
	switch {
	case r.Kind == Released && ran:
		a.released++
	case r.Kind == Retried && r.Flags&Uncounted != 0:
		a.uncounted++
	case r.Kind == Retried:
		if a.retried == nil {
			a.retried = map[uint8]int{}
		}
		a.retried[r.Attempt]++
	}
}

// letter enters one message that was found in a queue, and judges what can be
// judged by it alone.
func (c *check) letter(l *Letter) {
	if !l.Readable {
		c.result.violate(LawUnexpected, "a message in %s does not tell its id", l.Queue)
		return
	}
	a := c.of(l.ID)
	p, published := c.h.Publications[l.ID]
	if published && p.Digest != l.Digest {
		a.altered = true
	}
	if l.Key != 0 {
		a.key(l.Key)
	}
	if l.Place == Pending {
		a.pending++
		return
	}
	a.letters++
	switch l.Place {
	case DeadLettered:
		c.result.DeadLettered++
	case Quarantined:
		c.result.Quarantined++
	case Expired:
		c.result.Expired++
	case Pending:
	}
	if published {
		c.judgeLetter(l, a, c.h.Fate(l.ID))
	}
}

func (c *check) judgeLetter(l *Letter, a *account, fate Fate) {
	if l.Listed != l.Count && !l.Trimmed {
		c.result.violate(LawHistory, "%s in %s: %d attempts are counted and %d are listed", l.ID, l.Queue, l.Count, l.Listed)
	}
	switch {
	case l.CrashLoop:
		ends := a.aloneKilled
		if c.h.forgetful() > 0 {
			// A settlement that the broker forgot brings back the message with the note
			// that it was started alone.
			ends += a.aloneSettled
		}
		if ends < c.h.CrashThreshold {
			c.result.violate(LawInnocent, "%s in %s was running alone at %d kills, not %d", l.ID, l.Queue, ends, c.h.CrashThreshold)
		} else {
			c.result.Blamed++
		}
	case l.Place == Expired:
	case !fate.Fails:
		c.result.violate(LawOutage, "%s in %s, reason %s, succeeds when it is tried", l.ID, l.Queue, l.Reason)
	case l.Category != fate.Category && (a.outageRuns == 0 || l.Category != c.h.OutageCategory):
		c.result.violate(LawMisfiled, "%s in %s has the category %s, not %s", l.ID, l.Queue, l.Category, fate.Category)
	case fate.Attempts && l.Count != c.h.MaxAttempts:
		c.result.violate(LawHistory, "%s in %s used up its attempts with %d of %d counted", l.ID, l.Queue, l.Count, c.h.MaxAttempts)
	}
}

// message judges one message that was seen.
func (c *check) message(id ID, a *account) {
	r := &c.result
	r.Runs += a.starts
	r.Unsettled += a.unsettled
	r.Redelivered += a.redelivered
	r.LeasesLost += a.leasesLost
	if a.effects > 0 {
		r.Effects++
		r.Dup += a.effects - 1
	}
	switch {
	case a.pending > 0 && c.h.ServerKills+c.h.PowerCuts > 0 && a.effects+a.letters > 0:
		r.Ghosts++
	case a.pending > 0:
		r.Pending++
	}
	p, published := c.h.Publications[id]
	if !published {
		r.violate(LawUnexpected, "%s was never published", id)
		return
	}
	a.repeats = p.Repeats
	if p.State == Refused {
		r.violate(LawUnexpected, "%s was refused by the broker, and is there", id)
	}
	if a.altered {
		r.violate(LawMutated, "%s is not what was published", id)
	}
	if len(a.keys) > 1 {
		r.violate(LawKey, "%s had the keys %08x and %08x", id, a.keys[0], a.keys[1])
	}
	excused := a.disturbances()
	if a.letters > 0 && a.effects > 0 {
		if excused > 0 || c.h.Forgets && c.h.Kills > 0 {
			r.Unacknowledged++
		} else {
			r.violate(LawBoth, "%s had its effect and is a letter", id)
		}
	}
	if allowed := c.h.Kills + c.h.ServerKills + c.h.PowerCuts + a.leasesLost; a.unexplained > allowed && !c.h.Uncounted {
		r.violate(LawInnocent, "%s had %d deliveries that nothing explained, and kills and lost leases explain %d", id, a.unexplained, allowed)
	}
	if c.h.Inbox && a.effects > 1 {
		r.violate(LawDuplicateEffects, "%s had %d effects under an inbox", id, a.effects)
	}
	if a.letters > 1 {
		r.DupLetters += a.letters - 1
		allowed := 1 + a.repeats
		if c.h.KeepsRepeats {
			allowed = 1 + excused + c.h.forgetful()
		}
		if a.letters > allowed {
			r.violate(LawDuplicateLetters, "%s is %d letters", id, a.letters)
		}
	}
	found, restarts := c.repeats(id, a, excused), c.h.forgetful()
	if len(found) > 0 && restarts > 0 {
		if rest := c.repeats(id, a, excused+restarts); len(rest) == 0 {
			r.Forgotten++
			return
		}
	}
	for _, f := range found {
		r.violate(f.law, "%s", f.text)
	}
}

type repeat struct {
	law  Law
	text string
}

// repeats lists what happened to a message more often than the disturbances excuse.
func (c *check) repeats(id ID, a *account, excused int) (out []repeat) {
	found := func(l Law, format string, args ...any) {
		out = append(out, repeat{l, fmt.Sprintf(format, args...)})
	}
	if a.effects-1 > excused {
		found(LawDuplicateEffects, "%s had %d effects with %d disturbances", id, a.effects, excused)
	}
	for _, attempt := range slices.Sorted(maps.Keys(a.retried)) {
		if n := a.retried[attempt]; n > 1+excused {
			found(LawHistory, "%s was sent to the retry queue %d times after attempt %d, with %d disturbances", id, n, attempt, excused)
		}
	}
	if allowed := c.h.MaxAttempts*(1+excused) + a.uncounted + a.released; a.starts > allowed {
		found(LawAttempts, "%s was run %d times, and the policy and %d disturbances allow %d", id, a.starts, excused, allowed)
	}
	return out
}

// sequence is what is left of the messages of one producer.
type sequence struct {
	first, last uint32
	any         bool
}

// publications looks for what was confirmed and is nowhere.
func (c *check) publications() {
	r := &c.result
	left := map[uint16]sequence{}
	var lost []ID
	for id, p := range c.h.Publications {
		r.Published++
		if p.Repeats > 0 {
			r.Repeated++
		}
		switch p.State {
		case Confirmed:
			r.Confirmed++
		case Refused:
			r.Refused++
		case Unknown:
			r.Unknown++
		}
		if a := c.accounts[id]; a != nil && a.effects+a.letters+a.pending > 0 {
			s := left[id.Producer]
			if !s.any {
				s = sequence{id.Counter, id.Counter, true}
			}
			left[id.Producer] = sequence{min(s.first, id.Counter), max(s.last, id.Counter), true}
		} else if p.State == Confirmed {
			lost = append(lost, id)
		}
	}
	slices.SortFunc(lost, compareIDs)
	for _, id := range lost {
		where := "in the middle"
		switch s := left[id.Producer]; {
		case s.any && id.Counter < s.first:
			r.Lost.Prefix++
			where = "at the beginning"
		case !s.any || id.Counter > s.last:
			r.Lost.Postfix++
			where = "at the end"
		default:
			r.Lost.Middle++
		}
		r.violate(LawLost, "%s, %s of its producer's messages", id, where)
	}
}

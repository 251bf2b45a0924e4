package simulation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

var quarantined = []failure.Category{failure.Transient, failure.Schema, failure.Business, failure.Integration, failure.Crash} //nolint:gochecknoglobals // a list, never written to

// letter is a dead letter at the end.
type letter struct {
	queue string
	env   envelope.Envelope
	at    time.Time
}

// check compares what there is at the end with the books.
func (b *books) check() {
	w := b.w
	if w.drainedAt == 0 {
		b.violate("drained", "not everything came to its end: %s", w.leftovers())
		return
	}
	for g := range w.groups {
		pending := b.pending(g)
		letters := b.letters(g)
		lost := make([]bool, len(w.plan.messages))
		for id := range w.plan.messages {
			b.checkMessage(g, id, letters[id], pending[id])
			lost[id] = b.lost(g, id, len(letters[id]), pending[id])
		}
		b.summarise(w.groups[g], lost)
	}
}

// pending counts the copies that wait for a newer release.
func (b *books) pending(group int) []int {
	out := make([]int, len(b.w.plan.messages))
	n := b.w.names[group]
	for _, q := range []string{n.Source, n.Retry, n.Replay} {
		b.w.scan(q, func(l *broker.Letter) {
			b.intact(q, &l.Message)
			if id := idOf(l.Message.Body); id >= 0 && id < len(out) {
				out[id]++
			}
		})
	}
	return out
}

func (b *books) letters(group int) [][]letter {
	out := make([][]letter, len(b.w.plan.messages))
	n := b.w.names[group]
	queues := []string{n.DeadLetter}
	for _, c := range quarantined {
		queues = append(queues, n.Quarantine(c))
	}
	for _, q := range queues {
		b.w.scan(q, func(l *broker.Letter) {
			b.intact(q, &l.Message)
			id := idOf(l.Message.Body)
			if id < 0 || id >= len(out) {
				return
			}
			e, err := envelope.Decode(l.Message.Envelope)
			if err != nil {
				b.violate("envelope", "the letter of m%d in %s: %v", id, q, err)
				return
			}
			out[id] = append(out[id], letter{q, e, l.StoredAt})
		})
	}
	return out
}

// lost reports whether a message was confirmed and is nowhere.
func (b *books) lost(group, id, letters, pending int) bool {
	return b.confirmed[id] && b.ledger(group, id).effects == 0 && letters == 0 && pending == 0
}

// summarise says where in the order of publication messages were lost.
func (b *books) summarise(group string, lost []bool) {
	order := make([]int, len(lost))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(b.w.plan.messages[x].at, b.w.plan.messages[y].at) })
	inOrder := make([]bool, len(lost))
	for i, id := range order {
		inOrder[i] = lost[id]
	}
	if prefix, middle, postfix := split(inOrder); prefix+middle+postfix > 0 {
		b.violate("nothing is lost", "%d of %d messages for %s: %d at the beginning, %d in the middle, %d at the end",
			prefix+middle+postfix, len(lost), group, prefix, middle, postfix)
	}
}

// split counts what is lost before the first that is not, after the last that is
// not, and between.
func split(lost []bool) (prefix, middle, postfix int) {
	first := slices.Index(lost, false)
	if first < 0 {
		return len(lost), 0, 0
	}
	last := len(lost) - 1
	for lost[last] {
		last--
	}
	for _, l := range lost[first:last] {
		if l {
			middle++
		}
	}
	return first, middle, len(lost) - 1 - last
}

func (b *books) checkMessage(group, id int, letters []letter, pending int) {
	l, m := b.ledger(group, id), &b.w.plan.messages[id]
	name := b.w.groups[group]
	if b.lost(group, id, len(letters), pending) {
		b.violate("nothing is lost", "m%d (%s) was confirmed and is nowhere for %s: %d runs", id, m.describe(), name, l.runs)
	}
	if b.stored[id] == 0 && (l.effects > 0 || len(letters) > 0) {
		b.violate("unexpected", "m%d was never stored and took effect", id)
	}
	attempts := b.w.plan.policy.Retry.Attempts
	if settled := l.runs - l.uncounted - l.unsettled; settled > b.lineages(group, id)*attempts {
		b.violate("attempts", "m%d (%s) ran %d times for %s, of those %d uncounted and %d without a settlement, with %d attempts and %d copies",
			id, m.describe(), l.runs, name, l.uncounted, l.unsettled, attempts, b.lineages(group, id))
	}
	b.checkEffects(group, id, len(letters))
	for i := range letters {
		b.checkLetter(group, id, &letters[i])
	}
	if n := b.lineages(group, id); len(letters) > n {
		b.violate("one letter", "m%d (%s) is %d letters of %s, and there were %d copies of it", id, m.describe(), len(letters), name, n)
	}
}

func (b *books) checkEffects(group, id, letters int) {
	l, m := b.ledger(group, id), &b.w.plan.messages[id]
	lineages := b.lineages(group, id)
	stable := b.w.plan.identity || m.key != ""
	switch {
	case b.w.plan.inbox == inboxInTransaction && stable && (b.stored[id] == 1 || m.key != ""):
		if l.effects > 1 {
			b.violate("effect once", "m%d (%s) took effect %d times for %s under an inbox", id, m.describe(), l.effects, b.w.groups[group])
		}
	case l.effects > lineages+l.unsettled+l.uncounted+l.own:
		b.violate("effect once", "m%d (%s) took effect %d times for %s, with %d copies and %d runs that were not settled",
			id, m.describe(), l.effects, b.w.groups[group], lineages, l.unsettled)
	}
	if letters > 0 && l.effects > 0 && lineages == 1 && l.unsettled == 0 && l.own == 0 && l.uncounted == 0 {
		b.violate("one place", "m%d (%s) took effect and is a letter of %s", id, m.describe(), b.w.groups[group])
	}
}

// checkLetter asks whether there was a reason to give the message up.
func (b *books) checkLetter(group, id int, at *letter) {
	l, m, e := b.ledger(group, id), &b.w.plan.messages[id], &at.env
	pl := b.w.plan
	bad := func(law, why string) {
		b.violate(law, "m%d (%s) is in %s for %q: %s", id, m.describe(), at.queue, e.Reason, why)
	}
	b.sameKey(id, e.Key)
	if e.Count > pl.policy.Retry.Attempts {
		bad("attempts", "more attempts than the policy has")
	}
	switch e.Reason {
	case envelope.ReasonAttempts, envelope.ReasonPoison, envelope.ReasonPanic:
		if e.Count != pl.policy.Retry.Attempts {
			bad("attempts", "attempts were left")
		}
		if l.own == 0 && !l.several && !(l.lone && b.alone(id, l.usedUp, at)) {
			bad("an outage is not poison", "every failure of it was the fault of one outage")
		}
	case envelope.ReasonPermanent:
		if m.kind != schema && m.kind != business && m.kind != integration {
			bad("outcome explained", "nothing permanent happened")
		}
	case envelope.ReasonRequested:
		if m.kind != requested {
			bad("outcome explained", "nobody asked for it")
		}
	case envelope.ReasonRepeated:
		if m.kind != schema && m.kind != business && m.kind != integration || l.replays == 0 {
			bad("outcome explained", "it did not fail for good after a replay")
		}
	case envelope.ReasonKeyConflict:
		if pl.inbox == noInbox || !b.twin(id) {
			bad("outcome explained", "no other message has its key")
		}
	case envelope.ReasonCrashLoop:
		b.checkCrashLoop(id, bad)
	case envelope.ReasonExpired:
		if !b.jumped && (m.expires == 0) && e.LastFailure.Sub(e.FirstFailure) < pl.policy.Retry.MaxAge-time.Minute {
			bad("no early expiry", "it is younger than the limit")
		}
	default:
		bad("outcome explained", "no such reason")
	}
}

// checkCrashLoop: a message is quarantined for killing its process only if the
// process, or its lease, ended while it was running alone, often enough.
func (b *books) checkCrashLoop(id int, bad func(law, why string)) {
	kind := b.w.plan.messages[id].kind
	if kind == killer {
		return
	}
	for _, c := range b.copies {
		if c.last.id == id && c.aloneLost >= b.w.plan.policy.WithDefaults().Poison.CrashThreshold {
			return
		}
	}
	bad("no innocent is quarantined", "its process did not end three times while it ran alone")
}

// twin reports whether another message has the key of this one.
func (b *books) twin(id int) bool {
	for i := range b.w.plan.messages {
		if i != id && b.w.plan.messages[i].key != "" && b.w.plan.messages[i].key == b.w.plan.messages[id].key {
			return true
		}
	}
	return false
}

// alone reports whether no other message failed in the process that gave this one
// up, since its attempts were used up.
func (b *books) alone(id int, from int64, at *letter) bool {
	to := int64(at.env.LastFailure.Sub(b.w.epoch))
	var by *process
	for _, f := range b.failures {
		if f.id == id && f.at <= to+int64(time.Second) {
			by = f.p
		}
	}
	for _, f := range b.failures {
		if f.p == by && f.id != id && f.at > from && f.at <= to {
			return b.jumped
		}
	}
	return true
}

// leftovers says what is still in the queues.
func (w *world) leftovers() string {
	var out strings.Builder
	for g, n := range w.names {
		for _, q := range []string{n.Source, n.Retry, n.Replay} {
			var ids strings.Builder
			w.scan(q, func(l *broker.Letter) {
				if ids.Len() < 100 {
					fmt.Fprintf(&ids, " m%d (%s)", idOf(l.Message.Body), l.Message.Key)
				}
			})
			if ids.Len() > 0 && (g == 0 || q != source) {
				fmt.Fprintf(&out, "%s:%s; ", q, ids.String())
			}
		}
	}
	return out.String()
}

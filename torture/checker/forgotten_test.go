package checker_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/torture/checker"
)

// one is a history of one message with the records of one worker.
func one(kills int, records ...checker.Record) (*checker.History, checker.ID) {
	id := checker.ID{Producer: 1}
	for i := range records {
		records[i].ID = id
	}
	return &checker.History{
		Publications: map[checker.ID]checker.Publication{id: {State: checker.Confirmed, Digest: digest(id)}},
		Journals:     [][]checker.Record{records}, Drained: true, ServerKills: kills, InFlight: 8, MaxAttempts: maxAttempts, Fate: fate,
	}, id
}

// twice is a message that came back after it was settled.
func twice(id checker.ID) []checker.Record {
	return []checker.Record{started(id), effect(id), done(id), started(id), effect(id), done(id)}
}

// A broker that was killed excuses a settlement that it forgot, one for each kill,
// and as many messages as a worker holds; nothing else does.
func TestAKilledBrokerForgets(t *testing.T) {
	for _, c := range []struct {
		rule            string
		kills, inFlight int
		forgotten       int
		broken          []checker.Law
	}{
		{"nobody was killed", 0, 8, 0, []checker.Law{checker.LawDuplicateEffects}},
		{"the broker was killed", 1, 8, 1, nil},
		{"and cannot have held as many", 1, 0, 1, []checker.Law{checker.LawDuplicateEffects}},
	} {
		h, _ := one(c.kills, twice(checker.ID{Producer: 1})...)
		h.InFlight = c.inFlight
		r := checker.Check(h)
		if r.Forgotten != c.forgotten || !slices.Equal(r.Broken(), c.broken) {
			t.Errorf("%s: %d forgotten, %s", c.rule, r.Forgotten, &r)
		}
	}
}

// A publication whose end was unknown and that was tried again may be there twice.
func TestARepeatedPublicationExcusesARepeat(t *testing.T) {
	h, id := one(0, twice(checker.ID{Producer: 1})...)
	p := h.Publications[id]
	p.Repeats = 1
	h.Publications[id] = p
	if r := checker.Check(h); !r.OK || r.Repeated != 1 {
		t.Errorf("%s", &r)
	}
}

// Under an inbox nothing excuses a second effect.
func TestUnderAnInboxNothingIsMadeTwice(t *testing.T) {
	h, id := one(9, twice(checker.ID{Producer: 1})...)
	h.Inbox, h.Kills = true, 9
	h.Journals = append(h.Journals, []checker.Record{{ID: id, Kind: checker.Redelivered, Attempt: 1}})
	if r := checker.Check(h); !slices.Contains(r.Broken(), checker.LawDuplicateEffects) {
		t.Errorf("%s", &r)
	}
}

// More deliveries without an explanation than there were kills are the fault of
// whoever gave the message back.
func TestReleasesExplainThemselves(t *testing.T) {
	for unexplained, ok := range map[uint8]bool{2: true, 3: false} {
		h, id := one(1)
		h.Kills = 1
		add(h, checker.Record{ID: id, Kind: checker.Redelivered, Attempt: unexplained}, started(id), effect(id), done(id))
		r := checker.Check(h)
		if r.OK != ok || !ok && !slices.Equal(r.Broken(), []checker.Law{checker.LawInnocent}) {
			t.Errorf("%d deliveries, 2 kills: %s", unexplained, &r)
		}
	}
}

// All groups know a message under one key.
func TestOtherGroupsSeeTheSameKey(t *testing.T) {
	id := checker.ID{Producer: 1}
	for change, broken := range map[uint32][]checker.Law{0: nil, 1: {checker.LawKey}} {
		h, _ := one(0, started(id), effect(id), done(id))
		other := started(id)
		other.Key += change
		h.Others = [][]checker.Record{{other, effect(id), done(id)}}
		if r := checker.Check(h); !slices.Equal(r.Broken(), broken) || r.Effects != 1 {
			t.Errorf("key changed by %d: %s", change, &r)
		}
	}
}

// What two groups made adds up, and what one broke both broke.
func TestResultsOfGroupsAddUp(t *testing.T) {
	id := checker.ID{Producer: 1}
	good, _ := one(0, started(id), effect(id), done(id))
	bad, _ := one(0, twice(id)...)
	sum, second := checker.Check(good), checker.Check(bad)
	sum.Add(&second)
	if sum.OK || sum.Verdict != checker.Fail || sum.Published != 1 || sum.Effects != 2 || sum.Runs != 3 {
		t.Errorf("%s", &sum)
	}
	if diff := cmp.Diff(second.Violations, sum.Violations); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	same := checker.Check(good)
	same.Add(&same)
	if !same.OK || same.Effects != 2 {
		t.Errorf("%s", &same)
	}
}

// A message that comes back after it was settled brings the note along that it was
// started alone, so that two deaths can look like three.
func TestAForgottenSettlementBringsItsNoteBack(t *testing.T) {
	for kills, broken := range map[int][]checker.Law{1: nil, 0: {checker.LawInnocent}} {
		alone := checker.Record{Kind: checker.Alone}
		h, id := one(kills, alone, started(checker.ID{Producer: 1}), retried(checker.ID{Producer: 1}, 1))
		h.Kills, h.CrashThreshold = crashThreshold-1, crashThreshold
		for range h.Kills {
			h.Journals = append(h.Journals, []checker.Record{{ID: id, Kind: checker.Alone}, started(id)})
		}
		h.Letters = []checker.Letter{{ID: id, Readable: true, Digest: digest(id), Key: key(id), Place: checker.Quarantined, CrashLoop: true}}
		if r := checker.Check(h); !slices.Equal(r.Broken(), broken) {
			t.Errorf("%d kills of the broker: %s", kills, &r)
		}
	}
}

// When the broker was killed a message can be handled and there. One that is there and
// was not handled is still to be done.
func TestGhostsWereHandled(t *testing.T) {
	for cuts, verdict := range map[int]string{0: checker.Undecided, 1: checker.Pass} {
		id := checker.ID{Producer: 1}
		h, _ := one(0, started(id), effect(id), done(id))
		h.ServerKills = cuts
		h.Letters = []checker.Letter{{ID: id, Readable: true, Digest: digest(id), Place: checker.Pending}}
		if r := checker.Check(h); r.Verdict != verdict || r.Ghosts != cuts {
			t.Errorf("%d kills: %d ghosts, %s", cuts, r.Ghosts, &r)
		}
		h.Journals = [][]checker.Record{nil}
		if r := checker.Check(h); r.Verdict != checker.Undecided || r.Ghosts != 0 {
			t.Errorf("%d kills, not handled: %d ghosts, %s", cuts, r.Ghosts, &r)
		}
	}
}

// Where settlements reach the broker late, the kill of a worker excuses what the kill
// of a broker does.
func TestAKilledWorkerForgetsWhereSettlementsAreLate(t *testing.T) {
	for _, c := range []struct {
		rule      string
		forgets   bool
		forgotten int
		broken    []checker.Law
	}{
		{"settlements are confirmed one by one", false, 0, []checker.Law{checker.LawDuplicateEffects}},
		{"settlements are late", true, 1, nil},
	} {
		h, _ := one(0, twice(checker.ID{Producer: 1})...)
		h.Kills, h.Forgets = 1, c.forgets
		r := checker.Check(h)
		if r.Forgotten != c.forgotten || !slices.Equal(r.Broken(), c.broken) {
			t.Errorf("%s: %d forgotten, %s", c.rule, r.Forgotten, &r)
		}
	}
}

// A move that was made again is a second letter where the broker drops no repeats, one
// for each reason to repeat it.
func TestASecondLetterNeedsAReason(t *testing.T) {
	for _, c := range []struct {
		rule                  string
		keeps, again, forgets bool
		ok                    bool
	}{
		{"the broker drops repeats", false, true, false, false},
		{"nothing was repeated", true, false, false, false},
		{"a run was not settled", true, true, false, true},
		{"a settlement may be forgotten", true, false, true, true},
	} {
		id := checker.ID{Producer: 1}
		h, _ := one(0, started(id), checker.Record{ID: id, Kind: checker.Lettered, Attempt: 1})
		if c.again {
			h.Journals = append(h.Journals, []checker.Record{started(id)})
		}
		h.Kills, h.Forgets, h.KeepsRepeats = 1, c.forgets, c.keeps
		h.Fate = func(checker.ID) checker.Fate { return checker.Fate{Fails: true, Category: "business"} }
		l := checker.Letter{ID: id, Readable: true, Digest: digest(id), Key: key(id), Place: checker.DeadLettered, Category: "business", Count: 1, Listed: 1}
		h.Letters = []checker.Letter{l, l}
		r := checker.Check(h)
		if r.OK != c.ok || r.DupLetters != 1 || !c.ok && !slices.Contains(r.Broken(), checker.LawDuplicateLetters) {
			t.Errorf("%s: %s", c.rule, &r)
		}
	}
}

// Where nobody counts deliveries nobody is accused for them.
func TestUncountedDeliveriesNeedNoExplanation(t *testing.T) {
	for uncounted, ok := range map[bool]bool{false: false, true: true} {
		h, id := one(0)
		h.Uncounted = uncounted
		add(h, checker.Record{ID: id, Kind: checker.Redelivered, Attempt: 3}, started(id), effect(id), done(id))
		if r := checker.Check(h); r.OK != ok {
			t.Errorf("uncounted %v: %s", uncounted, &r)
		}
	}
}

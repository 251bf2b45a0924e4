package checker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/torture/checker"
)

const maxAttempts, crashThreshold = 5, 3

// fates by producer, so that a history needs no script.
func fate(id checker.ID) checker.Fate {
	switch id.Producer {
	case 2:
		return checker.Fate{Fails: true, Category: "schema"}
	case 3:
		return checker.Fate{Fails: true, Category: "transient", Attempts: true}
	}
	return checker.Fate{}
}

// world makes histories that keep the laws, the way that a good library does under
// kills: it knows where every copy is.
type world struct {
	t       *rapid.T
	h       checker.History
	counter [4]uint32
}

func newWorld(t *rapid.T) *world {
	return &world{t: t, h: checker.History{
		Publications: map[checker.ID]checker.Publication{}, Journals: make([][]checker.Record, 2), Drained: true,
		InFlight: 8, MaxAttempts: maxAttempts, CrashThreshold: crashThreshold, OutageCategory: "transient", Fate: fate,
	}}
}

func (w *world) draw(what string, most int) int { return rapid.IntRange(0, most).Draw(w.t, what) }

func (w *world) publish(producer uint16) checker.ID {
	id := checker.ID{Producer: producer, Counter: w.counter[producer]}
	w.counter[producer]++
	w.h.Publications[id] = checker.Publication{State: checker.Confirmed, Digest: digest(id)}
	return id
}

func digest(id checker.ID) checker.Digest { return checker.Sum([]byte(id.String()), nil) }
func key(id checker.ID) uint32            { return checker.KeySum(id.String()) }

// run writes the records of one run into a journal: that of a worker that lives
// on, or of one that is killed after some of them. It tells whether it lives.
func (w *world) run(id checker.ID, kills bool, records ...checker.Record) bool {
	records = append([]checker.Record{{ID: id, Kind: checker.Started, Key: key(id)}}, records...)
	for i := range records {
		records[i].ID = id
	}
	if kills && w.draw("killed", 3) == 0 {
		// The settlement may have reached the broker, but nobody knows.
		w.h.Journals = append(w.h.Journals, records[:1+w.draw("records", len(records)-2)])
		w.h.Kills++
		return false
	}
	at := w.draw("worker", 1)
	w.h.Journals[at] = append(w.h.Journals[at], records...)
	return true
}

func (w *world) again(id checker.ID) {
	at := w.draw("worker", 1)
	w.h.Journals[at] = append(w.h.Journals[at], checker.Record{ID: id, Kind: checker.Redelivered})
}

func (w *world) letter(l checker.Letter) {
	l.Readable, l.Digest, l.Queue, l.Key = true, digest(l.ID), "queue", key(l.ID)
	w.h.Letters = append(w.h.Letters, l)
}

// succeed publishes a message that has its effect, after up to three kills.
func (w *world) succeed() {
	id := w.publish(1)
	for !w.run(id, w.h.Kills < 10, checker.Record{Kind: checker.Effect, Attempt: 1}, checker.Record{Kind: checker.Done}) {
		w.again(id)
	}
}

// permanent publishes a message that is dead-lettered at once.
func (w *world) permanent() {
	id := w.publish(2)
	for !w.run(id, w.h.Kills < 10, checker.Record{Kind: checker.Failed, Attempt: 1}, checker.Record{Kind: checker.Lettered, Attempt: 1}) {
		w.again(id)
	}
	w.letter(checker.Letter{ID: id, Place: checker.DeadLettered, Category: "schema", Reason: "permanent", Count: 1, Listed: 1})
}

// hopeless publishes a message that uses up its attempts. A kill between the copy
// and the settlement of the original makes two copies, which become one letter.
func (w *world) hopeless() {
	id := w.publish(3)
	for attempt := uint8(1); attempt <= maxAttempts; attempt++ {
		kind := checker.Retried
		if attempt == maxAttempts {
			kind = checker.Lettered
		}
		for !w.run(id, w.h.Kills < 10, checker.Record{Kind: checker.Failed, Attempt: attempt}, checker.Record{Kind: kind, Attempt: attempt}) {
			w.again(id)
		}
	}
	w.letter(checker.Letter{ID: id, Place: checker.DeadLettered, Category: "transient", Reason: "attempts", Count: maxAttempts, Listed: maxAttempts})
}

// killer publishes a message that runs alone at three kills and is blamed.
func (w *world) killer() {
	id := w.publish(1)
	for range crashThreshold {
		w.h.Journals = append(w.h.Journals, []checker.Record{
			{ID: id, Kind: checker.Redelivered}, {ID: id, Kind: checker.Alone}, {ID: id, Kind: checker.Started, Key: key(id)},
		})
		w.h.Kills++
	}
	w.letter(checker.Letter{ID: id, Place: checker.Quarantined, Category: "crash", Reason: "crash_loop", CrashLoop: true})
}

func lawful(t *rapid.T) *checker.History {
	w := newWorld(t)
	w.succeed() // so that there is always one
	for range rapid.IntRange(0, 15).Draw(t, "messages") {
		rapid.SampledFrom([]func(){w.succeed, w.permanent, w.hopeless, w.killer}).Draw(t, "message")()
	}
	return &w.h
}

func TestLawfulHistoriesPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := lawful(t)
		r := checker.Check(h)
		if !r.OK || r.Verdict != checker.Pass {
			t.Fatalf("%s", &r)
		}
		if r.Published != len(h.Publications) || r.Effects+r.DeadLettered+r.Quarantined-r.DupLetters != r.Published {
			t.Fatalf("%d messages, %d places: %s", len(h.Publications), r.Effects+r.DeadLettered+r.Quarantined, &r)
		}
	})
}

// The order in which journals and letters are read says nothing.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := lawful(t)
		// Some of it gets lost, so that there is something to find.
		h.Letters = h.Letters[:len(h.Letters)/2]
		before := checker.Check(h)
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "shuffle"), 0))
		random.Shuffle(len(h.Journals), func(i, k int) { h.Journals[i], h.Journals[k] = h.Journals[k], h.Journals[i] })
		random.Shuffle(len(h.Letters), func(i, k int) { h.Letters[i], h.Letters[k] = h.Letters[k], h.Letters[i] })
		if diff := cmp.Diff(before, checker.Check(h)); diff != "" {
			t.Fatalf("(-before +after):\n%s", diff)
		}
	})
}

// crimes break one law each, and no other, in a history that keeps all.
var crimes = map[string]struct {
	law    checker.Law
	commit func(*checker.History)
}{
	"a message is nowhere": {checker.LawLost, func(h *checker.History) {
		h.Publications[checker.ID{Producer: 1, Counter: 900}] = checker.Publication{State: checker.Confirmed}
	}},
	"an effect of nothing": {checker.LawUnexpected, func(h *checker.History) {
		add(h, effect(checker.ID{Producer: 1, Counter: 900}), done(checker.ID{Producer: 1, Counter: 900}))
	}},
	"a letter of nothing": {checker.LawUnexpected, func(h *checker.History) {
		h.Letters = append(h.Letters, checker.Letter{ID: checker.ID{Producer: 9}, Readable: true, Place: checker.DeadLettered})
	}},
	"a letter without an id": {checker.LawUnexpected, func(h *checker.History) {
		h.Letters = append(h.Letters, checker.Letter{Place: checker.Pending})
	}},
	"a refused message is there": {checker.LawUnexpected, func(h *checker.History) {
		id := confirmed(h, 1)
		h.Publications[id] = checker.Publication{State: checker.Refused, Digest: digest(id)}
		add(h, started(id), effect(id), done(id))
	}},
	"a handler saw another body": {checker.LawMutated, func(h *checker.History) {
		id := confirmed(h, 1)
		r := started(id)
		r.Flags = checker.Altered
		add(h, r, effect(id), done(id))
	}},
	"a letter has another body": {checker.LawMutated, func(h *checker.History) {
		l := schemaLetter(confirmed(h, 2))
		l.Digest[0] ^= 1
		h.Letters = append(h.Letters, l)
	}},
	"effect and letter": {checker.LawBoth, func(h *checker.History) {
		id := confirmed(h, 2)
		add(h, started(id), effect(id), done(id))
		h.Letters = append(h.Letters, schemaLetter(id))
	}},
	"two letters": {checker.LawDuplicateLetters, func(h *checker.History) {
		id := confirmed(h, 2)
		h.Letters = append(h.Letters, schemaLetter(id), schemaLetter(id))
	}},
	"two letters, and a kill": {checker.LawDuplicateLetters, func(h *checker.History) {
		id := confirmed(h, 2)
		h.Kills++
		h.Journals = append(h.Journals, []checker.Record{started(id)})
		h.Letters = append(h.Letters, schemaLetter(id), schemaLetter(id))
	}},
	"two effects": {checker.LawDuplicateEffects, func(h *checker.History) {
		id := confirmed(h, 1)
		h.Kills++ // of another message's worker
		add(h, started(id), effect(id), done(id), started(id), effect(id), done(id))
	}},
	"another key on the second run": {checker.LawKey, func(h *checker.History) {
		id := confirmed(h, 3)
		first, second := started(id), started(id)
		second.Key++
		add(h, first, retried(id, 1), second, retried(id, 2))
		h.Letters = append(h.Letters, hopelessLetter(id))
	}},
	"another key in the letter": {checker.LawKey, func(h *checker.History) {
		id := confirmed(h, 2)
		l := schemaLetter(id)
		l.Key++
		add(h, started(id))
		h.Journals[0] = append(h.Journals[0], checker.Record{ID: id, Kind: checker.Lettered})
		h.Letters = append(h.Letters, l)
	}},
	"the first attempt twice": {checker.LawHistory, func(h *checker.History) {
		id := confirmed(h, 3)
		add(h, started(id), retried(id, 1), started(id), retried(id, 1))
		h.Letters = append(h.Letters, hopelessLetter(id))
	}},
	"attempts missing in the list": {checker.LawHistory, func(h *checker.History) {
		l := hopelessLetter(confirmed(h, 3))
		l.Listed--
		h.Letters = append(h.Letters, l)
	}},
	"given up too early": {checker.LawHistory, func(h *checker.History) {
		l := hopelessLetter(confirmed(h, 3))
		l.Count, l.Listed = 3, 3
		h.Letters = append(h.Letters, l)
	}},
	"run too often": {checker.LawAttempts, func(h *checker.History) {
		id := confirmed(h, 3)
		for n := range uint8(maxAttempts + 1) {
			add(h, started(id), retried(id, n))
		}
		h.Letters = append(h.Letters, hopelessLetter(id))
	}},
	"dead-lettered by an outage": {checker.LawOutage, func(h *checker.History) {
		l := hopelessLetter(confirmed(h, 1))
		h.Letters = append(h.Letters, l)
	}},
	"blamed for two kills": {checker.LawInnocent, func(h *checker.History) {
		id := confirmed(h, 1)
		for range crashThreshold - 1 {
			h.Kills++
			h.Journals = append(h.Journals, []checker.Record{{ID: id, Kind: checker.Alone}, started(id)})
		}
		// The third time it came back.
		add(h, checker.Record{ID: id, Kind: checker.Alone}, started(id), retried(id, 1))
		h.Letters = append(h.Letters, checker.Letter{
			ID: id, Readable: true, Digest: digest(id), Place: checker.Quarantined, CrashLoop: true,
		})
	}},
	"another category": {checker.LawMisfiled, func(h *checker.History) {
		l := schemaLetter(confirmed(h, 2))
		l.Category = "business"
		h.Letters = append(h.Letters, l)
	}},
}

func confirmed(h *checker.History, producer uint16) checker.ID {
	id := checker.ID{Producer: producer, Counter: 1000}
	h.Publications[id] = checker.Publication{State: checker.Confirmed, Digest: digest(id)}
	return id
}

func add(h *checker.History, records ...checker.Record) {
	h.Journals[0] = append(h.Journals[0], records...)
}

func started(id checker.ID) checker.Record {
	return checker.Record{ID: id, Kind: checker.Started, Key: key(id)}
}
func effect(id checker.ID) checker.Record { return checker.Record{ID: id, Kind: checker.Effect} }
func done(id checker.ID) checker.Record   { return checker.Record{ID: id, Kind: checker.Done} }

func retried(id checker.ID, attempt uint8) checker.Record {
	return checker.Record{ID: id, Kind: checker.Retried, Attempt: attempt}
}

func schemaLetter(id checker.ID) checker.Letter {
	return checker.Letter{ID: id, Readable: true, Place: checker.DeadLettered, Digest: digest(id), Key: key(id), Category: "schema", Count: 1, Listed: 1}
}

func hopelessLetter(id checker.ID) checker.Letter {
	return checker.Letter{
		ID: id, Readable: true, Place: checker.DeadLettered, Digest: digest(id), Key: key(id),
		Category: "transient", Count: maxAttempts, Listed: maxAttempts,
	}
}

func TestEveryCrimeIsFound(t *testing.T) {
	found := map[checker.Law]bool{}
	for name, crime := range crimes {
		found[crime.law] = true
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				h := lawful(t)
				crime.commit(h)
				r := checker.Check(h)
				if r.OK || r.Verdict != checker.Fail || !slices.Equal(r.Broken(), []checker.Law{crime.law}) || r.Violations[crime.law].Count != 1 {
					t.Fatalf("want one violation of %q, got %s", crime.law, &r)
				}
			})
		})
	}
	for _, l := range checker.Laws() {
		if !found[l] {
			t.Errorf("no crime breaks the law %q", l)
		}
	}
}

// Losses are placed in the sequence of their producer.
func TestLossesArePlaced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &checker.History{
			Publications: map[checker.ID]checker.Publication{}, Journals: [][]checker.Record{nil}, Drained: true,
			MaxAttempts: maxAttempts, Fate: fate,
		}
		left := rapid.SliceOfN(rapid.Bool(), 1, 30).Draw(t, "left")
		first, last := slices.Index(left, true), -1
		for i, ok := range left {
			id := checker.ID{Producer: 1, Counter: uint32(i)}
			h.Publications[id] = checker.Publication{State: checker.Confirmed, Digest: digest(id)}
			if ok {
				last = i
				add(h, started(id), effect(id), done(id))
			}
		}
		var want checker.Loss
		for i, ok := range left {
			switch {
			case ok:
			case i > last:
				want.Postfix++
			case i < first:
				want.Prefix++
			default:
				want.Middle++
			}
		}
		if got := checker.Check(h); got.Lost != want || got.Violations[checker.LawLost].Count != want.Total() {
			t.Fatalf("%v: got %+v, want %+v", left, got.Lost, want)
		}
	})
}

// A message that fails every time is filed under the outage if its last attempt
// was in one, and only then.
func TestTheLastAttemptCanBeInAnOutage(t *testing.T) {
	id := checker.ID{Producer: 2}
	l := schemaLetter(id)
	l.Category, l.Count, l.Listed = "transient", maxAttempts, maxAttempts
	h := &checker.History{
		Publications: map[checker.ID]checker.Publication{id: {State: checker.Confirmed, Digest: digest(id)}},
		Journals:     [][]checker.Record{{started(id), {ID: id, Kind: checker.Failed, Flags: checker.Outage}, retried(id, 1)}},
		Letters:      []checker.Letter{l}, Drained: true, MaxAttempts: maxAttempts, OutageCategory: "transient", Fate: fate,
	}
	if r := checker.Check(h); !r.OK {
		t.Errorf("%s", &r)
	}
	h.Journals[0][1].Flags = 0
	if r := checker.Check(h); !slices.Equal(r.Broken(), []checker.Law{checker.LawMisfiled}) {
		t.Errorf("without an outage: %s", &r)
	}
}

func TestWhatIsNotKnownIsNotLost(t *testing.T) {
	id, seen := checker.ID{Producer: 1}, checker.ID{Producer: 1, Counter: 1}
	h := &checker.History{
		Publications: map[checker.ID]checker.Publication{id: {State: checker.Unknown}, {Producer: 2}: {State: checker.Refused}, seen: {Digest: digest(seen)}},
		Journals:     [][]checker.Record{{started(seen), effect(seen), done(seen)}}, Drained: true, MaxAttempts: maxAttempts, Fate: fate,
	}
	if r := checker.Check(h); !r.OK || r.Unknown != 2 || r.Refused != 1 {
		t.Errorf("%s", &r)
	}
}

func TestARunThatDidNotDrainProvesNothing(t *testing.T) {
	id := checker.ID{Producer: 1}
	h := &checker.History{
		Publications: map[checker.ID]checker.Publication{id: {State: checker.Confirmed, Digest: digest(id)}},
		Letters:      []checker.Letter{{ID: id, Readable: true, Digest: digest(id), Place: checker.Pending}}, MaxAttempts: maxAttempts, Fate: fate,
	}
	for _, drained := range []bool{false, true} {
		// What says that it is drained, and is not, is believed even less.
		h.Drained = drained
		if r := checker.Check(h); r.OK || r.Verdict != checker.Undecided || r.Pending != 1 {
			t.Errorf("drained %v: %s", drained, &r)
		}
	}
	h.Letters = nil
	if r := checker.Check(h); r.Verdict != checker.Fail {
		t.Errorf("lost: %s", &r)
	}
}

func TestDuplicatesAreBounded(t *testing.T) {
	h := &checker.History{
		Publications: map[checker.ID]checker.Publication{}, Journals: [][]checker.Record{nil}, Drained: true,
		Kills: 1, InFlight: 2, MaxAttempts: maxAttempts, Fate: fate,
	}
	for i := range uint32(3) {
		id := checker.ID{Producer: 1, Counter: i}
		h.Publications[id] = checker.Publication{State: checker.Confirmed, Digest: digest(id)}
		add(h, started(id), effect(id), checker.Record{ID: id, Kind: checker.Redelivered}, started(id), effect(id), done(id))
	}
	r := checker.Check(h)
	if !slices.Equal(r.Broken(), []checker.Law{checker.LawDuplicateEffects}) || r.Dup != 3 || r.DupBound != 2 {
		t.Errorf("3 effects made again by one kill of a worker with 2 messages: %s", &r)
	}
	h.InFlight = 3
	if r := checker.Check(h); !r.OK {
		t.Errorf("3 effects made again by one kill of a worker with 3 messages: %s", &r)
	}
}

func ExampleCheck() {
	first, second := checker.ID{Producer: 1, Counter: 0}, checker.ID{Producer: 1, Counter: 1}
	body := func(id checker.ID) checker.Digest { return checker.Sum([]byte(id.String()), nil) }
	r := checker.Check(&checker.History{
		Publications: map[checker.ID]checker.Publication{
			first:  {State: checker.Confirmed, Digest: body(first)},
			second: {State: checker.Confirmed, Digest: body(second)},
		},
		Journals: [][]checker.Record{{
			{ID: second, Kind: checker.Started, Attempt: 1},
			{ID: second, Kind: checker.Effect, Attempt: 1},
			{ID: second, Kind: checker.Done},
		}},
		Drained: true, MaxAttempts: 5,
		Fate: func(checker.ID) checker.Fate { return checker.Fate{} },
	})
	fmt.Println(r.Verdict, r.Lost)
	fmt.Println(r.Violations[checker.LawLost].Examples[0])
	// Output:
	// fail {1 0 0}
	// 1-0, at the beginning of its producer's messages
}

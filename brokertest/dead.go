package brokertest

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

func deadCases() []Case {
	return []Case{
		{Name: "C5-dead-letter", Promise: "a dead letter is in the named queue once, and nowhere else", run: deadLetterOnce},
		{Name: "C5-quarantine", Promise: "each quarantine is a queue of its own", run: quarantine},
		{Name: "C5-dead-letter-of-a-retry", Promise: "a retried message can be dead-lettered", run: deadLetterOfRetry},
		{Name: "C4-dead-letter-repeated", Promise: "a dead-lettering repeated under one publish id makes one letter where the broker can, and never none", run: deadRepeated},
		{Name: "C6-dead-letter-too-large", Promise: "a dead letter that is too large is a TooLargeError, and the original stays", run: func(e *env) { tooLargeStays(e, false) }},
		{Name: "C6-dead-letter-unroutable", Promise: "a dead letter for a queue that nobody declared is refused or kept, never lost", Proves: []string{"unroutable-refused", "settle-failure"}, run: deadUnroutable},
		{Name: "C9-dead-again-after-replay", Promise: "a replayed message that dies again inside the dedupe window is kept", run: deadAgain},
		{Name: "C9-repeat-after-removal", Promise: "a dead-lettering repeated after its letter was removed is kept", run: repeatAfterRemoval},
		{Name: "C12-replay-picks", Promise: "a replay of three letters sends those three, and a repeat of it nothing more", run: replayPicks},
		{Name: "C12-replay-killed-at-each-step", Promise: "a replay whose client dies before or after a publication or a removal is made whole by a second run, each letter once", run: replayKilled},
		{Name: "groups-each-see-everything", Promise: "two consumer groups each get each message, and settle it for themselves alone", run: groupsSeeAll},
		{Name: "groups-share-a-dead-letter-queue", Promise: "the dead letters of two groups do not swallow each other", run: groupsShareDLQ},
		{Name: "groups-retry-alone", Promise: "a retry of one group is delivered to that group only", run: groupsRetryAlone},
		{Name: "groups-replay-alone", Promise: "what is published to a subscription's replay entry reaches that group only", run: groupsReplayAlone},
	}
}

func deadLetterOnce(e *env) {
	sub := e.open(e.b)
	e.send(2)
	got := e.receive(sub, 2)
	env := e.deadLetter(got[0], e.names.DeadLetter, broker.DefaultGroup)
	if _, err := got[0].Settle(e.ctx, broker.Release{}); !errors.Is(err, broker.ErrSettled) {
		e.Errorf("Settle after Dead: %v, want ErrSettled", err)
	}
	e.settle(got[1], broker.Done{})
	letter := e.letters(e.names.DeadLetter, 1)[0]
	e.sameEnvelope("dead-lettered", env, &letter.Message)
	if string(letter.Message.Body) != string(got[0].Msg().Body) {
		e.Errorf("letter %q, want %q", letter.Message.Body, got[0].Msg().Body)
	}
	if e.caps.StableIdentity && (letter.Identity.IsZero() || letter.Identity == got[0].Identity()) {
		e.Errorf("identity of the letter is %v, of the original %v: want another one", letter.Identity, got[0].Identity())
	}
	if letter.StoredAt.IsZero() {
		e.Errorf("letter without the time it was stored")
	}
	e.none(sub, 2*e.h.Lease)
	e.letters(e.names.DeadLetter, 1)
}

func quarantine(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(2)
	got := e.receive(sub, 2)
	schema, crash := e.names.Quarantine(failure.Schema), e.names.Quarantine(failure.Crash)
	e.deadLetter(got[0], schema, broker.DefaultGroup)
	e.deadLetter(got[1], crash, broker.DefaultGroup)
	for i, queue := range []string{schema, crash} {
		letter := e.letters(queue, 1)[0]
		if string(letter.Message.Body) != string(got[i].Msg().Body) {
			e.Errorf("%s holds %q, want %q", queue, letter.Message.Body, got[i].Msg().Body)
		}
	}
	e.letters(e.names.DeadLetter, 0)
}

func deadLetterOfRetry(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	d := e.one(sub)
	for i := range 2 {
		e.retryAt(d, d.Msg().Time, strconv.Itoa(i))
		d = e.one(sub)
	}
	env := e.deadLetter(d, e.names.DeadLetter, broker.DefaultGroup)
	e.sameEnvelope("dead-lettered", env, &e.letters(e.names.DeadLetter, 1)[0].Message)
	e.none(sub, e.h.Lease/2)
}

// twins returns deliveries of two messages of one content: what a worker sees of
// one message before and after a crash.
func (e *env) twins(sub broker.Subscription) []broker.Delivery {
	e.Helper()
	for i := range 2 {
		e.publish(broker.Outbound{Queue: e.source, ID: e.pubID(fmt.Sprint("twin ", i)), Body: []byte("twin")})
	}
	return e.receive(sub, 2)
}

func deadRepeated(e *env) {
	sub := e.open(e.b, unhurried)
	twins := e.twins(sub)
	id := e.deadID(twins[0], "")
	for _, d := range twins {
		e.settle(d, broker.Dead{Queue: e.names.DeadLetter, Envelope: e.envelope(d.Msg(), ""), PublishID: id})
	}
	n := len(e.look(e.names.DeadLetter))
	if n < 1 || n > 2 {
		e.Errorf("a repeated dead-lettering made %d letters", n)
	}
	if e.caps.DedupeWindow > 0 && n > 1 {
		e.Errorf("a dead-lettering repeated within the dedupe window made %d letters, want one", n)
	}
	e.none(sub, e.h.Lease/2)
}

func deadUnroutable(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	d := e.one(sub)
	queue := e.h.Queue(e, "nobody") + ".dlq"
	if _, err := d.Settle(e.ctx, broker.Dead{Queue: queue, Envelope: e.envelope(d.Msg(), ""), PublishID: e.deadID(d, "")}); err == nil {
		e.letters(queue, 1)
		return
	}
	e.deadLetter(d, e.names.DeadLetter, broker.DefaultGroup)
	e.letters(e.names.DeadLetter, 1)
}

// removeIfAble removes a letter, and reports whether the broker could.
func (e *env) removeIfAble(queue string, l broker.Letter) bool {
	e.Helper()
	err := e.lettersOf(queue).Remove(e.ctx, l.Position)
	if err != nil && !errors.Is(err, broker.ErrUnsupported) {
		e.Fatalf("remove %s of %s: %v", l.Position, queue, err)
	}
	return err == nil || e.caps.LettersMode == broker.DrainOnly
}

func deadAgain(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	first := e.one(sub)
	e.deadLetter(first, e.names.DeadLetter, broker.DefaultGroup)
	letter := e.letters(e.names.DeadLetter, 1)[0]
	want := 2
	e.publish(broker.Outbound{Queue: e.source, ID: "rp:" + e.source + ":1", Body: letter.Message.Body, Envelope: letter.Message.Envelope})
	second := e.one(sub)
	if e.removeIfAble(e.names.DeadLetter, letter) && e.caps.LettersMode != broker.DrainOnly {
		want = 1
	}
	if e.caps.StableIdentity && second.Identity() == first.Identity() {
		e.Errorf("the replayed message has the identity of the first one, %v", first.Identity())
	}
	e.deadLetter(second, e.names.DeadLetter, broker.DefaultGroup)
	e.letters(e.names.DeadLetter, want)
}

func repeatAfterRemoval(e *env) {
	sub := e.open(e.b, unhurried)
	twins := e.twins(sub)
	id := e.deadID(twins[0], "")
	dead := func(d broker.Delivery) {
		e.settle(d, broker.Dead{Queue: e.names.DeadLetter, Envelope: e.envelope(d.Msg(), ""), PublishID: id})
	}
	dead(twins[0])
	letter := e.letters(e.names.DeadLetter, 1)[0]
	if !e.removeIfAble(e.names.DeadLetter, letter) {
		return
	}
	dead(twins[1])
	if n := len(e.look(e.names.DeadLetter)) - len(e.drained[e.names.DeadLetter]); e.caps.LettersMode != broker.DrainOnly && n != 1 {
		e.Errorf("%d letters after the repeat, want one: the dedupe window remembers a letter that is gone", n)
	}
}

func replayPicks(e *env) {
	const n = 100
	sub := e.open(e.b, unhurried)
	e.send(n)
	for _, d := range e.receive(sub, n) {
		e.deadLetter(d, e.names.DeadLetter, broker.DefaultGroup)
	}
	all := e.letters(e.names.DeadLetter, n)
	left := n
	for range 2 {
		for i, pick := range []int{3, 47, 99} {
			m := all[pick].Message
			e.publish(broker.Outbound{Queue: e.names.Replay, ID: fmt.Sprintf("rp:%s:%d", e.source, i), Key: m.Key, Body: m.Body, Headers: m.Headers, Envelope: m.Envelope})
		}
		if e.caps.DedupeWindow == 0 {
			break
		}
	}
	for _, pick := range []int{3, 47, 99} {
		if e.removeIfAble(e.names.DeadLetter, all[pick]) && e.caps.LettersMode != broker.DrainOnly {
			left--
		}
	}
	got := bodies(e.receive(sub, 3))
	for _, pick := range []int{3, 47, 99} {
		if body := string(all[pick].Message.Body); got[body] != 1 {
			e.Errorf("%q was replayed %d times, want once", body, got[body])
		}
	}
	e.none(sub, e.h.Lease/2)
	e.letters(e.names.DeadLetter, left)
}

// replayKilled plays a replay that reads, publishes and removes, by clients that
// die at each step, and then a second run over what is left.
func replayKilled(e *env) {
	const n = 5
	sub := e.open(e.b, unhurried)
	e.send(n)
	for _, d := range e.receive(sub, n) {
		e.deadLetter(d, e.names.DeadLetter, broker.DefaultGroup)
	}
	all := e.letters(e.names.DeadLetter, n)
	chosen := all[1:4]
	removed := 0
	again := func(b broker.Broker, l broker.Letter) error {
		m := l.Message
		return b.Publish(e.ctx, []broker.Outbound{{Queue: e.names.Replay, ID: "rp:" + e.source + ":" + string(m.Body), Key: m.Key, Body: m.Body, Headers: m.Headers, Envelope: m.Envelope}})[0]
	}
	for step, letter := range chosen {
		dying := e.h.Open(e)
		if step > 0 {
			if err := again(dying, letter); err != nil {
				e.Fatalf("replay %q: %v", letter.Message.Body, err)
			}
		}
		if step > 1 && e.removeIfAble(e.names.DeadLetter, letter) {
			removed++
		}
		e.kill(dying)
	}
	// What was removed is done; a broker whose letters were taken from it reads its
	// own record of them, which is all here.
	for step, letter := range chosen {
		if step == len(chosen)-1 && e.caps.LettersMode == broker.Observe {
			continue
		}
		if err := again(e.b, letter); err != nil {
			e.Fatalf("replay %q again: %v", letter.Message.Body, err)
		}
		if e.removeIfAble(e.names.DeadLetter, letter) {
			removed++
		}
	}
	got, _ := e.tryReceive(sub, n, e.h.Lease)
	came := bodies(got)
	for _, letter := range chosen {
		body := string(letter.Message.Body)
		if times := came[body]; times < 1 || times > 1 && e.caps.DedupeWindow > 0 {
			e.Errorf("%q was replayed %d times, want once", body, times)
		}
		delete(came, body)
	}
	if len(came) > 0 {
		e.Errorf("letters that nobody chose were replayed: %v", came)
	}
	if e.caps.LettersMode == broker.Observe {
		e.letters(e.names.DeadLetter, n-removed)
	}
}

// oneGroup reports whether queues have one consumer group alone. A broker that says
// so has to refuse any other.
func (e *env) oneGroup() bool {
	e.Helper()
	if !e.caps.OneGroup {
		return false
	}
	spec := broker.Spec{Source: e.source, Group: "billing", Lease: e.h.Lease}
	if err := e.b.Topology().Ensure(e.ctx, spec); !errors.Is(err, broker.ErrUnsupported) {
		e.Errorf("ensure for a second group, although Caps say that there is one: %v, want ErrUnsupported", err)
	}
	if sub, err := e.b.Open(e.ctx, spec); !errors.Is(err, broker.ErrUnsupported) {
		e.Errorf("open for a second group, although Caps say that there is one: %v, want ErrUnsupported", err)
		if err == nil {
			_ = sub.Close(e.ctx)
		}
	}
	e.Logf("a queue of this broker has one consumer group: a second one is refused")
	return true
}

// pair opens two groups before anything is published.
func (e *env) pair() (a, b broker.Subscription, other broker.Names) {
	e.Helper()
	e.ensure("billing")
	a = e.open(e.b, unhurried)
	b = e.open(e.b, unhurried, inGroup("billing"))
	return a, b, broker.NamesFor(e.source, "billing")
}

func groupsSeeAll(e *env) {
	if e.oneGroup() {
		return
	}
	a, b, _ := e.pair()
	e.send(3)
	gotA := e.receive(a, 3)
	for _, d := range gotA {
		e.settle(d, broker.Done{})
	}
	gotB := e.receive(b, 3)
	if x, y := bodies(gotA), bodies(gotB); len(x) != 3 || len(y) != 3 {
		e.Errorf("groups received %v and %v, want three messages each", x, y)
	}
	for _, d := range gotB {
		e.counted(d, 0)
		e.settle(d, broker.Done{})
	}
	e.none(a, e.h.Lease/2)
	e.none(b, e.h.Lease/2)
}

func groupsShareDLQ(e *env) {
	if e.oneGroup() {
		return
	}
	a, b, other := e.pair()
	e.send(2)
	for i, sub := range []broker.Subscription{a, b} {
		got := e.receive(sub, 2)
		group := []string{broker.DefaultGroup, "billing"}[i]
		e.deadLetter(got[0], e.names.DeadLetter, group)
		e.deadLetter(got[1], []string{e.names.DeadLetter, other.DeadLetter}[i], group)
	}
	e.letters(e.names.DeadLetter, 3)
	e.letters(other.DeadLetter, 1)
}

func groupsRetryAlone(e *env) {
	if e.oneGroup() {
		return
	}
	a, b, _ := e.pair()
	e.send(1)
	da, db := e.one(a), e.one(b)
	e.settle(db, broker.Done{})
	env := e.retryAt(da, da.Msg().Time, "a")
	da = e.one(a)
	e.sameEnvelope("retried", env, da.Msg())
	e.settle(da, broker.Done{})
	e.none(a, e.h.Lease/2)
	e.none(b, e.h.Lease/2)
}

func groupsReplayAlone(e *env) {
	if e.oneGroup() {
		return
	}
	a, b, other := e.pair()
	e.publish(broker.Outbound{Queue: other.Replay, ID: "rp:" + e.source + ":1", Body: []byte("replayed")})
	d := e.one(b)
	if string(d.Msg().Body) != "replayed" {
		e.Errorf("received %q", d.Msg().Body)
	}
	e.settle(d, broker.Done{})
	e.none(a, e.h.Lease/2)
	e.none(b, e.h.Lease/2)
}

package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

func letterCases() []Case {
	return []Case{
		{Name: "C10-looking-is-safe", Promise: "looking any number of times changes neither depth nor order nor a later delivery", run: lookingIsSafe},
		{Name: "letters-page", Promise: "a scan in pages sees every letter once, oldest first", run: lettersPage},
		{Name: "letters-of-an-empty-queue", Promise: "an empty queue has no letters and no depth", Proves: []string{"true-stats"}, run: lettersEmpty},
		{Name: "letters-get", Promise: "Get reads the letter that Scan showed, ErrGone once it is gone, or is ErrUnsupported", run: lettersGet},
		{Name: "C11-remove-one", Promise: "Remove takes exactly that letter, again is no error, or it is ErrUnsupported", run: removeOne},
		{Name: "letters-drain", Promise: "Drain removes what the sink has kept and nothing else", run: lettersDrain},
		{Name: "C13-stats", Promise: "Stats tell depth and age, and reading them has no effect", Proves: []string{"true-stats"}, run: statsAreTrue},
		{Name: "C13-stats-of-a-retry-queue", Promise: "a waiting retry is counted in its retry queue", Proves: []string{"true-stats"}, run: statsOfRetry},
		{Name: "topology-lists-and-repeats", Promise: "Ensure is idempotent, harms nothing, and Queues lists what it made, sorted", run: topologyRepeats},
	}
}

// dead makes n dead letters and returns their bodies in order.
func (e *env) dead(n int) []string {
	e.Helper()
	sub := e.open(e.b, unhurried)
	var order []string
	for i := range n {
		body := fmt.Sprint("letter ", i)
		e.publish(broker.Outbound{Queue: e.source, ID: e.pubID(body), Body: []byte(body)})
		e.deadLetter(e.one(sub), e.names.DeadLetter, broker.DefaultGroup)
		order = append(order, body)
	}
	// Else it keeps its share of the queue where consumers have shares.
	if err := sub.Close(e.ctx); err != nil {
		e.Fatalf("close: %v", err)
	}
	return order
}

func letterBodies(ls []broker.Letter) []string {
	var out []string
	for _, l := range ls {
		out = append(out, string(l.Message.Body))
	}
	return out
}

func lookingIsSafe(e *env) {
	if e.caps.LettersMode != broker.Observe {
		e.unsupportedLooks()
		return
	}
	want := e.dead(3)
	l := e.lettersOf(e.names.DeadLetter)
	for range 25 {
		if got := letterBodies(e.scan(l, 2)); !slices.Equal(got, want) {
			e.Fatalf("a look shows %q, want %q", got, want)
		}
	}
	e.depth(e.names.DeadLetter, 3)
	e.lookAtSource()
}

// lookAtSource shows that a look at a queue that is consumed does not count as a
// delivery, where the adapter lets one look at all.
func (e *env) lookAtSource() {
	e.Helper()
	sub := e.open(e.b, unhurried)
	want := e.send(3)
	l, err := e.b.Letters(e.ctx, e.source)
	for i := 0; err == nil && i < 5; i++ {
		_, _, err = l.Scan(e.ctx, "", 2)
	}
	if err != nil && !errors.Is(err, broker.ErrUnsupported) {
		e.Errorf("look at %s: %v, want letters or ErrUnsupported", e.source, err)
	}
	got := e.receive(sub, len(want))
	for _, d := range got {
		e.counted(d, 0)
	}
	for _, body := range want {
		if bodies(got)[body] != 1 {
			e.Errorf("%q came %d times after looks, want once", body, bodies(got)[body])
		}
	}
}

// unsupportedLooks holds a broker that cannot look without harm to saying so.
func (e *env) unsupportedLooks() {
	e.Helper()
	l := e.lettersOf(e.names.DeadLetter)
	if e.caps.LettersMode == broker.DrainOnly {
		if _, _, err := l.Scan(e.ctx, "", 1); !errors.Is(err, broker.ErrUnsupported) {
			e.Errorf("scan in mode %v: %v, want ErrUnsupported", l.Mode(), err)
		}
	}
}

func (e *env) depth(queue string, want int64) {
	e.Helper()
	e.until(func() string {
		st, err := e.b.Stats(e.ctx, queue)
		if err != nil {
			e.Fatalf("stats of %s: %v", queue, err)
		}
		if st.Depth() != want && st.Exact {
			return fmt.Sprintf("depth of %s is %d, want %d", queue, st.Depth(), want)
		}
		return ""
	})
}

func lettersPage(e *env) {
	want := e.dead(5)
	if e.caps.LettersMode == broker.DrainOnly {
		if got := letterBodies(e.letters(e.names.DeadLetter, 5)); !e.sameLetters(got, want) {
			e.Errorf("drained %q, want %q", got, want)
		}
		return
	}
	for _, page := range []int{1, 2, 5, 100} {
		if got := letterBodies(e.scan(e.lettersOf(e.names.DeadLetter), page)); !slices.Equal(got, want) {
			e.Errorf("pages of %d show %q, want %q", page, got, want)
		}
	}
	l := e.lettersOf(e.names.DeadLetter)
	_, cursor, err := l.Scan(e.ctx, "", 5)
	if err != nil {
		e.Fatalf("scan: %v", err)
	}
	if got, _, err := l.Scan(e.ctx, cursor, 5); err != nil || len(got) > 0 {
		e.Errorf("scan from the end: %d letters, %v", len(got), err)
	}
}

// sameLetters compares bodies, in order where letters are scanned. Drain promises none.
func (e *env) sameLetters(got, want []string) bool {
	if e.caps.LettersMode == broker.DrainOnly {
		got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	}
	return slices.Equal(got, want)
}

func lettersEmpty(e *env) {
	e.letters(e.names.DeadLetter, 0)
	e.depth(e.names.DeadLetter, 0)
	st, err := e.b.Stats(e.ctx, e.names.DeadLetter)
	if err != nil || !st.Oldest.IsZero() {
		e.Errorf("oldest of an empty queue: %v, %v", st.Oldest, err)
	}
}

func lettersGet(e *env) {
	e.dead(2)
	l := e.lettersOf(e.names.DeadLetter)
	if e.caps.LettersMode == broker.DrainOnly {
		if _, err := l.Get(e.ctx, "1"); !errors.Is(err, broker.ErrUnsupported) {
			e.Errorf("get in mode %v: %v, want ErrUnsupported", l.Mode(), err)
		}
		return
	}
	for _, want := range e.letters(e.names.DeadLetter, 2) {
		got, err := l.Get(e.ctx, want.Position)
		if errors.Is(err, broker.ErrUnsupported) {
			return
		}
		if err != nil {
			e.Fatalf("get %s: %v", want.Position, err)
		}
		if string(got.Message.Body) != string(want.Message.Body) || got.Position != want.Position || got.Identity != want.Identity || !got.StoredAt.Equal(want.StoredAt) {
			e.Errorf("get %s: %+v, want %+v", want.Position, got, want)
		}
		if !e.removeIfAble(e.names.DeadLetter, want) {
			continue
		}
		if _, err := l.Get(e.ctx, want.Position); !errors.Is(err, broker.ErrGone) {
			e.Errorf("get of a removed letter: %v, want ErrGone", err)
		}
	}
}

func removeOne(e *env) {
	want := e.dead(3)
	l := e.lettersOf(e.names.DeadLetter)
	if e.caps.LettersMode == broker.DrainOnly {
		if err := l.Remove(e.ctx, "1"); !errors.Is(err, broker.ErrUnsupported) {
			e.Errorf("remove in mode %v: %v, want ErrUnsupported", l.Mode(), err)
		}
		return
	}
	middle := e.letters(e.names.DeadLetter, 3)[1]
	if e.removeIfAble(e.names.DeadLetter, middle) {
		want = slices.Delete(want, 1, 2)
		if err := l.Remove(e.ctx, middle.Position); err != nil {
			e.Errorf("second removal: %v, want none", err)
		}
	}
	if got := letterBodies(e.letters(e.names.DeadLetter, len(want))); !slices.Equal(got, want) {
		e.Errorf("after the removal %q, want %q", got, want)
	}
}

func lettersDrain(e *env) {
	want := e.dead(5)
	l := e.lettersOf(e.names.DeadLetter)
	full := errors.New("sink is full")
	var kept []string
	err := l.Drain(e.ctx, 2, func(_ context.Context, got []broker.Letter) error {
		if len(got) == 0 || len(got) > 2 {
			e.Errorf("batch of %d letters, want 1 or 2", len(got))
		}
		if len(kept) > 0 {
			return full
		}
		kept = append(kept, letterBodies(got)...)
		return nil
	})
	if errors.Is(err, broker.ErrUnsupported) && e.caps.LettersMode == broker.Observe {
		e.letters(e.names.DeadLetter, 5)
		return
	}
	if !errors.Is(err, full) {
		e.Fatalf("drain into a sink that fails: %v, want its error", err)
	}
	rest := len(want) - len(kept)
	var got []string
	e.until(func() string {
		err := l.Drain(e.ctx, 100, func(_ context.Context, ls []broker.Letter) error {
			got = append(got, letterBodies(ls)...)
			return nil
		})
		if err != nil {
			e.Fatalf("drain: %v", err)
		}
		if len(got) < rest {
			return fmt.Sprintf("drained %d letters, want %d", len(got), rest)
		}
		return ""
	})
	all := append(kept, got...)
	slices.Sort(all)
	if !slices.Equal(all, want) {
		e.Errorf("drained %q, want each of %q once", all, want)
	}
	e.depth(e.names.DeadLetter, 0)
}

func statsAreTrue(e *env) {
	sub := e.open(e.b, unhurried)
	before := time.Now().Add(-time.Second)
	e.send(4)
	e.depth(e.source, 4)
	d := e.one(sub)
	for range 10 {
		e.depth(e.source, 4)
	}
	st, err := e.b.Stats(e.ctx, e.source)
	if err != nil {
		e.Fatalf("stats: %v", err)
	}
	if !st.Oldest.IsZero() && (st.Oldest.Before(before) || st.Oldest.After(time.Now().Add(time.Second))) {
		e.Errorf("oldest stored at %v, published after %v", st.Oldest, before)
	}
	if st.AsOf.Before(before) || st.AsOf.After(time.Now().Add(time.Second)) {
		e.Errorf("stats as of %v, read at %v", st.AsOf, time.Now())
	}
	e.settle(d, broker.Done{})
	e.depth(e.source, 3)
	for range 3 {
		d := e.one(sub)
		e.counted(d, 0)
		e.settle(d, broker.Done{})
	}
	e.depth(e.source, 0)
}

func statsOfRetry(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(1)
	at := time.Now().Add(3 * e.h.Lease)
	e.retryAt(e.one(sub), at, "")
	e.depth(e.names.Retry, 1)
	if !time.Now().Before(at) {
		e.Errorf("the waiting retry was counted only when it was due")
	}
	e.depth(e.source, 0)
	e.settle(e.one(sub), broker.Done{})
	e.notEarly(at)
	e.depth(e.names.Retry, 0)
}

func topologyRepeats(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(2)
	for range 3 {
		e.ensure("")
	}
	e.receive(sub, 2)
	queues, err := e.b.Topology().Queues(e.ctx)
	if err != nil {
		e.Fatalf("queues: %v", err)
	}
	kinds := map[string]broker.QueueKind{}
	var names []string
	for _, q := range queues {
		kinds[q.Name] = q.Kind
		names = append(names, q.Name)
		if q.Name == e.source && !slices.Contains(q.Groups, broker.DefaultGroup) {
			e.Errorf("groups of %s are %q, want %s among them", q.Name, q.Groups, broker.DefaultGroup)
		}
	}
	if !slices.IsSorted(names) {
		e.Errorf("queues are not sorted: %q", names)
	}
	for name, want := range map[string]broker.QueueKind{e.source: broker.KindSource, e.names.Retry: broker.KindRetry, e.names.DeadLetter: broker.KindDeadLetter} {
		if kinds[name] != want {
			e.Errorf("queue %s is of kind %q, want %q", name, kinds[name], want)
		}
	}
}

package simulation

import (
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
)

// doctored are books of a world in which nothing has happened yet.
func doctored(t *testing.T) *world {
	t.Helper()
	p := &plan{groups: 1, seats: 1, concurrency: 2, lease: time.Second, messages: []message{{id: 0}}}
	w, err := newWorld(t.Context(), 1, p, &Options{}, &arena{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (b *books) broke(law string) bool {
	for _, v := range b.violations {
		if v.Law == law {
			return true
		}
	}
	return false
}

func TestARetryBeforeItsTimeBreaksALaw(t *testing.T) {
	w := doctored(t)
	raw, _, err := envelope.Encode(envelope.Envelope{
		Key: "k", Source: source, Group: broker.DefaultGroup, Incarnation: "x", PublishID: "re:1",
		BodyDigest: envelope.Digest([]byte("m0|")), FirstFailure: w.now(), LastFailure: w.now(),
	}, envelope.DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	m := &broker.Message{Body: []byte("m0|"), Envelope: raw}
	w.books.announced("re:1", int64(2*time.Second))
	w.sched.now = int64(2 * time.Second)
	w.books.early(0, w.names[0].Retry, m)
	if w.books.broke("never early") {
		t.Error("a retry in time is called early")
	}
	w.sched.now = int64(time.Second)
	w.books.early(0, w.names[0].Retry, m)
	if !w.books.broke("never early") {
		t.Errorf("a retry a second before its time is not noticed: %v", w.books.violations)
	}
}

func TestTooManyCallsInAnOutageBreakALaw(t *testing.T) {
	w := doctored(t)
	p, away := &process{seat: &seat{}}, &outage{window: window{0, 10 * time.Second}}
	for range w.plan.callsWithin(10 * time.Second) {
		w.books.called(p, 0, away)
	}
	if w.books.broke("an outage bounds calls") {
		t.Error("as many as may be are too many")
	}
	w.books.called(p, 0, away)
	if !w.books.broke("an outage bounds calls") {
		t.Error("one more is not noticed")
	}
}

func TestLossesAreSplit(t *testing.T) {
	for _, c := range []struct {
		lost string
		want [3]int
	}{
		{"", [3]int{}},
		{"....", [3]int{}},
		{"xxxx", [3]int{4, 0, 0}},
		{"x..x.xx", [3]int{1, 1, 2}},
		{".x", [3]int{0, 0, 1}},
	} {
		var lost []bool
		for _, r := range c.lost {
			lost = append(lost, r == 'x')
		}
		prefix, middle, postfix := split(lost)
		if got := [3]int{prefix, middle, postfix}; got != c.want {
			t.Errorf("%q: %v, want %v", c.lost, got, c.want)
		}
	}
}

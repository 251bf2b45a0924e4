package broker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
)

func TestIncarnationStringIsInjective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.OneOf(rapid.StringMatching(`[/%2F5a]{0,5}`), rapid.String())
		draw := func(name string) broker.Incarnation {
			return broker.Incarnation{Cluster: part.Draw(t, name), Queue: part.Draw(t, name), Position: part.Draw(t, name)}
		}
		a, b := draw("a"), draw("b")
		if (a.String() == b.String()) != (a == b) {
			t.Fatalf("%#v and %#v print %q and %q", a, b, a, b)
		}
	})
}

// TestShortIncarnationsPrintDifferently tries every short incarnation over the
// bytes that matter.
func TestShortIncarnationsPrintDifferently(t *testing.T) {
	short, long := []string{""}, []string{""}
	for from, n := 0, 1; n <= 3; n++ {
		for end := len(long); from < end; from++ {
			for _, c := range []string{"/", "%", "2", "F", "5"} {
				long = append(long, long[from]+c)
			}
		}
		if n == 1 {
			short = slices.Clone(long)
		}
	}
	seen := map[string]broker.Incarnation{}
	try := func(i broker.Incarnation) {
		if other, ok := seen[i.String()]; ok && other != i {
			t.Fatalf("%#v and %#v both print %q", i, other, i)
		}
		seen[i.String()] = i
	}
	for _, a := range short {
		for _, b := range short {
			for _, c := range long {
				try(broker.Incarnation{Cluster: c, Queue: a, Position: b})
				try(broker.Incarnation{Cluster: a, Queue: c, Position: b})
				try(broker.Incarnation{Cluster: a, Queue: b, Position: c})
			}
		}
	}
	if len(seen) < 6*6*156 {
		t.Errorf("%d incarnations compared, want at least %d", len(seen), 6*6*156)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	make1 := func() broker.Message {
		return broker.Message{
			ID: "1", Key: []byte("key"), Body: []byte("body"), Envelope: []byte("envelope"), Time: time.Unix(1, 0),
			Headers: []broker.Header{{Name: "h", Value: []byte("v")}}, Control: []broker.Header{{Name: "c", Value: []byte("v")}},
		}
	}
	m := make1()
	c := m.Clone()
	if diff := cmp.Diff(m, c); diff != "" {
		t.Errorf("the clone differs (-want +got):\n%s", diff)
	}
	for _, b := range [][]byte{c.Key, c.Body, c.Envelope, c.Headers[0].Value, c.Control[0].Value} {
		b[0] = 'X'
	}
	c.Headers[0].Name, c.Control[0].Name = "X", "X"
	if diff := cmp.Diff(make1(), m); diff != "" {
		t.Errorf("a change of the clone shows in the original (-want +got):\n%s", diff)
	}
	empty := broker.Message{Body: []byte{}, Headers: []broker.Header{}}
	if diff := cmp.Diff(empty, empty.Clone()); diff != "" {
		t.Errorf("nil and empty are mixed up (-want +got):\n%s", diff)
	}
}

func TestHeaderIsTheFirstOfItsName(t *testing.T) {
	m := broker.Message{Headers: []broker.Header{{Name: "A", Value: []byte("0")}, {Name: "a", Value: []byte("1")}, {Name: "a", Value: []byte("2")}}}
	if v, ok := m.Header("a"); !ok || string(v) != "1" {
		t.Errorf("Header(a) = %q, %v", v, ok)
	}
	if v, ok := m.Header("b"); ok {
		t.Errorf("Header(b) = %q", v)
	}
}

func TestMarkSurvivesJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := broker.Mark{Explained: rapid.IntRange(0, 9).Draw(t, "explained"), StartedAlone: rapid.IntRange(0, 9).Draw(t, "alone")}
		if rapid.Bool().Draw(t, "pending") {
			m.Pending = &broker.Pending{
				Retry: rapid.Bool().Draw(t, "retry"), Queue: rapid.String().Draw(t, "queue"), PublishID: rapid.String().Draw(t, "id"),
				Envelope: rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "envelope"), Counted: rapid.Bool().Draw(t, "counted"),
				At: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "at"), 0).UTC(),
			}
		}
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var got broker.Mark
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", raw, diff)
		}
		if m.IsZero() != (string(raw) == "{}") {
			t.Fatalf("IsZero is %v of %s", m.IsZero(), raw)
		}
	})
}

func TestSpecDefaults(t *testing.T) {
	want := broker.Spec{Source: "q", Group: broker.DefaultGroup, Lease: 30 * time.Second, MaxInFlight: 256}
	if diff := cmp.Diff(want, broker.Spec{Source: "q", Lease: -1}.WithDefaults()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	set := broker.Spec{Source: "q", Group: "g", Lease: time.Second, MaxInFlight: 1, Worker: "w"}
	if diff := cmp.Diff(set, set.WithDefaults()); diff != "" {
		t.Errorf("defaults replace what is set (-want +got):\n%s", diff)
	}
}

func TestTexts(t *testing.T) {
	for got, want := range map[string]string{
		broker.Observe.String(): "observe", broker.PeekCounts.String(): "peek-counts", broker.DrainOnly.String(): "drain-only", broker.Mode(9).String(): "unknown",
		(&broker.TooLargeError{Size: 3, Limit: 2}).Error(): "message of 3 bytes is larger than the broker's limit of 2",
		broker.Incarnation{}.String():                      "",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := (broker.Stats{Ready: 1, InFlight: 2, Delayed: 4}).Depth(); got != 7 {
		t.Errorf("depth %d, want 7", got)
	}
	if !(broker.Incarnation{}).IsZero() || (broker.Incarnation{Position: "1"}).IsZero() {
		t.Error("IsZero of an incarnation is wrong")
	}
}

// The errors that callers decide on survive wrapping, and none is another.
func TestErrorsAreTold(t *testing.T) {
	all := []error{broker.ErrUnknown, broker.ErrLeaseLost, broker.ErrUnroutable, broker.ErrFull, broker.ErrGone, broker.ErrUnsupported, broker.ErrClosed, broker.ErrSettled}
	for i, a := range all {
		for k, b := range all {
			if got := errors.Is(fmt.Errorf("settle: %w", a), b); got != (i == k) {
				t.Errorf("%v is %v: %v", a, b, got)
			}
		}
	}
}

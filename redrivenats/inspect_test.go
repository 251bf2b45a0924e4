package redrivenats_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/redrivenats"
)

// everything is what a server knows of its streams and consumers.
func (b *testbench) everything() string {
	b.t.Helper()
	var out []string
	for info := range b.js.ListStreams(b.t.Context()).Info() {
		info.TimeStamp = time.Time{}
		s, err := b.js.Stream(b.t.Context(), info.Config.Name)
		if err != nil {
			b.t.Fatal(err)
		}
		for c := range s.ListConsumers(b.t.Context()).Info() {
			c.TimeStamp = time.Time{}
			out = append(out, b.json(c))
		}
		out = append(out, b.json(info))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func (b *testbench) json(v any) string {
	b.t.Helper()
	line, err := json.Marshal(v)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(line)
}

func TestInspectChangesNothing(t *testing.T) {
	b := newBench(t, natstest.Options{})
	spec := broker.Spec{Source: "orders"}
	found, err := b.b.Inspect(t.Context(), spec)
	if err != nil || len(found.Missing) != 6 || len(found.Problems) != 0 {
		t.Fatalf("before anything is there: %+v, %v", found, err)
	}
	if got := b.everything(); got != "" {
		t.Fatalf("looking made something: %s", got)
	}
	if _, err := b.b.Clock(t.Context(), time.Now); !errors.Is(err, redrivenats.ErrNoStream) {
		t.Fatalf("a clock without a stream: %v", err)
	}
	s := b.subscribe(spec)
	b.publish("orders", "one")
	d := receive(t, s, 1)
	before := b.everything()
	found, err = b.b.Inspect(t.Context(), spec)
	if err != nil || len(found.Missing) != 0 || len(found.Problems) != 0 {
		t.Fatalf("when everything is there: %+v, %v", found, err)
	}
	storage, err := b.b.Storage(t.Context())
	if err != nil || storage.Used <= 0 {
		t.Fatalf("storage: %+v, %v", storage, err)
	}
	if after := b.everything(); after != before {
		t.Fatalf("looking changed something:\n%s\n%s", before, after)
	}
	if _, err := d[0].Settle(t.Context(), broker.Done{}); err != nil {
		t.Fatal(err)
	}
}

func TestInspectNamesWhatOpenRefuses(t *testing.T) {
	b := newBench(t, natstest.Options{})
	b.stream(jetstream.StreamConfig{Name: "redrive_dlq", Subjects: []string{"redrive.dlq.>"}, MaxAge: time.Hour, Retention: jetstream.WorkQueuePolicy})
	s := b.stream(jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}, MaxAge: time.Hour})
	if _, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3}); err != nil {
		t.Fatal(err)
	}
	spec := broker.Spec{Source: "EVENTS", Group: "billing"}
	found, err := b.b.Inspect(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	all := errors.Join(found.Problems...).Error()
	for _, want := range []string{"retention is not limits", "max_age drops letters", "max_deliver strands"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not among the problems:\n%s", want, all)
		}
	}
	if len(found.Notes) == 0 || !strings.Contains(found.Notes[0], "drops messages after") {
		t.Errorf("notes: %q", found.Notes)
	}
	if _, err := b.b.Open(t.Context(), spec); err == nil {
		t.Error("Open accepts what Inspect refuses")
	}
	if found, err = b.b.Inspect(t.Context(), broker.Spec{Source: "orders.dlq"}); err != nil || len(found.Problems) != 1 {
		t.Errorf("a dead-letter queue as a source: %+v, %v", found, err)
	}
}

// A clock that is two minutes behind is seen as one.
func TestClockSeesTheDifference(t *testing.T) {
	b := newBench(t, natstest.Options{})
	b.stream(jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}})
	for _, behind := range []time.Duration{0, 2 * time.Minute} {
		c, err := b.b.Clock(t.Context(), func() time.Time { return time.Now().Add(-behind) })
		if err != nil {
			t.Fatal(err)
		}
		if off := (c.Offset - behind).Abs(); off > c.Uncertainty+time.Millisecond {
			t.Errorf("%v behind: the server is said to be %v ± %v ahead", behind, c.Offset, c.Uncertainty)
		}
	}
}

// TestInspectNamesWhatAConsumerHasPassed: a consumer that was reset to a later
// message does not deliver the earlier ones, though nobody has handled them. It
// looks like a consumer whose server forgot to remove what was acknowledged, so
// redrive says which they are and leaves them.
func TestInspectNamesWhatAConsumerHasPassed(t *testing.T) {
	b := newBench(t, natstest.Options{})
	spec := broker.Spec{Source: "orders"}
	s := b.subscribe(spec)
	b.publish("orders", "handled")
	if _, err := receive(t, s, 1)[0].Settle(t.Context(), broker.Done{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.publish("orders", "passed", "passed too", "to come")
	notes := b.notes(spec)
	for _, note := range notes {
		if strings.Contains(note, "has passed") {
			t.Fatalf("nothing is passed yet: %s", note)
		}
	}
	stream, consumer := b.sourceConsumer("orders")
	reply, err := b.raw.Request("$JS.API.CONSUMER.RESET."+stream+"."+consumer, []byte(`{"seq":4}`), 10*time.Second)
	if err != nil || strings.Contains(string(reply.Data), `"error"`) {
		t.Fatalf("reset: %v, %s", err, reply.Data)
	}
	before := b.everything()
	notes = slices.DeleteFunc(b.notes(spec), func(note string) bool { return slices.Contains(notes, note) })
	if len(notes) != 1 || !strings.Contains(notes[0], consumer) || !strings.Contains(notes[0], stream) || !strings.Contains(notes[0], "2, with the sequences 2, 3;") {
		t.Errorf("notes %q, want the sequences 2 and 3 of stream %s", notes, stream)
	}
	if after := b.everything(); after != before {
		t.Errorf("looking changed something:\n%s\n%s", before, after)
	}
	if d := receive(t, b.subscribe(spec), 1); string(d[0].Msg().Body) != "to come" {
		t.Errorf("%q came, want the message that the consumer was reset to", d[0].Msg().Body)
	}
	info, err := b.js.Stream(t.Context(), stream)
	if err != nil || info.CachedInfo().State.Msgs != 3 {
		t.Errorf("the stream does not hold its three messages any more: %+v, %v", info, err)
	}
}

func (b *testbench) notes(spec broker.Spec) []string {
	b.t.Helper()
	found, err := b.b.Inspect(b.t.Context(), spec)
	if err != nil || len(found.Problems) > 0 {
		b.t.Fatalf("inspect: %+v, %v", found, err)
	}
	return found.Notes
}

// sourceConsumer finds the stream of a source and its one consumer.
func (b *testbench) sourceConsumer(source string) (stream, consumer string) {
	b.t.Helper()
	name, err := b.js.StreamNameBySubject(b.t.Context(), source)
	if err != nil {
		b.t.Fatal(err)
	}
	s, err := b.js.Stream(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for name := range s.ConsumerNames(b.t.Context()).Name() {
		names = append(names, name)
	}
	if len(names) != 1 {
		b.t.Fatalf("stream %s has the consumers %q, want one", name, names)
	}
	return name, names[0]
}

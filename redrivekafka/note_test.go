package redrivekafka

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
)

func drawRuns(t *rapid.T, position int64) []run {
	var runs []run
	at := position
	for range rapid.IntRange(0, 30).Draw(t, "runs") {
		from := at + rapid.Int64Range(1, 60).Draw(t, "gap")
		at = from + rapid.Int64Range(1, 60).Draw(t, "length")
		runs = append(runs, run{from, at})
	}
	return runs
}

func TestNoteComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		position := rapid.Int64Range(0, 1<<50).Draw(t, "position")
		n := note{clean: rapid.Bool().Draw(t, "clean"), finished: drawRuns(t, position)}
		for range rapid.IntRange(0, 5).Draw(t, "members") {
			n.reached = append(n.reached, position+rapid.Int64Range(1, maxSpread).Draw(t, "reached"))
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "rows") {
			r := row{
				offset: position + int64(i)*7, deliveries: rapid.IntRange(0, 9).Draw(t, "deliveries"), reached: rapid.IntRange(0, 3).Draw(t, "counted"),
				mark:     broker.Mark{Explained: rapid.IntRange(0, 3).Draw(t, "explained"), StartedAlone: rapid.IntRange(0, 3).Draw(t, "alone")},
				envelope: rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "envelope"),
			}
			if rapid.Bool().Draw(t, "later") {
				r.until = time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(t, "until"))
			}
			if rapid.Bool().Draw(t, "pending") {
				r.mark.Pending = &broker.Pending{Queue: "orders.dlq", PublishID: "dl:1", Envelope: []byte("{}")}
			}
			n.rows = append(n.rows, r)
		}
		metadata, fits := encodeNote(position, n)
		if !fits || len(metadata) > maxNote {
			t.Fatalf("a note of %d bytes, fits %v", len(metadata), fits)
		}
		got, err := decodeNote(position, metadata)
		if err != nil {
			t.Fatal(err)
		}
		if len(n.reached) == 0 && len(n.finished) == 0 && len(n.rows) == 0 {
			n.clean = false // Nothing to say.
		}
		if diff := cmp.Diff(n, got, cmp.AllowUnexported(note{}, run{}, row{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

// What is finished is never left out, however much there is of everything else.
func TestNoteAlwaysHoldsWhatIsFinished(t *testing.T) {
	n := note{}
	for i := range int64(maxSpread / 2) {
		n.finished = append(n.finished, run{100 + 2*i + 1, 100 + 2*i + 2})
	}
	for i := range int64(300) {
		n.rows = append(n.rows, row{offset: 100 + 2*i, deliveries: 3, mark: broker.Mark{
			StartedAlone: 1, Pending: &broker.Pending{Envelope: bytes.Repeat([]byte("e"), 8<<10)},
		}, envelope: bytes.Repeat([]byte("x"), 8<<10)})
	}
	metadata, fits := encodeNote(100, n)
	if fits || len(metadata) > maxNote {
		t.Fatalf("a note of %d bytes, fits %v, want at most %d and that something was left out", len(metadata), fits, maxNote)
	}
	got, err := decodeNote(100, metadata)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(n.finished, got.finished, cmp.AllowUnexported(run{})); diff != "" {
		t.Error(diff)
	}
	if len(got.rows) == 0 || got.rows[0].mark.StartedAlone != 1 || got.rows[0].mark.Pending != nil {
		t.Errorf("rows %+v, want some marks without pending moves", got.rows)
	}
}

func FuzzDecodeNote(f *testing.F) {
	whole, _ := encodeNote(7, note{reached: []int64{9}, finished: []run{{8, 9}}, rows: []row{{offset: 7, deliveries: 1, mark: broker.Mark{Explained: 1}}}})
	for _, s := range []string{"", noteHead, whole, whole[:len(whole)-2], "consumer-1", noteHead + strings.Repeat("_", 500)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, metadata string) {
		n, err := decodeNote(7, metadata)
		if err != nil {
			return
		}
		at := int64(7)
		for _, r := range n.finished {
			if r.from < at || r.to < r.from {
				t.Fatalf("runs %v are not in order", n.finished)
			}
			at = r.to
		}
	})
}

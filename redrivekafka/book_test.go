package redrivekafka

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestBookAgreesWithASet shows that nothing is committed that is not finished, and that
// offset and note together tell exactly what is.
func TestBookAgreesWithASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 1000).Draw(t, "start")
		b := newBook(start, nil)
		next := start
		finished := map[int64]bool{}
		numbers := map[int64]uint64{}
		var seen []int64
		t.Repeat(map[string]func(*rapid.T){
			"see": func(t *rapid.T) {
				next += rapid.Int64Range(0, 3).Draw(t, "gap")
				number, fresh := b.add(next)
				if !fresh {
					t.Fatalf("offset %d is new and was called seen", next)
				}
				numbers[next] = number
				seen = append(seen, next)
				next++
			},
			"finish": func(t *rapid.T) {
				if len(seen) == 0 {
					t.Skip("nothing was seen")
				}
				o := rapid.SampledFrom(seen).Draw(t, "offset")
				if first := b.finish(numbers[o]); first == finished[o] {
					t.Fatalf("finish of %d, finished before: %v, says %v", o, finished[o], first)
				}
				finished[o] = true
			},
			"see again": func(t *rapid.T) {
				if len(seen) == 0 {
					t.Skip("nothing was seen")
				}
				if _, fresh := b.add(rapid.SampledFrom(seen).Draw(t, "offset")); fresh {
					t.Fatal("an offset was new twice")
				}
			},
			"another member": func(t *rapid.T) {
				position, n := b.position(), note{finished: b.finished()}
				metadata, fits := encodeNote(position, n)
				read, err := decodeNote(position, metadata)
				if err != nil || !fits {
					t.Fatalf("note %q: fits %v, %v", metadata, fits, err)
				}
				b = newBook(position, read.finished)
				clear(numbers)
				for _, o := range seen {
					if o < position {
						continue
					}
					number, fresh := b.add(o)
					if fresh == finished[o] {
						t.Fatalf("after the move offset %d, finished %v, is fresh %v", o, finished[o], fresh)
					}
					numbers[o] = number
				}
				seen = seen[:0:0]
				for o := range numbers {
					if !finished[o] {
						seen = append(seen, o)
					}
				}
				slices.Sort(seen)
			},
			"": func(t *rapid.T) {
				for _, o := range seen {
					told := o < b.position()
					for _, r := range b.finished() {
						told = told || r.from <= o && o < r.to
					}
					if told != finished[o] {
						t.Fatalf("offset %d: told to be finished: %v, is: %v (position %d, runs %v)", o, told, finished[o], b.position(), b.finished())
					}
				}
			},
		})
	})
}

func TestBookKeepsWhatAnEarlierMemberFinished(t *testing.T) {
	b := newBook(10, []run{{12, 14}, {15, 16}})
	for _, o := range []int64{10, 11, 12} {
		if _, fresh := b.add(o); fresh != (o < 12) {
			t.Errorf("offset %d is fresh: %v", o, fresh)
		}
	}
	if diff := cmp.Diff([]run{{12, 13}, {13, 14}, {15, 16}}, b.finished(), cmp.AllowUnexported(run{})); diff != "" {
		t.Error(diff)
	}
	b.finish(0)
	b.finish(1)
	if b.position() != 13 {
		t.Errorf("position %d, want 13", b.position())
	}
}

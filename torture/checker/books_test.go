package checker_test

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/torture/checker"
)

// What is cut off from the books is what was not known yet: a publication without
// an end is unknown, and one without a line was not sent.
func TestBooksSurviveAnyCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var raw bytes.Buffer
		b := checker.NewBooks(&raw)
		want := map[checker.ID]checker.Publication{}
		var states []map[checker.ID]checker.Publication // after each line
		keep := func() {
			states = append(states, maps.Clone(want))
		}
		keep()
		for range rapid.IntRange(0, 8).Draw(t, "publications") {
			id := drawID(t)
			if _, ok := want[id]; ok {
				continue
			}
			p := checker.Publication{Digest: checker.Sum([]byte(id.String()), nil)}
			b.Attempt(id, p.Digest)
			want[id] = p
			keep()
			if p.State = checker.State(rapid.IntRange(0, 2).Draw(t, "state")); rapid.Bool().Draw(t, "ended") {
				b.End(id, p.State)
				if p.State == checker.Unknown {
					p.Repeats++
				}
				want[id] = p
				keep()
			}
		}
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
		cut := raw.Bytes()[:rapid.IntRange(0, raw.Len()).Draw(t, "cut")]
		got, err := checker.ReadBooks(bytes.NewReader(cut))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(states[bytes.Count(cut, []byte("\n"))], got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func TestBooksThatCannotBe(t *testing.T) {
	digest := strings.Repeat("ab", 16)
	for _, text := range []string{
		"a 1-1\n", "a 1-1 zz\n", "a 1-1 abab\n", "a x " + digest + "\n", "o 1-1 \n", "x 1-1 \n", "\n", "ab 1-1 " + digest + "\n",
		"a 1-1 " + digest + "\na 1-1 " + digest + "\n",
	} {
		if got, err := checker.ReadBooks(strings.NewReader(text)); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestBooksTellThatTheyCouldNotBeWritten(t *testing.T) {
	b := checker.NewBooks(full{})
	b.Attempt(checker.ID{}, checker.Digest{})
	if err := b.Flush(); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}

func FuzzReadBooks(f *testing.F) {
	f.Add("a 1-1 " + strings.Repeat("ab", 16) + "\no 1-1 \n")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = checker.ReadBooks(strings.NewReader(text))
	})
}

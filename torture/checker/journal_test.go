package checker_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/torture/checker"
)

func drawID(t *rapid.T) checker.ID {
	return checker.ID{Producer: rapid.Uint16().Draw(t, "producer"), Counter: rapid.Uint32().Draw(t, "counter")}
}

func drawRecords(t *rapid.T) []checker.Record {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) checker.Record {
		return checker.Record{
			ID:    drawID(t),
			Kind:  checker.Kind(rapid.IntRange(int(checker.Started), int(checker.Alone)).Draw(t, "kind")),
			Flags: checker.Flags(rapid.IntRange(0, 7).Draw(t, "flags")), Attempt: rapid.Uint8().Draw(t, "attempt"),
			Key: rapid.Uint32().Draw(t, "key"),
		}
	}), 1, 20).Draw(t, "records")
}

func encode(records []checker.Record) []byte {
	var raw []byte
	for _, r := range records {
		raw = r.Append(raw)
	}
	return raw
}

// A journal that a kill cut off anywhere is the records that were whole.
func TestJournalSurvivesAnyCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := drawRecords(t)
		raw := encode(records)
		if len(raw) != len(records)*checker.RecordSize {
			t.Fatalf("%d records take %d bytes", len(records), len(raw))
		}
		cut := rapid.IntRange(0, len(raw)).Draw(t, "cut")
		got, err := checker.ReadJournal(bytes.NewReader(raw[:cut]))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(records[:cut/checker.RecordSize], got); diff != "" {
			t.Fatalf("cut at %d (-want +got):\n%s", cut, diff)
		}
	})
}

// A damaged record is never read as another one: at the end it is passed over,
// anywhere else it is an error.
func TestJournalNoticesEveryFlippedBit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := drawRecords(t)
		raw := encode(records)
		bit := rapid.IntRange(0, 8*len(raw)-1).Draw(t, "bit")
		raw[bit/8] ^= 1 << (bit % 8)
		got, err := checker.ReadJournal(bytes.NewReader(raw))
		last := len(records) - 1
		if bit/8/checker.RecordSize < last {
			if err == nil {
				t.Fatalf("record %d is damaged, and was read as %+v", bit/8/checker.RecordSize, got)
			}
			return
		}
		if err != nil || !slices.Equal(got, records[:last]) {
			t.Fatalf("damaged at the end: read %+v, %v", got, err)
		}
	})
}

func TestIDsReadAsTheyPrint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := drawID(t)
		got, err := checker.ParseID(id.String())
		if err != nil || got != id {
			t.Fatalf("%q read as %v, %v", id, got, err)
		}
	})
	for _, s := range []string{"", "-", "1", "1-", "-1", "01-1", "1-+1", "1-1-1", "65536-0", "0-4294967296", " 1-1"} {
		if id, err := checker.ParseID(s); err == nil {
			t.Errorf("%q was read as %v", s, id)
		}
	}
}

func TestSumTellsMessagesApart(t *testing.T) {
	pair := func(name, value string) checker.Pair { return checker.Pair{Name: name, Value: []byte(value)} }
	seen := map[checker.Digest]int{}
	for i, d := range []checker.Digest{
		checker.Sum(nil, nil),
		checker.Sum([]byte("a"), nil),
		checker.Sum([]byte("ab"), nil),
		checker.Sum(nil, []checker.Pair{pair("", "")}),
		checker.Sum(nil, []checker.Pair{pair("a", "b")}),
		checker.Sum(nil, []checker.Pair{pair("ab", "")}),
		checker.Sum([]byte("a"), []checker.Pair{pair("b", "")}),
		checker.Sum(nil, []checker.Pair{pair("a", ""), pair("b", "")}),
		checker.Sum(nil, []checker.Pair{pair("b", ""), pair("a", "")}),
	} {
		if other, taken := seen[d]; taken {
			t.Errorf("messages %d and %d have one digest", other, i)
		}
		seen[d] = i
	}
}

func FuzzReadJournal(f *testing.F) {
	f.Add(encode([]checker.Record{{Kind: checker.Started}, {Kind: checker.Done, Flags: checker.Outage}}))
	f.Add([]byte("torn"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		records, err := checker.ReadJournal(bytes.NewReader(raw))
		if err != nil {
			return
		}
		if again := encode(records); !bytes.HasPrefix(raw, again) || len(raw)-len(again) > checker.RecordSize {
			t.Errorf("%x was read as %+v", raw, records)
		}
	})
}

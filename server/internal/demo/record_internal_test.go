package demo

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func drawEffect(t *rapid.T) Effect {
	return Effect{
		ID: rapid.Uint64().Draw(t, "id"), Attempt: rapid.Uint32Range(0, 1<<31-1).Draw(t, "attempt"),
		FailedBefore: rapid.Bool().Draw(t, "failed before"),
	}
}

func read(t require.TestingT, raw []byte) ([]Effect, int64) {
	var got []Effect
	skipped, err := readEffects(iotest.OneByteReader(bytes.NewReader(raw)), func(e Effect) { got = append(got, e) })
	require.NoError(t, err)
	return got, skipped
}

// Whatever is torn off any record, the whole ones are read, and nothing that was
// not written. A torn one may be read too, if the record behind it begins with
// the byte that it lacks.
func TestTornEffectsAreSkipped(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var raw []byte
		var whole, all []Effect
		for range rapid.IntRange(0, 50).Draw(t, "records") {
			e := drawEffect(t)
			encoded := e.encode()
			keep := recordSize
			if rapid.IntRange(0, 4).Draw(t, "torn") == 0 {
				keep = rapid.IntRange(0, recordSize-1).Draw(t, "kept")
			}
			raw = append(raw, encoded[:keep]...)
			all = append(all, e)
			if keep == recordSize {
				whole = append(whole, e)
			}
		}
		got, skipped := read(t, raw)
		require.True(t, within(whole, got), "want all of %v, got %v", whole, got)
		require.True(t, within(got, all), "want none but %v, got %v", all, got)
		if len(got) == len(whole) {
			require.EqualValues(t, len(raw)-recordSize*len(whole), skipped)
		}
	})
}

// within reports whether a is b with elements left out.
func within(a, b []Effect) bool {
	for _, e := range b {
		if len(a) > 0 && a[0] == e {
			a = a[1:]
		}
	}
	return len(a) == 0
}

func TestTornEffectMadeWholeByTheNext(t *testing.T) {
	t.Parallel()
	torn := Effect{ID: 1, Attempt: 1}.encode()
	next := Effect{ID: uint64(torn[recordSize-1]), Attempt: 2}.encode()
	got, skipped := read(t, append(torn[:recordSize-1:recordSize-1], next[:]...))
	require.Equal(t, []Effect{{ID: 1, Attempt: 1}, {ID: uint64(torn[recordSize-1]), Attempt: 2}}, got)
	require.Zero(t, skipped)
}

func TestLongLogsAreReadWhole(t *testing.T) {
	t.Parallel()
	const records = 20_000
	var raw []byte
	for id := range uint64(records) {
		encoded := Effect{ID: id, Attempt: 1}.encode()
		raw = append(raw, encoded[:]...)
	}
	// A byte too many in front shifts every record against the buffer.
	raw = append([]byte{1}, raw...)
	next := uint64(0)
	skipped, err := readEffects(bytes.NewReader(raw), func(e Effect) {
		require.Equal(t, next, e.ID)
		next++
	})
	require.NoError(t, err)
	require.EqualValues(t, 1, skipped)
	require.EqualValues(t, records, next)
}

func TestChangedEffectsAreSkipped(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		encoded := drawEffect(t).encode()
		encoded[rapid.IntRange(0, recordSize-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		_, ok := decodeEffect(encoded[:])
		require.False(t, ok)
	})
}

func TestEffectLogIsSharedByProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, err := openEffectLog(dir, effectsFile)
	require.NoError(t, err)
	b, err := openEffectLog(dir, effectsFile)
	require.NoError(t, err)
	want := make([]Effect, 0, 10)
	for id := range uint64(5) {
		for i, l := range []*effectLog{a, b} {
			e := Effect{ID: id, Attempt: uint32(i)}
			require.NoError(t, l.add(e))
			want = append(want, e)
		}
	}
	require.NoError(t, a.close())
	require.NoError(t, b.close())
	raw, err := contents(dir, effectsFile)
	require.NoError(t, err)
	require.Len(t, raw, 10*recordSize)
	got, _ := read(t, raw)
	require.Equal(t, want, got)
}

func TestLedgerKnowsWhatWasIntendedAndConfirmed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := openLedger(dir)
	require.NoError(t, err)
	bodies := [][]byte{[]byte("one"), nil, []byte("three")}
	require.NoError(t, l.intend([]uint64{1, 2, 3}, bodies))
	require.NoError(t, l.confirm(1))
	require.NoError(t, l.confirm(3))
	require.NoError(t, l.close())

	published, confirmed, err := readLedger(dir)
	require.NoError(t, err)
	require.Equal(t, map[uint64]Digest{1: sha256.Sum256(bodies[0]), 2: sha256.Sum256(nil), 3: sha256.Sum256(bodies[2])}, published)
	require.Equal(t, map[uint64]bool{1: true, 3: true}, confirmed)

	// What cannot be trusted is refused: an account of half a list proves nothing.
	path := filepath.Join(dir, ledgerFile)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, raw[:len(raw)-1], 0o600))
	_, _, err = readLedger(dir)
	require.ErrorContains(t, err, "no whole line")
	raw[3] ^= 1
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	_, _, err = readLedger(dir)
	require.ErrorContains(t, err, "damaged")
}

func FuzzReadEffects(f *testing.F) {
	encoded := Effect{ID: 7, Attempt: 2, FailedBefore: true}.encode()
	f.Add(encoded[:])
	f.Add(append([]byte{0}, encoded[:]...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, skipped := read(t, raw)
		// Records may overlap by a byte or more, and never cover less than they are.
		if int64(len(got)*recordSize)+skipped < int64(len(raw)) || skipped > int64(len(raw)) {
			t.Fatalf("%d records and %d bytes skipped of %d", len(got), skipped, len(raw))
		}
	})
}

package records_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/server/internal/records"
)

// all reads every record, over malformed ones where that is possible.
func all(t require.TestingT, r *records.Reader) (found []records.Record, invalid []*records.InvalidError, err error) {
	for range 100_000 {
		record, err := r.Next()
		var bad *records.InvalidError
		switch {
		case err == nil:
			found = append(found, record)
		case errors.As(err, &bad) && !bad.Last:
			invalid = append(invalid, bad)
		case errors.As(err, &bad):
			_, again := r.Next()
			require.Equal(t, err, again, "an end stays the end")
			return found, append(invalid, bad), nil
		case errors.Is(err, io.EOF):
			return found, invalid, nil
		default:
			return found, invalid, err
		}
	}
	require.Fail(t, "the reader does not end")
	return nil, nil, nil
}

func TestFormats(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, file, text string
		asked, format    records.Format
		want             []string
		invalid          string
		last             bool
	}{
		{"array", "a.json", " [ {\"a\" : 1.0}, 2,\n\"x\" ] \n", "auto", "array", []string{`{"a" : 1.0}`, "2", `"x"`}, "", false},
		{"empty array", "a.json", "[]", "auto", "array", nil, "", false},
		{"array with a mark", "a.json", "\xef\xbb\xbf[1]", "auto", "array", []string{"1"}, "", false},
		{"array that ends early", "a.json", `[1, {"a":`, "auto", "array", []string{"1"}, "a.json: record 2 (byte 3): the file ends inside the array", true},
		{"array without an end", "a.json", `[1`, "auto", "array", []string{"1"}, "a.json: record 2 (byte 2): the file ends inside the array", true},
		{"array without a comma", "a.json", `[1 2]`, "auto", "array", []string{"1"}, "a.json: record 2 (byte 3): expected comma after array element", true},
		{"array with text after it", "a.json", `[1] x`, "auto", "array", []string{"1"}, "something after the end of the array", true},
		{"array with another behind it", "a.json", `[1] [2]`, "auto", "array", []string{"1"}, "something after the end of the array", true},
		{"no array", "a.json", `{"a":1}`, "array", "array", nil, "does not begin with an array", true},
		{"nothing as array", "a.json", ``, "array", "array", nil, "the file ends inside the array", true},
		{"large numbers", "a.json", `[12345678901234567890.10]`, "auto", "array", []string{"12345678901234567890.10"}, "", false},
		{"lines", "a.txt", "{\"a\":1}\r\n\n  2  \n[3]", "auto", "ndjson", []string{`{"a":1}`, "2", "[3]"}, "", false},
		{"lines of arrays by name", "a.ndjson", "[1]\n[2]\n", "auto", "ndjson", []string{"[1]", "[2]"}, "", false},
		{"lines of arrays by name, capitals", "A.JSONL", "[1]\n[2]\n", "auto", "ndjson", []string{"[1]", "[2]"}, "", false},
		{"a broken line", "a.ndjson", "1\n{bad}\n3\n", "auto", "ndjson", []string{"1", "3"}, "a.ndjson: record 2 (byte 2): the line is not one JSON value: invalid character 'b'", false},
		{"two values in a line", "a.ndjson", "1 2\n3\n", "auto", "ndjson", []string{"3"}, "record 1 (byte 0)", false},
		{"an indented object", "a.json", "{\n \"a\": 1\n}\n", "auto", "raw", []string{"{\n \"a\": 1\n}\n"}, "", false},
		{"an object in one line", "a.json", `{"a":1}`, "auto", "ndjson", []string{`{"a":1}`}, "", false},
		{"text", "a.txt", "hello", "auto", "raw", []string{"hello"}, "", false},
		{"raw whatever it is", "a.json", "[1,2]", "raw", "raw", []string{"[1,2]"}, "", false},
		{"raw keeps the mark", "a.bin", "\xef\xbb\xbf\x00\xff", "auto", "raw", []string{"\xef\xbb\xbf\x00\xff"}, "", false},
		{"nothing", "a.json", "", "auto", "raw", nil, "", false},
		{"nothing in lines", "a.ndjson", "\n\n", "auto", "ndjson", nil, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// One byte at a time is the hardest way to read.
			r, err := records.NewReader(iotest.OneByteReader(strings.NewReader(tt.text)), tt.file, tt.asked)
			require.NoError(t, err)
			require.Equal(t, tt.format, r.Format())
			found, invalid, err := all(t, r)
			require.NoError(t, err)
			var got []string
			for _, f := range found {
				got = append(got, string(f.Body))
				require.Equal(t, string(f.Body), tt.text[f.Offset:f.Offset+int64(len(f.Body))], "the offset is where the record stands")
			}
			require.Equal(t, tt.want, got)
			if tt.invalid == "" {
				require.Empty(t, invalid)
				return
			}
			require.Len(t, invalid, 1)
			require.ErrorContains(t, invalid[0], tt.invalid)
			require.Equal(t, tt.last, invalid[0].Last)
		})
	}
}

func TestReadErrorIsNoEnd(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	for _, format := range []records.Format{records.Array, records.NDJSON, records.Raw} {
		r, err := records.NewReader(io.MultiReader(strings.NewReader("[1,"), iotest.ErrReader(broken)), "f", format)
		require.NoError(t, err)
		_, _, err = all(t, r)
		require.ErrorIs(t, err, broken, format)
	}
	_, err := records.NewReader(iotest.ErrReader(broken), "f", records.Auto)
	require.ErrorIs(t, err, broken)
	_, err = records.NewReader(strings.NewReader(""), "f", "xml")
	require.Error(t, err)
	_, err = records.ParseFormat("xml")
	require.ErrorContains(t, err, "array")
}

// endless repeats a byte for ever, and counts.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.read += int64(len(p))
	return len(p), nil
}

// A record without end stops the reader after a bounded amount.
func TestRecordWithoutEnd(t *testing.T) {
	t.Parallel()
	for format, head := range map[records.Format]string{records.Array: `["`, records.Raw: ""} {
		source := &endless{}
		r, err := records.NewReader(io.MultiReader(strings.NewReader(head), source), "f", format)
		require.NoError(t, err)
		_, err = r.Next()
		var invalid *records.InvalidError
		require.ErrorAs(t, err, &invalid, format)
		require.True(t, invalid.Last)
		require.Less(t, source.read, int64(4*records.MaxRecord))
	}
	// A line has an end somewhere, and reading goes on after it.
	long := io.MultiReader(io.LimitReader(&endless{}, records.MaxRecord+1), strings.NewReader("\n2\n"))
	r, err := records.NewReader(long, "f.ndjson", records.Auto)
	require.NoError(t, err)
	_, err = r.Next()
	require.ErrorContains(t, err, "the most is")
	record, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, 2, record.Number)
}

// Whatever values a file holds, they come out byte for byte and in order, with
// numbers from 1, as an array and as lines.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(rapid.Custom(func(t *rapid.T) string {
			b, err := json.Marshal(map[string]any{rapid.String().Draw(t, "key"): rapid.String().Draw(t, "value"), "n": rapid.Int64().Draw(t, "n")})
			require.NoError(t, err)
			return string(b)
		})).Draw(t, "values")
		space := rapid.StringMatching(`[ \t]{0,3}`).Draw(t, "space")
		for format, text := range map[records.Format]string{
			records.Array:  "[" + space + strings.Join(values, space+","+space) + space + "]",
			records.NDJSON: strings.Join(values, space+"\n"+space),
		} {
			r, err := records.NewReader(strings.NewReader(text), "f", format)
			require.NoError(t, err)
			found, invalid, err := all(t, r)
			require.NoError(t, err)
			require.Empty(t, invalid)
			require.Len(t, found, len(values))
			for i, f := range found {
				require.Equal(t, values[i], string(f.Body))
				require.Equal(t, i+1, f.Number)
			}
		}
	})
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{"", "[", "[]", "[1,2]", "[1 2]", "1\n2\n", "{\"a\":[1]}\n{bad", "\xef\xbb\xbf[1]", "[1]]"} {
		for i := range records.Formats() {
			f.Add([]byte(s), i)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, which int) {
		formats := records.Formats()
		format := records.Format(formats[((which%len(formats))+len(formats))%len(formats)])
		r, err := records.NewReader(bytes.NewReader(data), "f", format)
		require.NoError(t, err)
		found, _, err := all(t, r)
		require.NoError(t, err)
		for i, record := range found {
			at := data[record.Offset:]
			require.True(t, bytes.HasPrefix(at, record.Body), "the bytes are those of the file")
			require.True(t, i == 0 || record.Number > found[i-1].Number)
			require.True(t, r.Format() == records.Raw || json.Valid(record.Body))
		}
	})
}

func ExampleReader() {
	r, err := records.NewReader(strings.NewReader(`[{"id":1}, {"id":2}]`), "orders.json", records.Auto)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Format())
	for {
		record, err := r.Next()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d at byte %d: %s\n", record.Number, record.Offset, record.Body)
	}
	// Output:
	// array
	// 1 at byte 1: {"id":1}
	// 2 at byte 11: {"id":2}
	// EOF
}

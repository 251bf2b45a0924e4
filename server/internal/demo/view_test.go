package demo_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/server/internal/demo"
)

var update = flag.Bool("update", false, "write the golden files anew")

func frame() demo.Frame {
	return demo.Frame{
		Elapsed: 83 * time.Second, Seed: 42, Published: 8559, Total: 10_000, Handled: 2707, Retries: 1234,
		In: 714, Out: 2303, History: []int{0, 210, 900, 2303, 1100, 0, 1, 0, 12, 2303},
		Down: true, DownFor: 11500 * time.Millisecond, Breaker: "open", ProbeIn: 1234 * time.Millisecond,
		Worker: 16061, Running: 1, Concurrency: 64, Waiting: 255, Suspects: 2, Deaths: 3, Kills: 1,
		Source: 5635, Retry: 102, DeadLetters: 38, QuarantinedTransient: 0, QuarantinedCrashed: 2,
		Timeline: []demo.Entry{
			{Elapsed: 3 * time.Second, Text: "worker died: signal: killed", Tone: demo.Bad},
			{Elapsed: 4 * time.Second, Text: "the downstream goes down for 20.0 s", Tone: demo.Bad},
			{Elapsed: 5 * time.Second, Text: "breaker open: orders wait, none is given up", Tone: demo.Warn},
			{Elapsed: 9 * time.Second, Text: "a text from outside \x1b[2J\n with <controls> & more than fits into one line of this view", Tone: demo.Plain},
			{Elapsed: 3700 * time.Second, Text: "order 17 quarantined: crash, crash loop", Tone: demo.Accent},
		},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(string(want), got), "go test ./internal/demo -update writes the file anew")
}

func text(lines []demo.Line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	return b.String()
}

func TestViewAt80x24(t *testing.T) {
	t.Parallel()
	golden(t, "view-80x24.txt", text(frame().Render(80, 24)))
	starting := demo.Frame{Concurrency: 64, Mutant: "ack-first"}
	golden(t, "view-start.txt", text(starting.Render(80, 24)))
}

// A view fits into what it is given, however small, and nothing in it steers the
// terminal.
func TestViewFits(t *testing.T) {
	t.Parallel()
	for width := range 140 {
		for _, height := range []int{0, 1, 2, 5, 10, 18, 24, 60} {
			lines := frame().Render(width, height)
			require.LessOrEqual(t, len(lines), max(height, 19), "%d by %d", width, height)
			if height > 0 {
				require.LessOrEqual(t, len(lines), height)
			}
			for _, l := range lines {
				require.LessOrEqual(t, utf8.RuneCountInString(l.String()), width)
				require.False(t, strings.ContainsFunc(l.String(), func(r rune) bool { return r < ' ' || r == 0x7f }), "%q", l)
			}
		}
	}
}

func TestPicture(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	require.NoError(t, frame().WriteSVG(&b, 80, 24))
	decoder := xml.NewDecoder(strings.NewReader(b.String()))
	var words []string
	inText := false
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
		case xml.CharData:
			if inText {
				words = append(words, string(token))
			}
		case xml.EndElement:
			inText = false
		}
	}
	all := strings.Join(words, " ")
	require.Contains(t, all, "2,707")
	require.Contains(t, all, "orders.dlq.quarantine.crash")
	require.Contains(t, all, "<controls> &")
	require.Contains(t, b.String(), "prefers-color-scheme:dark")
}

func ExampleFrame_Render() {
	f := demo.Frame{Elapsed: 5 * time.Second, Seed: 7, Published: 1000, Total: 10_000, Handled: 700, Breaker: "open", ProbeIn: time.Second}
	for _, line := range f.Render(60, 24)[6:9] {
		fmt.Println(strings.TrimRight(line.String(), " "))
	}
	// Output:
	//  downstream  ● up
	//  breaker     OPEN  next try in 1.0 s; orders wait, and none
	//  worker      being started     running 0 of 0  waiting 0
}

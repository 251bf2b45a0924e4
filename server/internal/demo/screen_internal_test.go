package demo

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestScreenDrawsWithoutFlicker(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	width := 80
	s := &screen{w: &out, color: true, size: func() (int, int) { return width, 24 }}
	s.enter()
	s.draw(Frame{Down: true})
	out.Reset()
	s.draw(Frame{Down: true})
	again := out.String()
	require.NotContains(t, again, "\x1b[2J", "a frame replaces the last one and does not clear it first")
	require.True(t, strings.HasPrefix(again, beginFrame))
	require.True(t, strings.HasSuffix(again, endFrame))
	require.Equal(t, 23, strings.Count(again, "\r\n"))
	require.Contains(t, again, "\x1b[1;31m● down")

	out.Reset()
	width = 60
	s.draw(Frame{})
	require.Contains(t, out.String(), "\x1b[2J", "a terminal of another size is cleared")
	out.Reset()
	s.leave()
	require.Contains(t, out.String(), "\x1b[?25h")
	require.Contains(t, out.String(), "\x1b[?1049l")
}

func TestScreenWithoutColour(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := &screen{w: &out, size: func() (int, int) { return 0, 0 }}
	s.draw(Frame{Down: true})
	require.NotContains(t, out.String(), "m●")
	require.Equal(t, 23, strings.Count(out.String(), "\r\n"), "a terminal that does not tell its size is taken for 80 by 24")
}

func TestTimelineJoinsWhatRepeats(t *testing.T) {
	t.Parallel()
	var l timeline
	at := func(s int, kind, state string) bool {
		e, ok := event{At: time.Unix(int64(s), 0), Kind: kind, State: state, Category: "schema", Reason: "permanent"}.entry(time.Unix(0, 0))
		require.True(t, ok)
		return l.add(e)
	}
	require.True(t, at(1, "dead_lettered", ""))
	require.True(t, at(2, eventBreaker, "open"))
	require.False(t, at(3, "dead_lettered", ""), "joined across the line between")
	require.False(t, at(7, "dead_lettered", ""), "counted from the last one")
	require.True(t, at(18, "dead_lettered", ""), "too long ago")
	require.True(t, at(19, eventBreaker, "closed"))
	require.True(t, at(20, eventBreaker, "closed"), "not everything is joined")
	require.Equal(t, "dead-lettered: schema, permanent (3×)", l.entries[0].line())
	for i := range 3 * maxTimeline {
		at(100+20*i, "dead_lettered", "")
	}
	require.Len(t, l.entries, maxTimeline)

	_, ok := event{Kind: "handled"}.entry(time.Time{})
	require.False(t, ok)
}

func TestPerSecond(t *testing.T) {
	t.Parallel()
	var p perSecond
	require.Zero(t, p.last())
	p.add(100*time.Millisecond, 3)
	p.add(900*time.Millisecond, 4)
	require.Zero(t, p.last(), "the second is not over")
	p.add(1100*time.Millisecond, 1)
	require.Equal(t, 7, p.last())
	p.add(4*time.Second, 9)
	require.Equal(t, []int{7, 1, 0, 0}, p.over())
	p.add(10*time.Hour, 1)
	require.Len(t, p.slots, maxHistory)
	require.Zero(t, p.last())
}

func TestTailGivesWholeUnits(t *testing.T) {
	t.Parallel()
	require.Equal(t, 4, wholeLines([]byte("abc\nde")))
	require.Equal(t, 0, wholeLines([]byte("abc")))
	require.Equal(t, 32, wholeRecords(make([]byte, 47)))
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -1: "-1"} {
		require.Equal(t, want, thousands(n))
	}
}

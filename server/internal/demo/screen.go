package demo

import (
	"io"
	"strings"
)

// screen draws frames on a terminal. It uses the second screen of the terminal,
// so that what was there before comes back.
type screen struct {
	w             io.Writer
	color         bool
	size          func() (width, height int)
	width, height int
}

const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[2J"
	leaveScreen = "\x1b[0m\x1b[?25h\x1b[?1049l"
	// Terminals that know it show all of a frame at once; the others ignore it.
	beginFrame = "\x1b[?2026h\x1b[H"
	endFrame   = "\x1b[J\x1b[?2026l"
)

func (s *screen) enter() { s.write(enterScreen) }

func (s *screen) leave() { s.write(leaveScreen) }

// write ignores errors: a terminal that is gone takes the view with it and
// nothing else.
func (s *screen) write(text string) { _, _ = io.WriteString(s.w, text) }

// draw replaces what is shown in one write, without clearing it first.
func (s *screen) draw(f Frame) {
	width, height := s.size()
	if width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	var b strings.Builder
	b.WriteString(beginFrame)
	if width != s.width || height != s.height {
		s.width, s.height = width, height
		b.WriteString("\x1b[2J")
	}
	// A character in the last column makes terminals disagree on where the cursor
	// is.
	for i, line := range f.Render(width-1, height) {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(ansi(line, s.color))
		b.WriteString("\x1b[K")
	}
	b.WriteString(endFrame)
	s.write(b.String())
}

// ansi writes a line for a terminal.
func ansi(l Line, color bool) string {
	if !color {
		return l.String()
	}
	codes := [...]string{Plain: "", Dim: "2", Strong: "1", Good: "32", Warn: "33", Bad: "1;31", Accent: "36"}
	var b strings.Builder
	for _, s := range l {
		if codes[s.Tone] == "" {
			b.WriteString(s.Text)
			continue
		}
		b.WriteString("\x1b[" + codes[s.Tone] + "m" + s.Text + "\x1b[0m")
	}
	return b.String()
}

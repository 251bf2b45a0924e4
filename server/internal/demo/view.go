package demo

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

// Tone says how a piece of text is meant; each output has its own way to show
// it.
type Tone uint8

// The tones.
const (
	Plain Tone = iota
	Dim
	Strong
	Good
	Warn
	Bad
	Accent
)

// Span is a piece of text of one tone.
type Span struct {
	Text string
	Tone Tone
}

// Line is one line of the view.
type Line []Span

// String returns the text without tones.
func (l Line) String() string {
	var b strings.Builder
	for _, s := range l {
		b.WriteString(s.Text)
	}
	return b.String()
}

// Render draws a frame in at most height lines of at most width columns. It is
// made for 80 by 24 and more; on less it shows less.
func (f Frame) Render(width, height int) []Line {
	lines := []Line{f.title(width), rule("", width)}
	lines = append(lines, f.flow(width)...)
	lines = append(lines, Line{})
	lines = append(lines, f.health()...)
	lines = append(lines, rule("queues", width))
	lines = append(lines, f.queues(width)...)
	lines = append(lines, rule("what happened", width))
	footer := Line{{" Ctrl-C ends the run and checks that no order was lost.", Dim}}
	room := max(height-len(lines)-1, 0)
	entries := f.Timeline[max(0, len(f.Timeline)-room):]
	for _, e := range entries {
		lines = append(lines, Line{{" " + clock(e.Elapsed) + "  ", Dim}, {e.line(), e.Tone}})
	}
	for range room - len(entries) {
		lines = append(lines, Line{})
	}
	if height > 0 {
		lines = append(lines[:min(len(lines), height-1)], footer)
	}
	for i := range lines {
		lines[i] = clip(lines[i], width)
	}
	return lines
}

func (f Frame) title(width int) Line {
	left := "  an order service, and a downstream that fails"
	if f.Mutant != "" {
		left = "  with the known-bad broker " + f.Mutant
	}
	right := fmt.Sprintf("seed %d  %s ", f.Seed, clock(f.Elapsed))
	line := Line{{" redrive demo", Strong}, {left, Dim}}
	if length(line)+utf8.RuneCountInString(right) >= width {
		line = line[:1]
	}
	gap := max(width-length(line)-utf8.RuneCountInString(right), 1)
	return append(line, Span{strings.Repeat(" ", gap) + right, Plain})
}

// flow shows what goes in and out.
func (f Frame) flow(width int) []Line {
	published := thousands(f.Published)
	if f.Total > 0 {
		published += " of " + thousands(f.Total)
	}
	const label, value, rate = 12, 22, 12
	graph := max(width-label-value-rate-3, 0)
	row := func(name, v, r string, tail Span) Line {
		return Line{{" " + pad(name, label), Dim}, {pad(v, value), Strong}, {padLeft(r, rate), Plain}, {"  ", Plain}, tail}
	}
	perSecond := func(n int) string { return thousands(n) + " /s" }
	return []Line{
		row("published", published, perSecond(f.In), Span{}),
		row("handled", thousands(f.Handled), perSecond(f.Out), Span{spark(f.History, graph), Good}),
		row("retries", thousands(f.Retries), "", Span{}),
	}
}

// health shows the downstream, the breaker and the worker.
func (f Frame) health() []Line {
	down := Span{"● up", Good}
	if f.Down {
		down = Span{"● down, for " + seconds(f.DownFor) + " more", Bad}
	}
	state := Line{{" breaker     ", Dim}}
	switch f.Breaker {
	case "":
		state = append(state, Span{"no worker runs", Dim})
	case "closed":
		state = append(state, Span{"closed", Good})
	case "open":
		state = append(state, Span{"OPEN", Bad}, Span{"  next try in " + seconds(f.ProbeIn) + "; orders wait, and none is given up", Dim})
	default:
		state = append(state, Span{strings.ToUpper(f.Breaker), Warn}, Span{"  one order at a time tries the downstream", Dim})
	}
	who := "being started"
	if f.Worker != 0 {
		who = fmt.Sprintf("process %d", f.Worker)
	}
	worker := Line{
		{" worker      ", Dim},
		{pad(who, 16), Plain},
		{fmt.Sprintf("  running %d of %d  waiting %d", f.Running, f.Concurrency, f.Waiting), Plain},
	}
	if f.Suspects > 0 {
		worker = append(worker, Span{fmt.Sprintf("  suspects %d", f.Suspects), Warn})
	}
	if f.Deaths > 0 {
		worker = append(worker, Span{fmt.Sprintf("  died %d×", f.Deaths), Bad})
	}
	return []Line{{{" downstream  ", Dim}, down}, state, worker}
}

// queues shows how much lies where.
func (f Frame) queues(width int) []Line {
	n := broker.NamesFor(Source, "")
	rows := []struct {
		queue, what string
		depth       int64
		tone        Tone
	}{
		{n.Source, "source", f.Source, Plain},
		{n.Retry, "retry", f.Retry, Plain},
		{n.DeadLetter, "dead letters", f.DeadLetters, Warn},
		{n.Quarantine(failure.Transient), "quarantine", f.QuarantinedTransient, Accent},
		{n.Quarantine(failure.Crash), "quarantine", f.QuarantinedCrashed, Accent},
		{n.DeadLetter + ".quarantine.*", "others", f.QuarantinedOther, Accent},
	}
	if f.QuarantinedOther == 0 {
		rows = rows[:len(rows)-1]
	}
	var most int64 = 1
	for _, r := range rows {
		most = max(most, r.depth)
	}
	const name, what, depth = 33, 13, 9
	room := max(width-name-what-depth-4, 0)
	lines := make([]Line, len(rows))
	for i, r := range rows {
		tone := r.tone
		if r.depth == 0 {
			tone = Dim
		}
		lines[i] = Line{
			{" " + pad(r.queue, name), Plain},
			{pad(r.what, what), Dim},
			{padLeft(thousands(r.depth), depth), tone},
			{"  " + bar(r.depth, most, room), tone},
		}
	}
	return lines
}

// rule is a line across the view with a heading.
func rule(heading string, width int) Line {
	text := "─"
	if heading != "" {
		text = "─ " + heading + " "
	}
	return Line{{text + strings.Repeat("─", max(width-utf8.RuneCountInString(text), 0)), Dim}}
}

// spark draws the newest values as small bars, as many as fit.
func spark(values []int, width int) string {
	values = values[max(0, len(values)-width):]
	if len(values) == 0 {
		return ""
	}
	levels := []rune("▁▂▃▄▅▆▇█")
	most := max(slices.Max(values), 1)
	out := make([]rune, len(values))
	for i, v := range values {
		out[i] = levels[v*(len(levels)-1)/most]
	}
	return string(out)
}

// bar draws a part of a whole. Anything more than nothing shows.
func bar(part, whole int64, width int) string {
	if part <= 0 {
		return ""
	}
	return strings.Repeat("█", max(1, int(part*int64(width)/whole)))
}

func clock(d time.Duration) string {
	s := int(d.Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", max(d, 0).Seconds()) }

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(width-utf8.RuneCountInString(text), 0))
}

func padLeft(text string, width int) string {
	return strings.Repeat(" ", max(width-utf8.RuneCountInString(text), 0)) + text
}

func length(l Line) int {
	n := 0
	for _, s := range l {
		n += utf8.RuneCountInString(s.Text)
	}
	return n
}

// clip cuts a line to a width and takes out what could steer a terminal.
func clip(l Line, width int) Line {
	out := make(Line, 0, len(l))
	for _, s := range l {
		text := []rune(strings.Map(func(r rune) rune {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
				return '?'
			}
			return r
		}, s.Text))
		if len(text) > width {
			text = text[:max(width, 0)]
		}
		width -= len(text)
		if len(text) > 0 {
			out = append(out, Span{string(text), s.Tone})
		}
	}
	return out
}

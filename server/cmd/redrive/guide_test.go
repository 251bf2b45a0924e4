//go:build unix

package main

import (
	"fmt"
	"regexp"
	"strings"
)

// A guide is a Markdown text whose commands are run as a reader would type them.
//
// Every block of the language sh is run, in order, in one folder; the working
// directory and exported variables stay. The block of the language text that
// follows one, if it does, is what the commands print: a … in a line stands for
// anything in it, and a line of nothing but … for any lines. Comments, which
// readers do not see, say what is different:
//
//	<!-- file: name -->                the block below is saved under this name
//	<!-- run: background until TEXT -->  it goes on in another terminal, and is ready when it prints TEXT
//	<!-- run: eventually -->           looked at again until the block of text matches
//	<!-- run: exit N -->               ends with this code
//	<!-- run: not here: REASON -->     not run, and why
//	<!-- stop -->                      ends the last that goes on in the background, with Ctrl-C
type guide struct{ steps []step }

// step is one block that does something.
type step struct {
	line int
	// file is where body is saved; otherwise body is run.
	file, body string
	// stop ends the last background step.
	stop       bool
	until      string
	eventually bool
	exit       int
	// omit is why it is not run.
	omit string
	// want is the block of text that follows, compared if has is set.
	want string
	has  bool
}

// fence is one fenced block.
type fence struct {
	line           int
	language, body string
	comments       []string
	// after says that nothing but prose is between it and the block before.
	heading bool
}

var comment = regexp.MustCompile(`^<!-- ((?:file|run|stop)\b.*?) -->$`)

// fences lists the blocks of a text, each with the comments above it. A stop is a
// block of its own.
func fences(text string) []fence {
	var out []fence
	var above []string
	var open *fence
	heading := false
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case open != nil && trimmed == "```":
			out = append(out, *open)
			open = nil
		case open != nil:
			open.body += line + "\n"
		case strings.HasPrefix(trimmed, "```"):
			open = &fence{line: i + 1, language: strings.TrimPrefix(trimmed, "```"), comments: above, heading: heading}
			above, heading = nil, false
		case strings.HasPrefix(line, "#"):
			heading = true
		default:
			if m := comment.FindStringSubmatch(trimmed); m != nil && m[1] == "stop" {
				out = append(out, fence{line: i + 1, language: "stop"})
			} else if m != nil {
				above = append(above, m[1])
			}
		}
	}
	return out
}

// parseGuide reads a guide.
func parseGuide(text string) (guide, error) {
	var g guide
	last := -1 // the step that a block of text would belong to
	for _, f := range fences(text) {
		s := step{line: f.line, body: f.body}
		if err := s.read(f.comments); err != nil {
			return g, err
		}
		switch {
		case f.language == "stop":
			g.steps, last = append(g.steps, step{line: f.line, stop: true}), -1
		case s.file != "":
			g.steps, last = append(g.steps, s), -1
		case f.language == "sh":
			g.steps = append(g.steps, s)
			last = len(g.steps) - 1
		case f.language == "text" && last >= 0 && !f.heading:
			g.steps[last].want, g.steps[last].has = f.body, true
			last = -1
		default:
			if len(f.comments) > 0 {
				return g, fmt.Errorf("line %d: a comment for a block that is not run", f.line)
			}
			last = -1
		}
	}
	return g, nil
}

func (s *step) read(comments []string) error {
	for _, c := range comments {
		verb, rest, _ := strings.Cut(c, ": ")
		switch {
		case verb == "file" && rest != "":
			s.file = rest
		case strings.HasPrefix(rest, "background until "):
			s.until = strings.TrimPrefix(rest, "background until ")
		case rest == "eventually":
			s.eventually = true
		case strings.HasPrefix(rest, "exit "):
			if _, err := fmt.Sscanf(rest, "exit %d", &s.exit); err != nil {
				return fmt.Errorf("line %d: %q: %w", s.line, c, err)
			}
		case strings.HasPrefix(rest, "not here: "):
			s.omit = strings.TrimPrefix(rest, "not here: ")
		default:
			return fmt.Errorf("line %d: the comment %q is not understood", s.line, c)
		}
	}
	return nil
}

// matches compares what was printed with what a guide shows.
func matches(want, got string) bool {
	var pattern strings.Builder
	pattern.WriteString(`(?s)\A`)
	for line := range strings.SplitSeq(strings.TrimRight(want, "\n"), "\n") {
		if strings.TrimSpace(line) == "…" {
			pattern.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		for i, part := range strings.Split(strings.TrimRight(line, " "), "…") {
			if i > 0 {
				pattern.WriteString(`[^\n]*`)
			}
			pattern.WriteString(regexp.QuoteMeta(part))
		}
		pattern.WriteString(`[ \t]*\n`)
	}
	pattern.WriteString(`\z`)
	return regexp.MustCompile(pattern.String()).MatchString(strings.TrimRight(got, "\n") + "\n")
}

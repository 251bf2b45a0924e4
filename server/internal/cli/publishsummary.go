package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// publishSummary is what publish prints at its end.
type publishSummary struct {
	Queue  string `json:"queue"`
	Broker string `json:"broker"`
	File   string `json:"file"`
	Format string `json:"format"`
	// Identity is what the publish ids are made of: the SHA-256 of the file, or
	// "id:" and --id.
	Identity string `json:"identity"`
	// From is the first record that was to be published, and Next the first that is
	// not settled; everything before it is confirmed, refused or skipped.
	From int `json:"from"`
	Next int `json:"next"`
	// Published were confirmed, Refused by the broker, Skipped because they are
	// malformed.
	Published int   `json:"published"`
	Refused   int   `json:"refused"`
	Skipped   int   `json:"skipped"`
	Bytes     int64 `json:"bytes"`
	// Complete says that the end of the file was reached.
	Complete bool            `json:"complete"`
	Problems []recordProblem `json:"problems"`
	// Resume is the command to go on with, if it did not reach the end.
	Resume   string  `json:"resume,omitempty"`
	Error    string  `json:"error,omitempty"`
	Duration float64 `json:"duration_seconds"`
	Rate     float64 `json:"messages_per_second"`
}

func (p *publisher) summary(stopped error) publishSummary {
	took := p.Now().Sub(p.started)
	s := publishSummary{
		Queue: p.queue, Broker: p.opt.broker, File: p.in.name, Format: string(p.in.reader.Format()), Identity: p.in.identity,
		From: p.opt.from, Next: p.reached + 1, Published: p.published, Refused: p.refused, Skipped: p.skipped,
		Bytes: p.bytes, Complete: p.complete, Problems: p.problems, Duration: took.Seconds(),
	}
	if s.Problems == nil {
		s.Problems = []recordProblem{}
	}
	if took > 0 {
		s.Rate = float64(p.published) / took.Seconds()
	}
	if stopped != nil {
		s.Error = stopped.Error()
	}
	if !p.complete {
		s.Resume = p.resume()
	}
	return s
}

func (s publishSummary) people() string {
	var b strings.Builder
	fmt.Fprintf(&b, "published %s to %s in %s", count(s.Published, "message"), escaped([]byte(s.Queue)), span(time.Duration(s.Duration*float64(time.Second))))
	if s.Refused > 0 {
		fmt.Fprintf(&b, ", %d refused", s.Refused)
	}
	if s.Skipped > 0 {
		fmt.Fprintf(&b, ", %d malformed and skipped", s.Skipped)
	}
	if !s.Complete {
		fmt.Fprintf(&b, "; stopped before record %d", s.Next)
	}
	return b.String()
}

// resume is the command line that goes on where this one stopped.
func (p *publisher) resume() string {
	f := p.opt
	words := []string{"redrive", "publish", p.queue, "--file", f.file, "--from", strconv.Itoa(p.reached + 1)}
	add := func(flag, value, unless string) {
		if value != unless {
			words = append(words, flag, value)
		}
	}
	add("--format", f.format, "auto")
	add("--id", f.id, "")
	add("--key", f.key, "")
	for _, h := range f.headers {
		words = append(words, "--header", h)
	}
	if f.ttl > 0 {
		words = append(words, "--ttl", f.ttl.String())
	}
	if f.skipInvalid {
		words = append(words, "--skip-invalid")
	}
	if p.askedBroker {
		add("--broker", f.broker, "")
	}
	add("--config", p.call.flags.config, "")
	add("--data-dir", p.call.flags.dataDir, "")
	for i, w := range words {
		words[i] = shellWord(w)
	}
	return strings.Join(words, " ")
}

// shellWord quotes a word for a POSIX shell.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./:=,@+%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// verdict is the error, and with it the exit code, of a run that ended.
func (p *publisher) verdict(ctx context.Context, stopped error) error {
	goOn := "go on with: " + printable(p.resume())
	var typed *Error
	switch {
	case stopped == nil && p.refused+p.skipped == 0:
		return nil
	case stopped == nil:
		return &Error{
			Code: ExitPartial, Err: fmt.Errorf("%d of %d records were not published", p.refused+p.skipped, p.published+p.refused+p.skipped),
			Hint: "they are named above, and under problems in -o json",
		}
	case p.complete:
		return stopped
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), ErrInterrupted):
		return &Error{Code: ExitInterrupted, Err: fmt.Errorf("interrupted before record %d of %s; everything before it is settled", p.reached+1, p.in.name), Hint: goOn}
	case errors.As(stopped, &typed) && typed.Code == ExitUsage:
		return stopped
	case errors.As(stopped, &typed):
		return &Error{Code: typed.Code, Err: stopped, Hint: typed.Hint + "; then " + goOn}
	}
	return &Error{Err: stopped, Hint: goOn}
}

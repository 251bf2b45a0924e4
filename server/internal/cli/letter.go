package cli

import (
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

// letterRow is a message as queue peek prints it. Bytes that are no UTF-8 stand in
// the field with _base64 in place of the plain one.
type letterRow struct {
	Queue     string    `json:"queue"`
	Position  string    `json:"position"`
	StoredAt  time.Time `json:"stored_at,omitzero"`
	ID        string    `json:"id,omitempty"`
	Key       string    `json:"key,omitempty"`
	KeyBase64 string    `json:"key_base64,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`

	// Envelope is what redrive knows of the message.
	Envelope *envelopeRow `json:"envelope,omitempty"`
	// EnvelopeError says why the envelope cannot be read.
	EnvelopeError string `json:"envelope_error,omitempty"`

	Headers    []headerRow `json:"headers"`
	Control    []headerRow `json:"control,omitempty"`
	Size       int         `json:"body_size"`
	Body       *string     `json:"body,omitempty"`
	BodyBase64 *string     `json:"body_base64,omitempty"`

	body []byte
}

type headerRow struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	ValueBase64 string `json:"value_base64,omitempty"`

	raw []byte
}

// envelopeRow is the summary of an envelope.
type envelopeRow struct {
	// Matches says that the envelope speaks about this body. One that does not was
	// copied from another message by a producer.
	Matches       bool      `json:"matches_body"`
	Source        string    `json:"source"`
	Group         string    `json:"group"`
	Category      string    `json:"category,omitempty"`
	Reason        string    `json:"reason,omitempty"`
	Attempts      int       `json:"attempts"`
	MaxAttempts   int       `json:"max_attempts,omitempty"`
	Uncounted     int       `json:"uncounted_runs,omitempty"`
	ErrorType     string    `json:"error_type,omitempty"`
	Error         string    `json:"error,omitempty"`
	Signature     string    `json:"signature,omitempty"`
	FirstFailure  time.Time `json:"first_failure,omitzero"`
	LastFailure   time.Time `json:"last_failure,omitzero"`
	Replays       int       `json:"replays,omitempty"`
	Key           string    `json:"idempotency_key,omitempty"`
	CorrelationID string    `json:"correlation_id,omitempty"`
	Position      string    `json:"original_position,omitempty"`
	Trimmed       []string  `json:"trimmed,omitempty"`
	ClaimCheck    string    `json:"claim_check,omitempty"`
}

func newLetterRow(queue string, l *broker.Letter) letterRow {
	m := &l.Message
	row := letterRow{
		Queue: queue, Position: l.Position, StoredAt: l.StoredAt.UTC(), ID: m.ID, ExpiresAt: m.ExpiresAt.UTC(),
		Headers: headerRows(m.Headers), Control: headerRows(m.Control), Size: len(m.Body), body: m.Body,
	}
	if row.Headers == nil {
		row.Headers = []headerRow{}
	}
	row.Key, row.KeyBase64 = textOrBase64(m.Key)
	body, encoded := textOrBase64(m.Body)
	if encoded != "" {
		row.BodyBase64 = &encoded
	} else {
		row.Body = &body
	}
	if m.Envelope == nil {
		return row
	}
	e, err := envelope.Decode(m.Envelope)
	if err != nil {
		row.EnvelopeError = err.Error()
		return row
	}
	row.Envelope = newEnvelopeRow(&e, m.Body)
	return row
}

func newEnvelopeRow(e *envelope.Envelope, body []byte) *envelopeRow {
	row := &envelopeRow{
		Matches: e.Belongs(e.Source, e.Group, envelope.Digest(body)), Source: e.Source, Group: e.Group,
		Reason: string(e.Reason), Attempts: e.Count, MaxAttempts: e.MaxAttempts, Uncounted: e.Uncounted,
		ErrorType: e.ErrorType, Error: e.Message, Signature: e.Signature,
		FirstFailure: e.FirstFailure.UTC(), LastFailure: e.LastFailure.UTC(), Replays: e.Replays,
		Key: e.Key, CorrelationID: e.CorrelationID, Position: e.Position, Trimmed: e.Trimmed, ClaimCheck: e.ClaimCheck,
	}
	if e.Category != failure.None {
		row.Category = e.Category.String()
	} else if n := len(e.Attempts); n > 0 {
		row.Category = e.Attempts[n-1].Category.String()
	}
	return row
}

func headerRows(headers []broker.Header) []headerRow {
	var out []headerRow
	for _, h := range headers {
		row := headerRow{Name: h.Name, raw: h.Value}
		row.Value, row.ValueBase64 = textOrBase64(h.Value)
		out = append(out, row)
	}
	return out
}

func textOrBase64(b []byte) (text, encoded string) {
	if utf8.Valid(b) {
		return string(b), ""
	}
	return "", base64.StdEncoding.EncodeToString(b)
}

func (c *call) printLetters(rows []letterRow, f peekFlags) error {
	switch format := c.format("table"); format {
	case "table", "wide":
		limit := f.bytes
		if format == "wide" {
			limit = int(^uint(0) >> 1)
		}
		for i := range rows {
			if _, err := io.WriteString(c.Stdout, rows[i].people(i, limit, c.Now())); err != nil {
				return err
			}
		}
		return nil
	}
	return printList(c, rows, func(r letterRow) string { return r.Position }, nil)
}

// people describes a message for people. Each line of it begins with a word of
// ours, so that no message can forge one.
func (r *letterRow) people(i, limit int, now time.Time) string {
	var b strings.Builder
	if i > 0 {
		b.WriteByte('\n')
	}
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-12s %s\n", name, text)
		}
	}
	line("position", escaped([]byte(r.Position)))
	line("stored", when(r.StoredAt, now))
	line("id", escaped([]byte(r.ID)))
	if r.KeyBase64 != "" {
		line("key", "base64:"+r.KeyBase64)
	}
	line("key", escaped([]byte(r.Key)))
	line("expires", when(r.ExpiresAt, now))
	if r.EnvelopeError != "" {
		line("envelope", "unreadable: "+escaped([]byte(r.EnvelopeError)))
	}
	if r.Envelope != nil {
		r.Envelope.people(line, now)
	}
	for _, h := range append(slices.Clip(r.Headers), r.Control...) {
		value, omitted := preview(h.raw, 256)
		line("header", escaped([]byte(h.Name))+": "+value+more(omitted))
	}
	text, omitted := preview(r.body, limit)
	fmt.Fprintf(&b, "%-12s %s\n", fmt.Sprintf("body %d B", r.Size), text+more(omitted))
	return b.String()
}

func (e *envelopeRow) people(line func(name, text string), now time.Time) {
	text := func(s string) string { return escaped([]byte(s)) }
	line("failed as", strings.TrimSuffix(text(e.Category)+", "+text(e.Reason), ", "))
	attempts := strconv.Itoa(e.Attempts)
	if e.MaxAttempts > 0 {
		attempts += fmt.Sprintf(" of %d", e.MaxAttempts)
	}
	if e.Uncounted > 0 {
		attempts += fmt.Sprintf(", and %s that cost none", count(e.Uncounted, "run"))
	}
	line("attempts", attempts)
	line("error type", text(e.ErrorType))
	line("error", text(e.Error))
	line("first failed", when(e.FirstFailure, now))
	line("last failed", when(e.LastFailure, now))
	line("source", text(e.Source)+" (group "+text(e.Group)+")")
	line("signature", text(e.Signature))
	line("idempotency", text(e.Key))
	if e.Replays > 0 {
		line("replays", strconv.Itoa(e.Replays))
	}
	line("trimmed", text(strings.Join(e.Trimmed, ", ")))
	line("claim check", text(e.ClaimCheck))
	if !e.Matches {
		line("caution", "this envelope was made for another body; workers ignore it")
	}
}

func more(omitted int) string {
	if omitted == 0 {
		return ""
	}
	return fmt.Sprintf(" … (%d bytes more)", omitted)
}

// when is a time for people, with its distance.
func when(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	if d := now.Sub(t); d >= 0 {
		return t.UTC().Format(time.RFC3339) + " (" + span(d) + " ago)"
	}
	return t.UTC().Format(time.RFC3339) + " (in " + span(t.Sub(now)) + ")"
}

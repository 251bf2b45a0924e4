package httphandler

import (
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxMessage bounds the text taken from an answer, in bytes.
	maxMessage = 2048
	// maxDrain bounds what is read of an answer so that its connection can be used
	// again. For more than that a new connection is cheaper.
	maxDrain = 64 << 10
	// maxResponseHeader bounds the header of an answer, in bytes.
	maxResponseHeader = 64 << 10
)

// readAnswer reads the beginning of a body and drains the rest as far as that
// pays. What was read before an error counts.
func readAnswer(body io.Reader, n int) []byte {
	head, err := io.ReadAll(io.LimitReader(body, int64(n)))
	if err == nil {
		// An error only means that the connection is not used again.
		_, _ = io.CopyN(io.Discard, body, maxDrain)
	}
	return head
}

// answerText makes a message of the beginning of an answer. The answer is written
// by the endpoint, or by whoever can make it echo something, and goes to logs,
// terminals and web pages: so secrets, control characters and invalid UTF-8 are
// taken out. Only what begins within the first maxMessage bytes is used, so a
// secret that crosses that border is seen whole if raw is long enough.
func answerText(raw []byte, secrets []string) string {
	text, n := plain(string(raw), maxMessage)
	hidden := make([]string, 0, len(secrets))
	for _, s := range secrets {
		// Secrets change like the text, so that they are found in it.
		changed, _ := plain(s, len(s))
		hidden = append(hidden, changed)
	}
	text = redact(text, n, hidden)
	if len(text) > maxMessage {
		text = text[:maxMessage]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
	}
	return strings.TrimSpace(text)
}

// plain returns text without control characters and invalid UTF-8, and the length
// of the part of the result that comes from the first border bytes. A character
// that the end of the text cuts is left out.
func plain(text string, border int) (string, int) {
	var b strings.Builder
	n := 0
	for i := 0; i < len(text) && utf8.FullRuneInString(text[i:]); {
		r, size := utf8.DecodeRuneInString(text[i:])
		b.WriteRune(harmless(r))
		if i < border {
			n = b.Len()
		}
		i += size
	}
	return b.String(), n
}

// harmless replaces what steers a terminal, a log or the direction of text.
func harmless(r rune) rune {
	switch {
	case r == '\n' || r == '\r' || r == '\t':
		return ' '
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp):
		return utf8.RuneError
	}
	return r
}

// minTail is how much of a secret the end of a text must hold to be replaced: with
// less, words would be replaced that only begin alike.
const minTail = 4

// redact returns the part of text that begins within the first n bytes, with every
// secret replaced, also one that the end of the text cuts.
func redact(text string, n int, secrets []string) string {
	secrets = slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return s == "" })
	// The longest first, so that one that contains another goes as a whole.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	var b strings.Builder
	for i := 0; i < min(n, len(text)); {
		skip := 0
		for _, s := range secrets {
			rest := text[i:]
			if strings.HasPrefix(rest, s) || len(rest) >= minTail && strings.HasPrefix(s, rest) {
				skip = min(len(s), len(rest))
				break
			}
		}
		if skip == 0 {
			b.WriteByte(text[i])
			i++
			continue
		}
		b.WriteString(redacted)
		i += skip
	}
	return b.String()
}

// longest returns the length of the longest of the strings.
func longest(values []string) int {
	n := 0
	for _, v := range values {
		n = max(n, len(v))
	}
	return n
}

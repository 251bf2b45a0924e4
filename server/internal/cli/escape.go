package cli

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escaped makes bytes that somebody else wrote visible and harmless: control
// characters, which could move the cursor, recolour or worse, characters that
// change the direction of text, and bytes that are no UTF-8 are written as
// escapes. A backslash is doubled, so that what is shown can be told from what is
// meant.
func escaped(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, b[0])
		case r == '\\':
			out.WriteString(`\\`)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&out, `\x%02x`, r)
		case !unicode.IsPrint(r):
			// Also format characters and all spaces but the plain one.
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
		b = b[size:]
	}
	return out.String()
}

// preview is the beginning of bytes, escaped, cut at a whole character, and how
// many bytes were left out.
func preview(b []byte, limit int) (text string, omitted int) {
	if len(b) <= limit {
		return escaped(b), 0
	}
	cut := limit
	for cut > 0 && cut > limit-utf8.UTFMax && !utf8.RuneStart(b[cut]) {
		cut--
	}
	return escaped(b[:cut]), len(b) - cut
}

package envelope

import "unicode/utf8"

const hexDigits = "0123456789abcdef"

// rawByte is the base of the escapes for bytes that are not valid UTF-8. Go's
// decoder treats encoded surrogates as invalid, so no valid text can contain
// these code points and the escape is lossless.
const rawByte = 0xdc00

// plain reports whether a byte stands for itself inside a JSON string of
// printable ASCII.
func plain(c byte) bool {
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'
}

// appendQuoted appends s as a JSON string of printable ASCII.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		if plain(s[i]) {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		if s[i] < utf8.RuneSelf {
			b = appendEscapedASCII(b, s[i])
			i++
		} else {
			r, n := utf8.DecodeRuneInString(s[i:])
			b = appendEscapedRune(b, r, n, s[i])
			i += n
		}
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendEscapedASCII(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return appendUnit(b, rune(c))
}

// appendEscapedRune appends a rune of n bytes that begins with the byte first.
func appendEscapedRune(b []byte, r rune, n int, first byte) []byte {
	switch {
	case r == utf8.RuneError && n == 1:
		return appendUnit(b, rawByte+rune(first))
	case r >= 0x10000:
		r -= 0x10000
		b = appendUnit(b, 0xd800+(r>>10))
		return appendUnit(b, 0xdc00+(r&0x3ff))
	}
	return appendUnit(b, r)
}

func appendUnit(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// cost returns the bytes that the rune at the start of s takes when quoted, and
// the bytes that it takes in s. s must not be empty.
func cost(s string) (quoted, size int) {
	c := s[0]
	switch {
	case plain(c):
		return 1, 1
	case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t':
		return 2, 1
	case c < utf8.RuneSelf:
		return 6, 1
	}
	r, n := utf8.DecodeRuneInString(s)
	if r >= 0x10000 {
		return 12, n
	}
	return 6, n
}

// quotedLen returns the bytes that s takes when quoted, without the quotes.
func quotedLen(s string) int {
	total := 0
	for i := 0; i < len(s); {
		if plain(s[i]) {
			total++
			i++
			continue
		}
		quoted, n := cost(s[i:])
		total += quoted
		i += n
	}
	return total
}

// clip returns the longest prefix of s that takes at most budget bytes when
// quoted. It does not cut through a rune.
func clip(s string, budget int) string {
	at := 0
	for at < len(s) {
		if plain(s[at]) && budget > 0 {
			budget--
			at++
			continue
		}
		quoted, n := cost(s[at:])
		if budget -= quoted; budget < 0 {
			break
		}
		at += n
	}
	return s[:at]
}

package failure

import "strings"

// schemeLen returns the length of "scheme://" at the beginning of the text,
// zero if there is none.
func schemeLen(text string) int {
	const longest = 20
	colon := strings.IndexByte(text[:min(len(text), longest)], ':')
	if colon < 2 || !strings.HasPrefix(text[colon:], "://") || !isUpper(text[0]&^0x20) {
		return 0
	}
	for i := range colon {
		if c := text[i]; c >= 0x80 || !isWord(c) && c != '+' && c != '-' && c != '.' {
			return 0
		}
	}
	return colon + len("://")
}

// isPath reports whether the text is a path from a root, from here, from the
// parent or from home, on Unix or on Windows.
func isPath(text string) bool {
	if len(text) < 2 {
		return false
	}
	switch text[0] {
	case '/':
		return text[1] != '/'
	case '\\':
		return text[1] == '\\' && len(text) > 2
	case '~':
		return text[1] == '/' && len(text) > 2
	case '.':
		return len(text) > 2 && (text[1] == '/' || text[1] == '.' && text[2] == '/' && len(text) > 3)
	}
	return len(text) > 3 && isUpper(text[0]&^0x20) && text[1] == ':' && (text[2] == '\\' || text[2] == '/')
}

// hasEmail reports whether an e-mail address is in the text. Java writes
// objects as Class@1b2c3d, which is none: the domain must have a dot.
func hasEmail(text string) bool {
	for {
		at := strings.IndexByte(text, '@')
		if at < 0 {
			return false
		}
		if at > 0 && isWord(text[at-1]) {
			i := at + 1
			for i < len(text) && (isWord(text[i]) || text[i] == '-') {
				i++
			}
			if i > at+1 && i+1 < len(text) && text[i] == '.' && isUpper(text[i+1]&^0x20) {
				return true
			}
		}
		text = text[at+1:]
	}
}

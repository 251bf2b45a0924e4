package envelope

import (
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds the nesting of fields that Decode does not know. The format
// itself nests three deep.
const maxDepth = 16

// scanner reads JSON (RFC 8259) from a slice. It exists beside encoding/json
// because strings must come back byte for byte, see rawByte, and because it
// reads an envelope without a detour over intermediate values.
type scanner struct {
	raw []byte
	at  int
}

func (s *scanner) fail(field, problem string) error {
	return &SyntaxError{Offset: s.at, Field: field, Problem: problem}
}

func (s *scanner) space() {
	for s.at < len(s.raw) {
		switch s.raw[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// peek returns the next byte that is not space, 0 at the end.
func (s *scanner) peek() byte {
	if s.space(); s.at < len(s.raw) {
		return s.raw[s.at]
	}
	return 0
}

// take consumes c if it is the next byte that is not space.
func (s *scanner) take(c byte) bool {
	if s.peek() != c || s.at == len(s.raw) {
		return false
	}
	s.at++
	return true
}

// null consumes the word null if it comes next.
func (s *scanner) null() bool { return s.word("null") }

func (s *scanner) word(w string) bool {
	s.space()
	if len(s.raw)-s.at < len(w) || string(s.raw[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

// object reads an object; member must read the value of the name it is given.
func (s *scanner) object(field string, member func(name string) error) error {
	if !s.take('{') {
		return s.fail(field, "want an object")
	}
	if s.take('}') {
		return nil
	}
	for {
		name, err := s.text(field)
		if err != nil {
			return err
		}
		if !s.take(':') {
			return s.fail(field, "want a colon after a name")
		}
		if err := member(name); err != nil {
			return err
		}
		if s.take('}') {
			return nil
		}
		if !s.take(',') {
			return s.fail(field, "want a comma or the end of the object")
		}
	}
}

// array reads an array; element must read one element.
func (s *scanner) array(field string, element func() error) error {
	if !s.take('[') {
		return s.fail(field, "want an array")
	}
	if s.take(']') {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.take(']') {
			return nil
		}
		if !s.take(',') {
			return s.fail(field, "want a comma or the end of the array")
		}
	}
}

// integer reads a number without a fraction or an exponent.
func (s *scanner) integer(field string) (int64, error) {
	s.space()
	start := s.at
	if !s.number() {
		return 0, s.fail(field, "want a number")
	}
	n, err := strconv.ParseInt(string(s.raw[start:s.at]), 10, 64)
	if err != nil {
		return 0, s.fail(field, "want an integer of 64 bits")
	}
	return n, nil
}

// number consumes a number and reports whether there was one.
func (s *scanner) number() bool {
	s.one("-")
	if !s.one("0") && s.digits() == 0 {
		return false
	}
	if s.one(".") && s.digits() == 0 {
		return false
	}
	if s.one("eE") {
		s.one("+-")
		return s.digits() > 0
	}
	return true
}

// one consumes the next byte if it is in set.
func (s *scanner) one(set string) bool {
	if s.at == len(s.raw) {
		return false
	}
	for i := range len(set) {
		if s.raw[s.at] == set[i] {
			s.at++
			return true
		}
	}
	return false
}

func (s *scanner) digits() int {
	start := s.at
	for s.at < len(s.raw) && '0' <= s.raw[s.at] && s.raw[s.at] <= '9' {
		s.at++
	}
	return s.at - start
}

// skip reads any value and forgets it.
func (s *scanner) skip(depth int) error {
	if depth == maxDepth {
		return s.fail("", "nested too deep")
	}
	switch c := s.peek(); {
	case c == '{':
		return s.object("", func(string) error { return s.skip(depth + 1) })
	case c == '[':
		return s.array("", func() error { return s.skip(depth + 1) })
	case c == '"':
		_, err := s.text("")
		return err
	case c == '-' || '0' <= c && c <= '9':
		if !s.number() {
			return s.fail("", "malformed number")
		}
		return nil
	case s.word("null"), s.word("true"), s.word("false"):
		return nil
	}
	return s.fail("", "want a value")
}

// text reads a string. Bytes from 0x80 on stand for themselves.
func (s *scanner) text(field string) (string, error) {
	if !s.take('"') {
		return "", s.fail(field, "want a string")
	}
	start := s.at
	for s.at < len(s.raw) {
		switch c := s.raw[s.at]; {
		case c == '"':
			s.at++
			return string(s.raw[start : s.at-1]), nil
		case c == '\\':
			return s.escapedText(field, append([]byte(nil), s.raw[start:s.at]...))
		case c < 0x20:
			return "", s.fail(field, "control character in a string")
		}
		s.at++
	}
	return "", s.fail(field, "string without an end")
}

// escapedText reads on from the first backslash of a string; out holds what came
// before it.
func (s *scanner) escapedText(field string, out []byte) (string, error) {
	for s.at < len(s.raw) {
		c := s.raw[s.at]
		s.at++
		switch {
		case c == '"':
			return string(out), nil
		case c < 0x20:
			return "", s.fail(field, "control character in a string")
		case c == '\\':
			var ok bool
			if out, ok = s.escape(out); !ok {
				return "", s.fail(field, "unknown escape in a string")
			}
		default:
			out = append(out, c)
		}
	}
	return "", s.fail(field, "string without an end")
}

// escape appends what the escape after a backslash stands for.
func (s *scanner) escape(out []byte) ([]byte, bool) {
	if s.at == len(s.raw) {
		return out, false
	}
	c := s.raw[s.at]
	s.at++
	switch c {
	case '"', '\\', '/':
		return append(out, c), true
	case 'b':
		return append(out, '\b'), true
	case 'f':
		return append(out, '\f'), true
	case 'n':
		return append(out, '\n'), true
	case 'r':
		return append(out, '\r'), true
	case 't':
		return append(out, '\t'), true
	case 'u':
		return s.unicode(out)
	}
	return out, false
}

// unicode appends what the four digits after \u stand for: a rune, the first
// half of a pair whose second half follows, or one byte that is not UTF-8.
func (s *scanner) unicode(out []byte) ([]byte, bool) {
	unit, ok := s.unit(s.at)
	if !ok {
		return out, false
	}
	s.at += 4
	switch {
	case rawByte+utf8.RuneSelf <= unit && unit <= rawByte+0xff:
		return append(out, byte(unit-rawByte)), true
	case 0xd800 <= unit && unit < 0xdc00:
		if s.at+1 < len(s.raw) && s.raw[s.at] == '\\' && s.raw[s.at+1] == 'u' {
			if low, ok := s.unit(s.at + 2); ok && 0xdc00 <= low && low < 0xe000 {
				s.at += 6
				return utf8.AppendRune(out, 0x10000+(unit-0xd800)<<10+(low-0xdc00)), true
			}
		}
	}
	// A surrogate that stands alone is no rune and becomes U+FFFD.
	return utf8.AppendRune(out, unit), true
}

// unit reads four hexadecimal digits without consuming them.
func (s *scanner) unit(at int) (rune, bool) {
	if len(s.raw)-at < 4 {
		return 0, false
	}
	var unit rune
	for _, c := range s.raw[at : at+4] {
		switch {
		case '0' <= c && c <= '9':
			unit = unit<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			unit = unit<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			unit = unit<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return unit, true
}

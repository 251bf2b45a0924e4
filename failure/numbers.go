package failure

import "strings"

// number reads a number with its fraction, thousands or exponent, a list of
// numbers, a version, or an IPv4 address with its port or prefix.
func (s *scanner) number(w shape) bool {
	if end := s.exponent(); end > 0 {
		s.pos = end
		s.place(holdNumber)
		return true
	}
	if w.digits != w.end-s.pos {
		return false
	}
	octets, ok := 1, w.digits <= 3
	end := w.end
	for end+1 < len(s.in) && (s.in[end] == '.' || s.in[end] == ',') {
		next := s.digits(end + 1)
		if next == end+1 || !s.boundary(next) {
			break
		}
		ok = ok && s.in[end] == '.' && next-end <= 4
		octets++
		end = next
	}
	if !ok || octets != 4 {
		s.pos = end
		s.place(holdNumber)
		return true
	}
	if end < len(s.in) && (s.in[end] == ':' || s.in[end] == '/') {
		if next := s.digits(end + 1); next > end+1 && s.boundary(next) {
			end = next
		}
	}
	s.pos = end
	s.place(holdIP)
	return true
}

// exponent returns the end of a number such as 1.5e-9, zero if there is none.
func (s *scanner) exponent() int {
	i := s.digits(s.pos)
	if i < len(s.in) && s.in[i] == '.' {
		i = s.digits(i + 1)
	}
	if i >= len(s.in) || s.in[i]|0x20 != 'e' {
		return 0
	}
	i++
	if i < len(s.in) && (s.in[i] == '-' || s.in[i] == '+') {
		i++
	}
	end := s.digits(i)
	if end == i || end > i+3 || !s.boundary(end) {
		return 0
	}
	return end
}

// duration reads a duration as Go writes it.
func (s *scanner) duration() bool {
	const most = 6
	i := s.pos
	for n := 0; i < len(s.in) && isDigit(s.in[i]); n++ {
		if n == most {
			return false
		}
		i = s.digits(i)
		if i+1 < len(s.in) && s.in[i] == '.' {
			i = s.digits(i + 1)
		}
		unit := unitLen(s.in[i:])
		if unit == 0 {
			return false
		}
		i += unit
	}
	if !s.boundary(i) {
		return false
	}
	s.pos = i
	s.place(holdDuration)
	return true
}

// unitLen returns the length of the unit of time that begins the text.
func unitLen(text string) int {
	for _, unit := range [...]string{"ns", "us", "µs", "μs", "ms", "s", "m", "h"} {
		if strings.HasPrefix(text, unit) {
			return len(unit)
		}
	}
	return 0
}

// uuid reads a UUID.
func (s *scanner) uuid() bool {
	const size = 36
	if len(s.in)-s.pos < size || !s.boundary(s.pos+size) {
		return false
	}
	for i := range size {
		c := s.in[s.pos+i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !isHex(c) {
				return false
			}
		}
	}
	s.pos += size
	s.place(holdID)
	return true
}

// address reads an IPv6 address with its zone, or a hardware address.
func (s *scanner) address() bool {
	const longest = 45
	i, colons, double, digit := s.pos, 0, false, false
	for ; i < len(s.in) && i-s.pos <= longest; i++ {
		c := s.in[i]
		if c == ':' {
			colons++
			double = double || i > s.pos && s.in[i-1] == ':'
			continue
		}
		if !isHex(c) && (c != '.' || !double || i+1 >= len(s.in) || !isDigit(s.in[i+1])) {
			break
		}
		digit = digit || isDigit(c)
	}
	if colons < 2 || !s.boundary(i) {
		return false
	}
	// A colon at the end is the message's, two are the address's.
	if s.in[i-1] == ':' && (i-s.pos < 2 || s.in[i-2] != ':') {
		i--
		colons--
	}
	text := s.in[s.pos:i]
	if text[0] == ':' && text[1] != ':' {
		return false
	}
	if isHardware(text) {
		s.pos = i
		s.place(holdID)
		return true
	}
	if !digit || colons < 2 || !double && colons != 7 {
		return false
	}
	if i+1 < len(s.in) && s.in[i] == '%' && isWord(s.in[i+1]) {
		i++
		for i < len(s.in) && isWord(s.in[i]) {
			i++
		}
	}
	s.pos = i
	s.place(holdIP)
	return true
}

// isHardware reports whether the text is six pairs of hexadecimal digits.
func isHardware(text string) bool {
	if len(text) != 17 {
		return false
	}
	for i := range len(text) {
		if (i%3 == 2) != (text[i] == ':') || i%3 != 2 && !isHex(text[i]) {
			return false
		}
	}
	return true
}

// digits returns the end of the digits that begin at i.
func (s *scanner) digits(i int) int {
	for i < len(s.in) && isDigit(s.in[i]) {
		i++
	}
	return i
}

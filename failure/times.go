package failure

// timestamp reads a date, a time of day, or both.
func (s *scanner) timestamp(w shape) bool {
	i := s.pos
	if end := s.date(i); end > 0 {
		i = end
		if i+1 < len(s.in) && (s.in[i]|0x20 == 't' || s.in[i] == '_') && isDigit(s.in[i+1]) {
			if end := s.clock(i + 1); end > 0 {
				i = end
			}
		}
	} else if end := s.clock(i); end > 0 {
		i = end
	} else if end := s.compact(w); end > 0 {
		i = end
	} else {
		return false
	}
	if !s.boundary(i) {
		return false
	}
	s.pos = i
	s.place(holdTime)
	return true
}

// date returns the end of 2006-01-02, 2006/01/02, 02-01-2006, 02/01/2006 or
// 02.01.2006, zero if there is none.
func (s *scanner) date(i int) int {
	first := s.digits(i)
	if first >= len(s.in) || s.in[first] != '-' && s.in[first] != '/' && s.in[first] != '.' {
		return 0
	}
	second := s.digits(first + 1)
	if second >= len(s.in) || s.in[second] != s.in[first] {
		return 0
	}
	third := s.digits(second + 1)
	a, b, c := first-i, second-first-1, third-second-1
	if b < 1 || b > 2 {
		return 0
	}
	if a == 4 && c >= 1 && c <= 2 && s.in[first] != '.' || a >= 1 && a <= 2 && c == 4 {
		return third
	}
	return 0
}

// clock returns the end of 15:04, 15:04:05 or 15:04:05.000, with a time zone if
// there is one; zero if there is no time of day.
func (s *scanner) clock(i int) int {
	end := s.digits(i)
	if end == i || end > i+2 || end >= len(s.in) || s.in[end] != ':' {
		return 0
	}
	i = end + 1
	if end = s.digits(i); end != i+2 {
		return 0
	}
	if end < len(s.in) && s.in[end] == ':' {
		seconds := s.digits(end + 1)
		if seconds != end+3 {
			return 0
		}
		end = seconds
		if end+1 < len(s.in) && (s.in[end] == '.' || s.in[end] == ',') && isDigit(s.in[end+1]) {
			end = s.digits(end + 1)
		}
	}
	return s.zone(end)
}

// zone returns the end of the time zone at i, or i if there is none.
func (s *scanner) zone(i int) int {
	if i >= len(s.in) {
		return i
	}
	switch s.in[i] {
	case 'Z', 'z':
		if s.boundary(i + 1) {
			return i + 1
		}
	case '+', '-':
		end := s.digits(i + 1)
		switch end - i - 1 {
		case 4:
			return end
		case 2:
			if minutes := s.digits(min(end+1, len(s.in))); end < len(s.in) && s.in[end] == ':' && minutes == end+3 {
				return minutes
			}
			return end
		}
	}
	return i
}

// compact returns the end of 20060102T150405 with or without a Z, zero if there
// is none.
func (s *scanner) compact(w shape) int {
	n := w.end - s.pos
	if n != 15 && n != 16 || w.digits != 14 || s.in[s.pos+8] != 'T' {
		return 0
	}
	if n == 16 && s.in[s.pos+15] != 'Z' {
		return 0
	}
	return w.end
}

// calendar reports whether a word is the name of a month before a number, or of
// a day of the week before a number or month.
func (s *scanner) calendar(word string) bool {
	if len(word) < 3 || len(word) > 9 || !isUpper(word[0]) {
		return false
	}
	month := isMonth(word)
	if !month && !isWeekday(word) {
		return false
	}
	i := s.pos + len(word)
	if i < len(s.in) && s.in[i] == ',' {
		i++
	}
	start := i
	for i < len(s.in) && isSpace(s.in[i]) {
		i++
	}
	if i == start || i >= len(s.in) {
		return false
	}
	if isDigit(s.in[i]) {
		return true
	}
	end := i
	for end < len(s.in) && isWord(s.in[end]) {
		end++
	}
	return !month && s.boundary(end) && isMonth(s.in[i:end])
}

func isMonth(word string) bool {
	switch word {
	case "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
		"January", "February", "March", "April", "June", "July", "August", "September",
		"October", "November", "December":
		return true
	}
	return false
}

func isWeekday(word string) bool {
	switch word {
	case "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun",
		"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday":
		return true
	}
	return false
}

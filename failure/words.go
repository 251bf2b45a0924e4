package failure

import "strings"

// longWord is the length from which a word of ASCII letters is no word.
const longWord = 64

// shape is what a word is made of.
type shape struct {
	end                    int
	digits, runs           int // digits, and runs of them
	upper, lower, notASCII int
	hex                    bool
}

func (s *scanner) shape() shape {
	w := shape{end: s.pos, hex: true}
	inDigits := false
	for ; w.end < len(s.in) && isWord(s.in[w.end]); w.end++ {
		c := s.in[w.end]
		switch {
		case isDigit(c):
			w.digits++
			if !inDigits {
				w.runs++
			}
			inDigits = true
			continue
		case isUpper(c):
			w.upper++
		case isLower(c):
			w.lower++
		default:
			w.notASCII++
		}
		inDigits = false
		w.hex = w.hex && isHex(c)
	}
	return w
}

// word reads one word, and what belongs to it if it begins something larger.
func (s *scanner) word() {
	// What follows a placeholder may be the rest of a word that had a number in
	// it, and is never the beginning of something larger.
	whole := s.end != endsPlaceholder
	w := s.shape()
	if whole && s.pos >= s.runEnd && s.inRun(w) && s.randomRun() {
		return
	}
	text := s.in[s.pos:w.end]
	switch {
	case whole && w.hex && (len(text) == 8 && s.uuid() || len(text) <= 4 && s.address()):
	case w.digits == 0:
		s.letters(text, w.notASCII > 0)
	case s.code(text, w):
	case isDigit(text[0]) && (s.timestamp(w) || s.duration() || s.number(w)):
	default:
		s.mixed(text, w)
	}
}

// letters reads a word without digits, or the part of one between digits.
func (s *scanner) letters(text string, notASCII bool) {
	if s.end == endsOpen && s.calendar(text) {
		s.pos += len(text)
		s.place(holdTime)
		return
	}
	expect := s.expect
	s.pos += len(text)
	if len(text) > longWord && !notASCII {
		s.place(holdID)
		return
	}
	s.keep(text)
	s.expect = expect.after(text)
}

// mixed reads a word of letters and digits.
func (s *scanner) mixed(text string, w shape) {
	switch {
	case isName(text):
		s.pos = w.end
		s.keep(text)
		s.expect = expectNothing
	case w.notASCII == 0 && isRandom(text, w):
		s.pos = w.end
		s.place(holdID)
		// The padding of base64.
		for range 2 {
			if s.pos < len(s.in) && s.in[s.pos] == '=' {
				s.pos++
			}
		}
	default:
		s.pieces(w.end)
	}
}

// pieces puts a placeholder for each run of digits of a word and keeps the
// letters.
func (s *scanner) pieces(end int) {
	for s.pos < end && !s.full {
		start, notASCII := s.pos, false
		if isDigit(s.in[start]) {
			for s.pos < end && isDigit(s.in[s.pos]) {
				s.pos++
			}
			s.place(holdNumber)
			continue
		}
		i := start
		for i < end && !isDigit(s.in[i]) {
			notASCII = notASCII || s.in[i] >= 0x80
			i++
		}
		s.pos = i
		if i-start > longWord && !notASCII {
			s.place(holdID)
			continue
		}
		s.keep(s.in[start:i])
		s.expect = expectNothing
	}
}

// isRandom reports whether a word with digits looks like an identifier that a
// machine made.
func isRandom(text string, w shape) bool {
	n := len(text)
	switch {
	case n > 2 && text[0] == '0' && text[1]|0x20 == 'x' && isHexText(text[2:]):
		return true
	case w.hex && n >= 7:
		return true
	case w.runs >= 2 && n >= 5:
		return true
	case n > 24:
		return true
	}
	return n >= 10 && w.lower > 0 && w.upper*3 >= n
}

// inRun reports whether a word can be the beginning of a random token: it has
// digits, or a dash or underscore goes on from it. It spares the plain words a
// second look.
func (s *scanner) inRun(w shape) bool {
	return w.digits > 0 || w.end < len(s.in) && (s.in[w.end] == '-' || s.in[w.end] == '_')
}

// randomRun takes out tokens such as base64url, whose dashes and underscores
// separate no words: letters and digits change too often in them.
func (s *scanner) randomRun() bool {
	upper, lower, changes := 0, 0, 0
	i := s.pos
	for i < len(s.in) && isLower(s.in[i]) {
		i++
	}
	if i > s.pos && i < len(s.in) && s.in[i] == '_' {
		// A prefix that names the kind of token, such as cus_ or sk_live_.
		return false
	}
	for i = s.pos; i < len(s.in); i++ {
		c := s.in[i]
		if c >= 0x80 || !isWord(c) && c != '-' && c != '_' {
			break
		}
		switch {
		case isUpper(c):
			upper++
		case isLower(c):
			lower++
		}
		if i > s.pos && isWord(c) && isWord(s.in[i-1]) && isDigit(c) != isDigit(s.in[i-1]) {
			changes++
		}
	}
	s.runEnd = i
	if i-s.pos < 24 || changes < 5 || upper < 3 || lower < 3 {
		return false
	}
	s.pos = i
	s.place(holdID)
	return true
}

// isName reports whether the digits of a word are part of a well-known name.
func isName(text string) bool {
	if len(text) > 8 {
		return false
	}
	var buf [8]byte
	for i := range len(text) {
		c := text[i]
		if isUpper(c) {
			c |= 0x20
		}
		buf[i] = c
	}
	switch string(buf[:len(text)]) {
	case "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
		"i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64",
		"float32", "float64", "win32", "x86", "amd64", "arm64", "x64",
		"utf8", "utf16", "utf32", "latin1", "base32", "base64", "ascii85",
		"md4", "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3", "crc32",
		"x509", "ed25519", "rs256", "hs256", "es256", "aes128", "aes256", "p256",
		"ipv4", "ipv6", "http1", "http2", "http3", "h2", "h2c", "oauth2", "tls1",
		"s3", "ec2", "k8s", "log4j", "slf4j", "db2", "neo4j", "lz4", "mp3", "mp4", "sqlite3":
		return true
	}
	return false
}

func isHexText(text string) bool {
	for i := range len(text) {
		if !isHex(text[i]) {
			return false
		}
	}
	return true
}

// expectation says whether a number is about to name the failure.
type expectation uint8

const (
	expectNothing  expectation = iota
	expectQualify              // after "error": "code" may follow
	expectStatus               // after "status": up to three digits
	expectSQLState             // after "SQLSTATE": five letters and digits
	expectORA                  // after "ORA": up to five digits
)

// after returns what is expected after the word.
func (e expectation) after(word string) expectation {
	switch len(word) {
	case 3:
		if word == "ORA" {
			return expectORA
		}
	case 4:
		if strings.EqualFold(word, "http") || strings.EqualFold(word, "exit") {
			return expectStatus
		}
		if e != expectNothing && strings.EqualFold(word, "code") {
			return expectStatus
		}
	case 5:
		if strings.EqualFold(word, "errno") {
			return expectStatus
		}
		if strings.EqualFold(word, "error") {
			return expectQualify
		}
	case 6:
		if strings.EqualFold(word, "status") || strings.EqualFold(word, "signal") {
			return expectStatus
		}
		if strings.EqualFold(word, "return") || strings.EqualFold(word, "result") {
			return expectQualify
		}
	case 8:
		if strings.EqualFold(word, "sqlstate") {
			return expectSQLState
		}
		if strings.EqualFold(word, "response") {
			return expectQualify
		}
	case 10:
		if strings.EqualFold(word, "statuscode") {
			return expectStatus
		}
	}
	return expectNothing
}

// code keeps a number that names the failure.
func (s *scanner) code(text string, w shape) bool {
	n := len(text)
	digits := w.digits == n
	switch {
	case s.expect == expectStatus && digits && n <= 3:
	case s.expect == expectORA && digits && n <= 5:
	case s.expect == expectSQLState && n == 5 && w.digits+w.upper == n:
	default:
		return false
	}
	// Not when it is the beginning of something longer.
	if w.end < len(s.in)-1 && strings.IndexByte(".,:-/", s.in[w.end]) >= 0 && isDigit(s.in[w.end+1]) {
		return false
	}
	s.pos = w.end
	s.keep(text)
	s.expect = expectNothing
	return true
}

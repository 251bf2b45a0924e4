package failure

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNormal is the largest result of Normalise in bytes.
const MaxNormal = 512

// maxScanned is how much of a message Normalise reads.
const maxScanned = 4096

// What stands for the parts that are taken out.
const (
	holdNumber   = "<n>"
	holdID       = "<id>"
	holdTime     = "<time>"
	holdDuration = "<dur>"
	holdIP       = "<ip>"
	holdPath     = "<path>"
	holdQuoted   = "<q>"
	holdEmail    = "<email>"
)

// Normalise returns the message without what differs from one failure to the
// next of the same cause:
//
//	<n>      numbers, also at the end of a word, as in worker<n>
//	<id>     UUIDs, hexadecimal, base64 and other random-looking words
//	<time>   dates and times
//	<dur>    durations such as 1m30s and 150ms
//	<ip>     IP addresses, with their port
//	<path>   absolute and ./relative paths of Unix and Windows
//	<q>      anything between "", '' or ``
//	<email>  e-mail addresses
//
// Of a URL, scheme and host stay. A number after a word like "status", "exit
// code", "errno", "SQLSTATE" or "HTTP" stays, because it names the failure; so
// do the digits of names such as utf8, int64 and sha256. Runs of white space
// become one space, and lists of the same placeholder become one.
//
// The result is valid UTF-8 of at most MaxNormal bytes and is its own normal
// form: Normalise(Normalise(s)) == Normalise(s). The cost is linear in the
// length of the message.
func Normalise(message string) string {
	return string(appendNormal(make([]byte, 0, normalRoom(message)), message))
}

// normalRoom is what the normal form of a message needs in most cases.
func normalRoom(message string) int { return min(MaxNormal, len(message)+len(message)/4+16) }

// appendNormal appends the normal form of the message to dst.
func appendNormal(dst []byte, message string) []byte {
	s := scanner{in: simplify(clip(message, maxScanned)), out: dst, base: len(dst)}
	s.scan()
	return s.finish()
}

// simplify maps the typographic variants of spaces and quotes to the plain
// ones, so that the scanner knows only those.
func simplify(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return clip(strings.Map(simple, s), maxScanned)
		}
	}
	return s
}

func simple(r rune) rune {
	switch r {
	case '“', '”', '„', '«', '»':
		return '"'
	case '‘', '’', '‚':
		return '\''
	}
	if r >= utf8.RuneSelf && (unicode.IsSpace(r) || unicode.IsControl(r)) {
		return ' '
	}
	return r
}

// ending says what the output ends with. The scanner decides by the output and
// by what lies ahead in the input, never by what was taken out: that is what
// makes a normal form its own normal form.
type ending uint8

const (
	endsOpen ending = iota // nothing, space or punctuation
	endsWord
	endsPlaceholder
)

// scanner makes a normal form in one pass.
type scanner struct {
	in   string
	pos  int
	out  []byte
	base int // where the normal form begins in out
	full bool
	end  ending
	// expect says whether a number here would name the failure.
	expect expectation
	// last is the newest placeholder and lastEnd where it ends in out, to join
	// lists.
	last    string
	lastEnd int
	// unclosed has the quotes that no longer have a partner ahead.
	unclosed [128]bool
	// runEnd is the end of the run that was last checked for being random.
	runEnd int
}

func (s *scanner) scan() {
	for s.pos < len(s.in) && !s.full {
		switch c := s.in[s.pos]; {
		case isSpace(c):
			s.space()
		case c == '"' || c == '\'' || c == '`':
			s.quote(c)
		case c == '<' && placeholderAt(s.in, s.pos) != "":
			p := placeholderAt(s.in, s.pos)
			s.pos += len(p)
			s.place(p)
		case isDelimiter(c):
			s.punct(c)
		default:
			s.blob()
		}
	}
}

// finish cuts a form that did not fit where the cut changes the reading of
// nothing before it.
func (s *scanner) finish() []byte {
	if s.full {
		s.out = s.out[:s.cut()]
	}
	for len(s.out) > s.base && s.out[len(s.out)-1] == ' ' {
		s.out = s.out[:len(s.out)-1]
	}
	if s.full && len(s.out) == s.base {
		// One token without an end.
		return append(s.out, holdID...)
	}
	return s.out
}

// cut returns the last place where what goes before is read alike with and
// without what follows: before a space or delimiter, which end all words, or
// after a rune that is not ASCII, which no recognised form ends with. The angle
// brackets are no such place: a placeholder may stand for the rest of a word.
func (s *scanner) cut() int {
	for i := len(s.out); i > s.base; i-- {
		switch c := s.out[i-1]; {
		case c >= utf8.RuneSelf:
			return i
		case c != '<' && c != '>' && (isSpace(c) || isDelimiter(c)):
			return i - 1
		}
	}
	return s.base
}

// fits reports whether n more bytes have room, and ends the scan if not.
func (s *scanner) fits(n int) bool {
	if len(s.out)-s.base+n > MaxNormal {
		s.full = true
	}
	return !s.full
}

// place writes a placeholder for what was read.
func (s *scanner) place(p string) {
	s.end, s.expect = endsPlaceholder, expectNothing
	if s.last == p {
		switch string(s.out[s.lastEnd:]) {
		case " ", ",", ", ":
			s.out = s.out[:s.lastEnd]
			return
		}
	}
	if s.fits(len(p)) {
		s.out = append(s.out, p...)
		s.last, s.lastEnd = p, len(s.out)
	}
}

// keep writes a word as it is.
func (s *scanner) keep(word string) {
	s.end = endsWord
	if s.fits(len(word)) {
		s.out = append(s.out, word...)
		return
	}
	// A word of a language without spaces can be longer than all the room.
	for _, r := range word {
		if r < utf8.RuneSelf || len(s.out)-s.base+utf8.RuneLen(r) > MaxNormal {
			return
		}
		s.out = utf8.AppendRune(s.out, r)
	}
}

// punct copies one byte of punctuation.
func (s *scanner) punct(c byte) {
	s.pos++
	s.end = endsOpen
	if !isLink(c) {
		s.expect = expectNothing
	}
	if s.fits(1) {
		s.out = append(s.out, c)
	}
}

func (s *scanner) space() {
	for s.pos < len(s.in) && isSpace(s.in[s.pos]) {
		s.pos++
	}
	s.end = endsOpen
	if len(s.out) > s.base && s.out[len(s.out)-1] != ' ' && s.fits(1) {
		s.out = append(s.out, ' ')
	}
}

// quote takes out what is quoted. An apostrophe inside a word opens nothing,
// nor does a quote after a backslash.
func (s *scanner) quote(c byte) {
	escaped := len(s.out) > s.base && s.out[len(s.out)-1] == '\\'
	if escaped || s.unclosed[c] || c == '\'' && s.end != endsOpen {
		s.punct(c)
		return
	}
	for i := s.pos + 1; i < len(s.in); i++ {
		if s.in[i] == c && s.in[i-1] != '\\' {
			s.pos = i + 1
			s.place(holdQuoted)
			return
		}
	}
	s.unclosed[c] = true
	s.punct(c)
}

// blobEnd returns where the blob at i ends: at the next space, quote or
// delimiter.
func (s *scanner) blobEnd(i int) int {
	for i < len(s.in) && !isSpace(s.in[i]) && !isDelimiter(s.in[i]) && !isQuote(s.in[i]) {
		i++
	}
	return i
}

// core returns where the blob ends without the punctuation of the sentence, and
// without a backslash, which may belong to a quote that follows.
func (s *scanner) core(end, least int) int {
	for end > least && strings.IndexByte(`.:!?\`, s.in[end-1]) >= 0 {
		end--
	}
	return end
}

// blob reads one blob: something larger than a word, if it begins like one and
// nothing goes before it, else word by word.
func (s *scanner) blob() {
	end := s.blobEnd(s.pos)
	if s.end != endsOpen {
		s.words(end)
		return
	}
	if scheme := schemeLen(s.in[s.pos:end]); scheme > 0 {
		s.url(s.pos+scheme, end)
		return
	}
	core := s.core(end, s.pos)
	text := s.in[s.pos:core]
	switch {
	case isPath(text):
		s.pos = core
		s.place(holdPath)
	case hasEmail(text):
		s.pos = core
		s.place(holdEmail)
	default:
		if len(text) > 1 && (text[0] == '-' || text[0] == '+') && isDigit(text[1]) {
			s.pos++
		}
		s.words(end)
	}
}

// url keeps scheme and host. The scheme ends at start, the blob at end; a query
// goes on behind it.
func (s *scanner) url(start, end int) {
	if !s.fits(start - s.pos) {
		return
	}
	s.out = append(s.out, s.in[s.pos:start]...)
	s.end, s.expect = endsOpen, expectNothing
	host := start
	for host < end && strings.IndexByte("/?#", s.in[host]) < 0 {
		host++
	}
	for end < len(s.in) && s.goesOn(end) {
		end = s.blobEnd(end + 1)
	}
	end = s.core(end, start)
	host = min(host, end)
	s.pos = start + strings.LastIndexByte(s.in[start:host], '@') + 1
	if colon := strings.IndexByte(s.in[s.pos:host], ':'); colon >= 0 {
		host = s.pos + colon
	}
	s.words(host)
	s.pos = max(s.pos, end)
}

// goesOn reports whether a URL goes on with the delimiter at i.
func (s *scanner) goesOn(i int) bool {
	switch s.in[i] {
	case '=':
		return true
	case ',', ';', '|':
		return i+1 < len(s.in) && isWord(s.in[i+1])
	}
	return false
}

// words reads words and the punctuation between them up to end.
func (s *scanner) words(end int) {
	for s.pos < end && !s.full {
		c := s.in[s.pos]
		switch {
		case isWord(c):
			s.word()
		case c == ':' && s.end == endsOpen && s.address():
		default:
			s.punct(c)
		}
	}
}

// placeholderAt returns the placeholder that begins at i, empty if none does.
func placeholderAt(in string, i int) string {
	if i >= len(in) || in[i] != '<' {
		return ""
	}
	end := strings.IndexByte(in[i:min(len(in), i+len(holdEmail))], '>')
	if end < 0 {
		return ""
	}
	switch p := in[i : i+end+1]; p {
	case holdNumber, holdID, holdTime, holdDuration, holdIP, holdPath, holdQuoted, holdEmail:
		return p
	}
	return ""
}

// boundary reports whether no word goes on at i. A placeholder may stand for
// the rest of a word and is none.
func (s *scanner) boundary(i int) bool {
	return i >= len(s.in) || !isWord(s.in[i]) && placeholderAt(s.in, i) == ""
}

func isSpace(c byte) bool { return c <= ' ' || c == 0x7f }

func isQuote(c byte) bool { return c == '"' || c == '\'' || c == '`' }

func isDigit(c byte) bool { return c-'0' < 10 }

func isUpper(c byte) bool { return c-'A' < 26 }

func isLower(c byte) bool { return c-'a' < 26 }

func isHex(c byte) bool { return isDigit(c) || (c|0x20)-'a' < 6 }

// isWord takes every byte of a rune that is not ASCII for a letter.
func isWord(c byte) bool { return (c|0x20)-'a' < 26 || isDigit(c) || c >= utf8.RuneSelf }

// isDelimiter reports whether a blob ends at c.
func isDelimiter(c byte) bool {
	switch c {
	case '(', ')', '[', ']', '{', '}', '<', '>', ',', ';', '=', '|':
		return true
	}
	return false
}

// isLink reports whether c may stand between a word such as "status" and the
// number that belongs to it.
func isLink(c byte) bool {
	switch c {
	case '=', ':', '(', '[', '-', '_', '/', '#':
		return true
	}
	return false
}

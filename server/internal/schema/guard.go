package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may be nested in a body or a schema.
const MaxDepth = 64

const (
	maxNumber   = 1000 // characters of a number
	maxExponent = 1000 // absolute value of its exponent
)

// parse decodes one JSON value with its numbers as they are written. It refuses
// what would cost more time or memory than its size, before any of it is built.
// Its errors do not repeat the input.
func parse(raw []byte) (any, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, errors.New("is empty; want JSON")
	}
	if !utf8.Valid(raw) {
		return nil, errors.New("is not valid UTF-8")
	}
	if err := guard(raw); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("is not valid JSON (%s)", jsonProblem(err, len(raw)))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("is not valid JSON (more data after the end of the value)")
	}
	return v, nil
}

// jsonProblem says where the JSON breaks. The text of the error itself quotes a
// character of the body.
func jsonProblem(err error, size int) string {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && syntax.Offset < int64(size) {
		return "wrong at byte " + strconv.FormatInt(syntax.Offset, 10)
	}
	return "it ends too early"
}

// guard checks depth and numbers in one pass. It need not understand all of JSON:
// what it lets through is parsed after it.
func guard(raw []byte) error {
	depth := 0
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			i = stringEnd(raw, i)
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return fmt.Errorf("is nested deeper than %d levels", MaxDepth)
			}
		case c == '}' || c == ']':
			depth--
		case c == '-' || '0' <= c && c <= '9':
			end := i
			for end < len(raw) && strings.IndexByte("+-.eE0123456789", raw[end]) >= 0 {
				end++
			}
			if !smallNumber(string(raw[i:min(end, i+maxNumber+1)])) {
				return fmt.Errorf("has a number of more than %d characters or with an exponent beyond ±%d", maxNumber, maxExponent)
			}
			i = end - 1
		}
	}
	return nil
}

// stringEnd returns the index of the quote that ends the string that starts at i,
// or the last index.
func stringEnd(raw []byte, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(raw) - 1
}

func smallNumber(n string) bool {
	if len(n) > maxNumber {
		return false
	}
	at := strings.IndexAny(n, "eE")
	if at < 0 {
		return true
	}
	exp, err := strconv.Atoi(n[at+1:])
	// What is no number at all is for the parser to refuse.
	return errors.Is(err, strconv.ErrSyntax) || err == nil && -maxExponent <= exp && exp <= maxExponent
}

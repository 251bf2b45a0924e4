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

	// Exact arithmetic writes an exponent out in digits, so seven characters can
	// become a thousand. These bound the sum over a body, by itself and per byte.
	freeDigits = 256 << 10
	digitsPer  = 8
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
	depth, digits := 0, freeDigits+digitsPer*len(raw)
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
			exp, ok := exponent(raw[i:end])
			if !ok {
				return fmt.Errorf("has a number of more than %d characters or with an exponent beyond ±%d", maxNumber, maxExponent)
			}
			if digits -= exp; digits < 0 {
				return errors.New("has too many numbers with large exponents")
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

// exponent returns the absolute value of a number's exponent, and whether the
// number is within its bounds. What is no number at all is for the parser to
// refuse.
func exponent(number []byte) (int, bool) {
	if len(number) > maxNumber {
		return 0, false
	}
	at := bytes.IndexAny(number, "eE")
	if at < 0 {
		return 0, true
	}
	exp, err := strconv.Atoi(string(number[at+1:]))
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, true
	}
	exp = max(exp, -exp)
	return exp, err == nil && exp <= maxExponent
}

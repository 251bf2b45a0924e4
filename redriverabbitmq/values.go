package redriverabbitmq

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The port carries the value of a header as bytes, and AMQP as one of some twenty
// types. textOf and valueOf translate between them without loss: the text is what
// people and handlers read, and the code of the type travels beside it, in
// HeaderTypes.

// Codes of the field types of AMQP 0-9-1 as RabbitMQ reads them.
const (
	codeString = "S"
	codeNull   = "V"
)

// textOf returns the text of a field value and the code of its type, which is
// empty for a string.
func textOf(v any) (text []byte, code string) {
	switch v := v.(type) {
	case string:
		return []byte(v), ""
	case []byte:
		return v, "x"
	case amqp.Table, []any:
		raw, err := json.Marshal(treeOf(v, true))
		if err != nil {
			return nil, codeNull // Trees of strings always marshal.
		}
		if _, table := v.(amqp.Table); table {
			return raw, "F"
		}
		return raw, "A"
	}
	s, code := scalarText(v)
	return []byte(s), code
}

func scalarText(v any) (text, code string) {
	switch v := v.(type) {
	case nil:
		return "", codeNull
	case bool:
		return strconv.FormatBool(v), "t"
	case int8:
		return strconv.FormatInt(int64(v), 10), "b"
	case byte:
		return strconv.FormatUint(uint64(v), 10), "B"
	case int16:
		return strconv.FormatInt(int64(v), 10), "s"
	case uint16:
		return strconv.FormatUint(uint64(v), 10), "u"
	case int32:
		return strconv.FormatInt(int64(v), 10), "I"
	case uint32:
		return strconv.FormatUint(uint64(v), 10), "i"
	case int64:
		return strconv.FormatInt(v, 10), "l"
	case float32:
		return floatText(float64(v), 32), "f"
	case float64:
		return floatText(v, 64), "d"
	case amqp.Decimal:
		return decimalText(v), "D"
	case time.Time:
		return timeText(v), "T"
	}
	return fmt.Sprint(v), codeString
}

// floatText keeps the bits of what is not a number: there are many of them.
func floatText(v float64, bits int) string {
	if math.IsNaN(v) {
		if bits == 32 {
			return "NaN:" + strconv.FormatUint(uint64(math.Float32bits(float32(v))), 16)
		}
		return "NaN:" + strconv.FormatUint(math.Float64bits(v), 16)
	}
	return strconv.FormatFloat(v, 'g', -1, bits)
}

func parseFloat(s string, bits int) (float64, error) {
	raw, nan := strings.CutPrefix(s, "NaN:")
	if !nan {
		return strconv.ParseFloat(s, bits)
	}
	n, err := strconv.ParseUint(raw, 16, bits)
	if bits == 32 {
		return float64(math.Float32frombits(uint32(n))), err
	}
	return math.Float64frombits(n), err
}

// decimalText writes as many digits after the point as the scale says.
func decimalText(d amqp.Decimal) string {
	digits, sign := strconv.FormatInt(int64(d.Value), 10), ""
	if rest, negative := strings.CutPrefix(digits, "-"); negative {
		digits, sign = rest, "-"
	}
	if d.Scale == 0 {
		return sign + digits
	}
	if short := int(d.Scale) + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	point := len(digits) - int(d.Scale)
	return sign + digits[:point] + "." + digits[point:]
}

func parseDecimal(s string) (amqp.Decimal, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	if len(fraction) > math.MaxUint8 {
		return amqp.Decimal{}, errors.New("more than 255 digits after the point")
	}
	v, err := strconv.ParseInt(whole+fraction, 10, 32)
	return amqp.Decimal{Scale: uint8(len(fraction)), Value: int32(v)}, err
}

// timeText is RFC 3339 for the years that it has, else Unix seconds.
func timeText(t time.Time) string {
	if u := t.UTC(); u.Year() >= 0 && u.Year() <= 9999 {
		return u.Format(time.RFC3339)
	}
	return strconv.FormatInt(t.Unix(), 10)
}

func parseTime(s string) (time.Time, error) {
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(seconds, 0), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	return t, err
}

// treeOf makes a value for JSON: strings, booleans, null and 64-bit integers are
// themselves, a list is a list, a table is an object (within another value under
// the key "F"), and everything else is an object of one key, the type's code.
func treeOf(v any, top bool) any {
	switch v := v.(type) {
	case string:
		if utf8.ValidString(v) {
			return v
		}
		return map[string]any{codeString: base64.StdEncoding.EncodeToString([]byte(v))}
	case []byte:
		return map[string]any{"x": base64.StdEncoding.EncodeToString(v)}
	case bool, nil:
		return v
	case int64:
		return json.Number(strconv.FormatInt(v, 10))
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = treeOf(v[i], false)
		}
		return out
	case amqp.Table:
		out := make(map[string]any, len(v))
		for name, value := range v {
			out[encodeName(name)] = treeOf(value, false)
		}
		if top {
			return out
		}
		return map[string]any{"F": out}
	}
	text, code := scalarText(v)
	return map[string]any{code: text}
}

// valueOf is the inverse of textOf.
func valueOf(text []byte, code string) (any, error) {
	switch code {
	case "", codeString:
		return string(text), nil
	case "x":
		return bytes.Clone(text), nil
	case "F", "A":
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var tree any
		if err := decoder.Decode(&tree); err != nil {
			return nil, err
		}
		if object, ok := tree.(map[string]any); ok && code == "F" {
			return tableOf(object)
		}
		if list, ok := tree.([]any); ok && code == "A" {
			return listOf(list)
		}
		return nil, fmt.Errorf("want a value of type %s", code)
	}
	return scalarOf(string(text), code)
}

func scalarOf(s, code string) (any, error) {
	switch code {
	case codeNull:
		return nil, nil //nolint:nilnil // the null of AMQP
	case "t":
		return strconv.ParseBool(s)
	case "b":
		n, err := strconv.ParseInt(s, 10, 8)
		return int8(n), err
	case "B":
		n, err := strconv.ParseUint(s, 10, 8)
		return byte(n), err
	case "s":
		n, err := strconv.ParseInt(s, 10, 16)
		return int16(n), err
	case "u":
		n, err := strconv.ParseUint(s, 10, 16)
		return uint16(n), err
	case "I":
		n, err := strconv.ParseInt(s, 10, 32)
		return int32(n), err
	case "i":
		n, err := strconv.ParseUint(s, 10, 32)
		return uint32(n), err
	case "l":
		return strconv.ParseInt(s, 10, 64)
	case "f":
		n, err := parseFloat(s, 32)
		return float32(n), err
	case "d":
		return parseFloat(s, 64)
	case "D":
		return parseDecimal(s)
	case "T":
		return parseTime(s)
	}
	return nil, fmt.Errorf("field type %q is not known", code)
}

func tableOf(object map[string]any) (amqp.Table, error) {
	out := make(amqp.Table, len(object))
	for name, tree := range object {
		v, err := fromTree(tree)
		if err != nil {
			return nil, err
		}
		out[decodeName(name)] = v
	}
	return out, nil
}

func listOf(list []any) ([]any, error) {
	out := make([]any, len(list))
	for i := range list {
		v, err := fromTree(list[i])
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func fromTree(tree any) (any, error) {
	switch tree := tree.(type) {
	case json.Number:
		return strconv.ParseInt(tree.String(), 10, 64)
	case []any:
		return listOf(tree)
	case map[string]any:
		for code, v := range tree {
			return fromPair(code, v)
		}
		return nil, errors.New("a value without a type")
	}
	return tree, nil
}

func fromPair(code string, v any) (any, error) {
	if object, ok := v.(map[string]any); ok && code == "F" {
		return tableOf(object)
	}
	s, ok := v.(string)
	if !ok {
		return nil, fmt.Errorf("want a text for field type %q", code)
	}
	if code == codeString || code == "x" {
		raw, err := base64.StdEncoding.DecodeString(s)
		if code == codeString {
			return string(raw), err
		}
		return raw, err
	}
	return scalarOf(s, code)
}

// encodeName makes the name of a header fit for JSON, which has no bytes but
// UTF-8.
func encodeName(name string) string {
	if utf8.ValidString(name) && !strings.HasPrefix(name, "=") {
		return name
	}
	return "=" + base64.StdEncoding.EncodeToString([]byte(name))
}

func decodeName(name string) string {
	if raw, ok := strings.CutPrefix(name, "="); ok {
		if b, err := base64.StdEncoding.DecodeString(raw); err == nil {
			return string(b)
		}
	}
	return name
}

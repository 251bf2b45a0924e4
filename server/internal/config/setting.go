package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Setting describes one setting: a field of one of the structs, as its tags
// declare it. Defaults, bounds, the JSON Schema and the reference page are all
// made from it.
type Setting struct {
	// Name is the key in the file.
	Name string
	// Owner is the struct that declares the field, which an inlined struct is not
	// told apart from, and Field the name of the field there.
	Owner reflect.Type
	Field string
	// Type is the type of the field.
	Type reflect.Type
	// Default is the built-in value as it would be written, and DefaultText says
	// in words what it depends on.
	Default, DefaultText string
	// Enum are the allowed values; for a map those of its values.
	Enum []string
	// Min and Max are allowed bounds, Above a bound that is not allowed itself.
	Min, Max, Above string
	// Off is the value outside of the bounds that turns a rule off.
	Off string
	// Required settings must be given.
	Required bool
	// For are the broker types that take the setting, empty for every type.
	For []string
	// OneOf names the group of settings of which exactly one is given.
	OneOf string
	// Example is a value for the reference page.
	Example string

	index []int
}

// Settings returns the settings of a struct in the order of the reference,
// those of inlined structs in their place.
func Settings(t reflect.Type) []Setting {
	var out []Setting
	for i := range t.NumField() {
		f := t.Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if option == "inline" {
			for _, s := range Settings(f.Type) {
				s.index = append([]int{i}, s.index...)
				out = append(out, s)
			}
			continue
		}
		if name == "" {
			continue
		}
		s := Setting{
			Name: name, Owner: t, Field: f.Name, Type: f.Type, index: []int{i},
			Default: f.Tag.Get("default"), DefaultText: f.Tag.Get("defaulttext"),
			Min: f.Tag.Get("min"), Max: f.Tag.Get("max"), Above: f.Tag.Get("above"), Off: f.Tag.Get("off"),
			Required: f.Tag.Get("required") == "true", OneOf: f.Tag.Get("oneof"),
			Example: f.Tag.Get("example"),
		}
		if e := f.Tag.Get("enum"); e != "" {
			s.Enum = strings.Split(e, ",")
		}
		if types := f.Tag.Get("for"); types != "" {
			s.For = strings.Split(types, ",")
		}
		out = append(out, s)
	}
	return out
}

// applies reports whether a setting is taken by the struct it stands in: those
// of a broker depend on its type.
func (s Setting) applies(owner reflect.Value) bool {
	b, ok := reflect.TypeAssert[Broker](owner)
	return !ok || s.TakenBy(b.Type)
}

// TakenBy reports whether a broker of a type takes the setting.
func (s Setting) TakenBy(brokerType string) bool {
	return len(s.For) == 0 || slices.Contains(s.For, brokerType)
}

// check says what is wrong with a value that is set, and what to do; two empty
// strings if nothing is.
func (s Setting) check(v reflect.Value) (text, hint string) {
	switch v.Kind() {
	case reflect.String:
		if len(s.Enum) > 0 {
			return s.checkEnum(v.String())
		}
	case reflect.Int, reflect.Int64, reflect.Float64:
		return s.checkRange(v)
	}
	return "", ""
}

func (s Setting) checkEnum(got string) (text, hint string) {
	if slices.Contains(s.Enum, got) {
		return "", ""
	}
	text = fmt.Sprintf("%s is not one of %s", quoted(got), strings.Join(s.Enum, ", "))
	if near := nearest(got, s.Enum); near != "" {
		return text, fmt.Sprintf("did you mean %q?", near)
	}
	return text, "use one of them"
}

func (s Setting) checkRange(v reflect.Value) (text, hint string) {
	got := number(v)
	if math.IsNaN(got) || math.IsInf(got, 0) {
		return "is not a number", "write a plain number"
	}
	shown := scalarText(v)
	if s.Off != "" && shown == s.Off {
		return "", ""
	}
	turnOff := ""
	if s.Off != "" {
		turnOff = ", or " + s.Off + " to turn it off"
	}
	for _, e := range s.Enum {
		if shown != e {
			return shown + " is not supported", "write " + strings.Join(s.Enum, " or ")
		}
	}
	if s.Above != "" && got <= s.bound(s.Above) {
		return fmt.Sprintf("%s must be more than %s", shown, s.Above), fmt.Sprintf("write a value up to %s%s", s.Max, turnOff)
	}
	if s.Min != "" && got < s.bound(s.Min) {
		return fmt.Sprintf("%s is below the least allowed value %s", shown, s.Min), "raise it" + turnOff
	}
	if s.Max != "" && got > s.bound(s.Max) {
		return fmt.Sprintf("%s is above the largest allowed value %s", shown, s.Max), "lower it"
	}
	return "", ""
}

// bound reads a bound out of a tag; a test reads every tag once, so that none
// can be wrong.
func (s Setting) bound(text string) float64 {
	v := reflect.New(s.Type).Elem()
	if err := setScalar(v, text); err != nil {
		return math.NaN()
	}
	return number(v)
}

func number(v reflect.Value) float64 {
	if v.CanInt() {
		return float64(v.Int())
	}
	return v.Float()
}

// setScalar writes a text as it stands in a file into a scalar.
func setScalar(v reflect.Value, text string) error {
	switch v.Interface().(type) {
	case Duration:
		d, err := ParseDuration(text)
		v.SetInt(int64(d))
		return err
	case Size:
		n, err := ParseSize(text)
		v.SetInt(int64(n))
		return err
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 0)
		if err != nil {
			return fmt.Errorf("%s is not a whole number", quoted(text))
		}
		v.SetInt(n)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%s is not a number", quoted(text))
		}
		v.SetFloat(f)
	default:
		return fmt.Errorf("a %s cannot be written as text", v.Type())
	}
	return nil
}

// scalarText is the inverse of setScalar.
func scalarText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case fmt.Stringer:
		return x.String()
	case float64:
		if a := math.Abs(x); a < 1e-6 || a >= 1e15 {
			return strconv.FormatFloat(x, 'g', -1, 64)
		}
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}

// quoted shows a value of the user's in a message, shortened.
func quoted(s string) string {
	const most = 40
	r := []rune(s)
	if len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}

package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder turns values into structs and remembers every setting that it could
// not read, so that no rule complains about the same mistake again.
type decoder struct {
	problems []Problem
	failed   map[string]bool
}

func (d *decoder) problem(at Origin, path, text, hint string) {
	d.problems = append(d.problems, Problem{Origin: at, Path: path, Text: text, Hint: hint})
	d.failed[path] = true
}

// into writes v into dst, a field described by s.
func (d *decoder) into(v *value, dst reflect.Value, s Setting, path string) {
	switch dst.Interface().(type) {
	case Secret:
		d.secret(v, dst, path)
		return
	case Duration, Size:
		d.scalar(v, dst, s, path)
		return
	}
	switch dst.Kind() {
	case reflect.Pointer:
		if v.kind == kindNull {
			return
		}
		dst.Set(reflect.New(dst.Type().Elem()))
		d.structure(v, dst.Elem(), path)
	case reflect.Struct:
		d.structure(v, dst, path)
	case reflect.Map:
		d.mapping(v, dst, s, path)
	case reflect.Slice:
		d.list(v, dst, s, path)
	default:
		d.scalar(v, dst, s, path)
	}
}

func (d *decoder) structure(v *value, dst reflect.Value, path string) {
	if v.kind == kindNull {
		return
	}
	if v.kind != kindMapping {
		d.problem(v.origin, path, "want a mapping, found "+v.describe(), "indent its keys below it")
		return
	}
	settings := Settings(dst.Type())
	known := make(map[string]Setting, len(settings))
	for _, s := range settings {
		known[s.Name] = s
	}
	for _, e := range v.entries {
		inner := keyPath(path, e.key)
		s, ok := known[e.key]
		if !ok {
			d.problem(e.origin, inner, "unknown key "+quoted(e.key), unknownKeyHint(dst.Type(), e.key))
			continue
		}
		d.into(e.value, dst.FieldByIndex(s.index), s, inner)
	}
}

func (d *decoder) mapping(v *value, dst reflect.Value, s Setting, path string) {
	if v.kind == kindNull {
		return
	}
	if v.kind != kindMapping {
		d.problem(v.origin, path, "want a mapping, found "+v.describe(), "indent its keys below it")
		return
	}
	if len(v.entries) == 0 {
		return
	}
	out := reflect.MakeMapWithSize(dst.Type(), len(v.entries))
	for _, e := range v.entries {
		item := reflect.New(dst.Type().Elem()).Elem()
		d.into(e.value, item, Setting{Name: e.key, Type: item.Type(), Enum: s.Enum}, keyPath(path, e.key))
		out.SetMapIndex(reflect.ValueOf(e.key), item)
	}
	dst.Set(out)
}

func (d *decoder) list(v *value, dst reflect.Value, s Setting, path string) {
	if v.kind == kindNull {
		return
	}
	if v.kind != kindList {
		d.problem(v.origin, path, "want a list, found "+v.describe(), `start each item with "- "`)
		return
	}
	if len(v.items) == 0 {
		return
	}
	out := reflect.MakeSlice(dst.Type(), len(v.items), len(v.items))
	for i, item := range v.items {
		inner := indexPath(path, i)
		if item.kind == kindNull {
			d.problem(item.origin, inner, "the item is empty", "fill it in or remove it")
			continue
		}
		d.into(item, out.Index(i), Setting{Name: s.Name, Type: out.Index(i).Type()}, inner)
	}
	dst.Set(out)
}

func (d *decoder) scalar(v *value, dst reflect.Value, s Setting, path string) {
	want, hint := wanted(dst)
	if v.kind != kindScalar {
		d.problem(v.origin, path, "want "+want+", found "+v.describe(), hint)
		return
	}
	if v.text == "" {
		d.problem(v.origin, path, "the value is empty", "write "+want+" or remove the key")
		return
	}
	if !tagFits(v.tag, dst) {
		if dst.Kind() == reflect.String {
			hint = fmt.Sprintf("put it in quotes: %q", v.text)
		}
		d.problem(v.origin, path, "want "+want+", found "+v.describe(), hint)
		return
	}
	text := v.text
	if v.tag == "!!int" || v.tag == "!!float" {
		text = plainNumber(v, dst)
	}
	if err := setScalar(dst, text); err != nil {
		dst.SetZero()
		d.problem(v.origin, path, err.Error(), hint)
		return
	}
	if wrong, todo := s.check(dst); wrong != "" {
		dst.SetZero()
		d.problem(v.origin, path, wrong, todo)
	}
}

// wanted says what a field takes, and how to write it.
func wanted(dst reflect.Value) (want, hint string) {
	switch dst.Interface().(type) {
	case Duration:
		return "a duration", "write a number with a unit out of ms, s, m, h, d, such as 30s"
	case Size:
		return "a size", "write a number with a unit out of B, KiB, MiB, GiB, TiB, such as 10GiB"
	}
	switch dst.Kind() {
	case reflect.Int:
		return "a whole number", "write digits, such as 5"
	case reflect.Float64:
		return "a number", "write digits, such as 0.5"
	}
	return "text", "write one value"
}

// tagFits reports whether a scalar of a YAML type can be read into dst.
func tagFits(tag string, dst reflect.Value) bool {
	if tag == "" {
		return true
	}
	switch dst.Interface().(type) {
	case Duration, Size:
		// A number goes on to the parser, whose message says that the unit is missing.
		return tag == "!!str" || tag == "!!int" || tag == "!!float"
	}
	switch dst.Kind() {
	case reflect.Int:
		return tag == "!!int"
	case reflect.Float64:
		return tag == "!!int" || tag == "!!float"
	}
	return tag == "!!str"
}

// plainNumber rewrites YAML's other spellings, such as 0x10 and 1_000, in
// decimal; what it cannot read it leaves for the error message.
func plainNumber(v *value, dst reflect.Value) string {
	n := yaml.Node{Kind: yaml.ScalarNode, Tag: v.tag, Value: v.text}
	switch dst.Interface().(type) {
	case Duration, Size:
		return v.text
	}
	switch dst.Kind() {
	case reflect.Int:
		var i int64
		if n.Decode(&i) == nil {
			return strconv.FormatInt(i, 10)
		}
	case reflect.Float64:
		var f float64
		if n.Decode(&f) == nil {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
	}
	return v.text
}

const secretHint = "write {env: NAME}, {file: path} or {cmd: \"command\"}" //nolint:gosec // It says how to write one, and is none.

func (d *decoder) secret(v *value, dst reflect.Value, path string) {
	if v.kind == kindScalar && v.text == Redacted {
		d.problem(v.origin, path, "this is what a secret is printed as, not one", secretHint)
		return
	}
	// No message here shows the value: it may be the secret.
	if v.kind == kindScalar {
		d.problem(v.origin, path, "a secret is not written here in plain text", secretHint+"; {value: …} if it must be in the file")
		return
	}
	if v.kind != kindMapping || len(v.entries) != 1 {
		d.problem(v.origin, path, "want a reference to a secret with exactly one key", secretHint)
		return
	}
	e := v.entries[0]
	for k := secretEnv; k <= secretValue; k++ {
		if k.key() != e.key {
			continue
		}
		if e.value.kind != kindScalar || e.value.tag != "!!str" && e.value.tag != "" {
			d.problem(e.value.origin, keyPath(path, e.key), "want text", "put it in quotes")
			return
		}
		text := e.value.text
		if strings.TrimSpace(text) == "" || strings.ContainsRune(text, 0) {
			d.problem(e.value.origin, keyPath(path, e.key), "the value is empty or holds a NUL", secretHint)
			return
		}
		if k == secretEnv && strings.ContainsAny(text, "= \t\r\n$") {
			d.problem(e.value.origin, keyPath(path, e.key), "this is not the name of a variable", "write its name alone, such as {env: NATS_TOKEN}")
			return
		}
		dst.Set(reflect.ValueOf(Secret{k, &text}))
		return
	}
	d.problem(e.origin, keyPath(path, e.key), "unknown key "+quoted(e.key), secretHint)
}

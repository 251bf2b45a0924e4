package config

import (
	"errors"
	"reflect"
	"slices"
	"strings"
)

// Validate reports everything that is wrong with the configuration, defaults
// filled in, joined; each error is a [Problem]. Warnings are not errors.
func (c Config) Validate() error {
	var errs []error
	for _, p := range c.WithDefaults().check(nil) {
		if !p.Warning {
			errs = append(errs, p)
		}
	}
	return errors.Join(errs...)
}

// checker collects what the rules find.
type checker struct {
	// set tells which settings were written and where; nil for a configuration
	// that was made in Go.
	set      map[string]Origin
	problems []Problem
}

// check applies all rules to a configuration that has its defaults.
func (c Config) check(set map[string]Origin) []Problem {
	k := &checker{set: set}
	k.fields(reflect.ValueOf(c), "")
	k.brokers(c)
	k.admin(c.Admin)
	before := len(k.problems)
	k.policy(c.Defaults, "defaults")
	shared := slices.Clone(k.problems[before:])
	for i := range c.Subscriptions {
		k.subscription(c, i, shared)
	}
	k.uniqueSubscriptions(c)
	return k.problems
}

// broken reports a broken rule at path. A rule that compares settings names the
// others too.
func (k *checker) broken(path, text, hint string, also ...string) {
	k.problems = append(k.problems, Problem{Path: path, Text: text, Hint: hint, involved: append([]string{path}, also...)})
}

func (k *checker) warn(path, text, hint string, also ...string) {
	k.broken(path, text, hint, also...)
	k.problems[len(k.problems)-1].Warning = true
}

// isSet reports whether somebody wrote the setting, in place or in the defaults
// section.
func (k *checker) isSet(path string) bool {
	if _, ok := k.set[path]; ok {
		return true
	}
	_, ok := k.set[inheritedPath(path)]
	return ok
}

// inheritedPath is where in the defaults section a setting of a subscription
// comes from, "" for any other.
func inheritedPath(path string) string {
	rest, ok := strings.CutPrefix(path, "subscriptions[")
	if !ok {
		return ""
	}
	if _, rest, ok = strings.Cut(rest, "]."); !ok {
		return ""
	}
	return "defaults." + rest
}

// fields checks every field for itself: required, in its range, one of its
// values, one of its group.
func (k *checker) fields(v reflect.Value, path string) {
	groups := map[string][]string{}
	var order []string
	for _, s := range Settings(v.Type()) {
		field, inner := v.FieldByIndex(s.index), keyPath(path, s.Name)
		if !s.applies(v) {
			if !field.IsZero() {
				k.broken(inner, "this is a setting of a broker of type "+strings.Join(s.For, " or "), "remove it, or change type", keyPath(path, "type"))
			}
			continue
		}
		if b, ok := reflect.TypeAssert[Broker](v); ok && s.Field == "URL" {
			s.Example = b.exampleURL()
		}
		if s.OneOf != "" {
			if _, seen := groups[s.OneOf]; !seen {
				order = append(order, s.OneOf)
				groups[s.OneOf] = nil
			}
			if !field.IsZero() {
				groups[s.OneOf] = append(groups[s.OneOf], s.Name)
			}
		}
		k.field(s, field, inner)
	}
	for _, g := range order {
		k.oneOf(v.Type(), g, groups[g], path)
	}
}

func (k *checker) field(s Setting, field reflect.Value, path string) {
	if field.IsZero() {
		if s.Required {
			k.broken(path, "is missing", missingHint(s))
			return
		}
		// An empty item of a list or map can still lack what it needs.
		if field.Kind() != reflect.Struct {
			return
		}
	}
	switch field.Kind() {
	case reflect.Pointer:
		k.fields(field.Elem(), path)
	case reflect.Struct:
		if s.Type != reflect.TypeFor[Secret]() {
			k.fields(field, path)
		}
	case reflect.Map:
		keys := field.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			k.field(Setting{Name: key.String(), Type: s.Type.Elem(), Enum: s.Enum}, field.MapIndex(key), keyPath(path, key.String()))
		}
	case reflect.Slice:
		for i := range field.Len() {
			k.field(Setting{Name: s.Name, Type: s.Type.Elem()}, field.Index(i), indexPath(path, i))
		}
	default:
		if text, hint := s.check(field); text != "" {
			k.broken(path, text, hint)
		}
	}
}

func missingHint(s Setting) string {
	switch {
	case s.Example != "":
		return "add it, such as " + s.Name + ": " + s.Example
	case len(s.Enum) > 0:
		return "add it: " + strings.Join(s.Enum, " or ")
	case s.Type == reflect.TypeFor[Secret]():
		return "add it: " + secretHint
	}
	return "add it"
}

func (k *checker) oneOf(t reflect.Type, group string, given []string, path string) {
	if len(given) == 1 {
		return
	}
	var names []string
	for _, s := range Settings(t) {
		if s.OneOf == group {
			names = append(names, s.Name)
		}
	}
	if len(given) > 1 {
		k.broken(keyPath(path, given[1]), strings.Join(given, " and ")+" exclude each other", "keep one of them")
		return
	}
	k.broken(path, "one of "+strings.Join(names, ", ")+" is missing", "add exactly one of them")
}

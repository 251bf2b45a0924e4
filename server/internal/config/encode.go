package config

import (
	"reflect"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// encoder turns structs into YAML nodes, in the order of the fields and without
// what is not set.
type encoder struct {
	// reveal writes the references of secrets in place of the mask.
	reveal bool
	// comment, if set, gives each leaf a comment at the end of its line.
	comment func(path string, secret Secret) string
	// leaf, if set, is called for every leaf in order.
	leaf func(path string, text string)
}

func (e *encoder) structure(v reflect.Value, path string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, s := range Settings(v.Type()) {
		field := v.FieldByIndex(s.index)
		if field.IsZero() {
			continue
		}
		inner := e.value(field, keyPath(path, s.Name))
		if inner.Kind != yaml.ScalarNode && len(inner.Content) == 0 {
			// A section that was given and says nothing still means something when its
			// field is a pointer.
			if field.Kind() != reflect.Pointer {
				continue
			}
			inner.Style = yaml.FlowStyle
		}
		n.Content = append(n.Content, text(s.Name), inner)
	}
	return n
}

func (e *encoder) value(v reflect.Value, path string) *yaml.Node {
	if s, ok := reflect.TypeAssert[Secret](v); ok {
		return e.secret(s, path)
	}
	switch v.Kind() {
	case reflect.Pointer:
		return e.structure(v.Elem(), path)
	case reflect.Struct:
		return e.structure(v, path)
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for i := range v.Len() {
			n.Content = append(n.Content, e.value(v.Index(i), indexPath(path, i)))
		}
		return n
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			n.Content = append(n.Content, text(k.String()), e.value(v.MapIndex(k), keyPath(path, k.String())))
		}
		return n
	default:
		return e.scalar(v, path)
	}
}

func (e *encoder) scalar(v reflect.Value, path string) *yaml.Node {
	shown := scalarText(v)
	n := text(shown)
	switch {
	case v.Kind() == reflect.Float64 && strings.ContainsAny(shown, ".e"):
		n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: shown}
	case v.Kind() == reflect.Float64, v.Type() == reflect.TypeFor[int]():
		n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: shown}
	}
	e.finish(n, path, shown, Secret{})
	return n
}

func (e *encoder) secret(s Secret, path string) *yaml.Node {
	if e.reveal && !s.IsZero() {
		return &yaml.Node{
			Kind: yaml.MappingNode, Tag: "!!map", Style: yaml.FlowStyle,
			Content: []*yaml.Node{text(s.kind.key()), text(*s.ref)},
		}
	}
	n := text(s.String())
	e.finish(n, path, s.String(), s)
	return n
}

func (e *encoder) finish(n *yaml.Node, path, shown string, s Secret) {
	if e.comment != nil {
		n.LineComment = e.comment(path, s)
	}
	if e.leaf != nil {
		e.leaf(path, shown)
	}
}

// text makes a string node that stays a string when it is read again.
func text(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if strings.ContainsFunc(s, unicode.IsControl) || strings.TrimSpace(s) != s {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// MarshalYAML implements yaml.Marshaler. Secrets are masked.
func (c Config) MarshalYAML() (any, error) {
	return (&encoder{}).structure(reflect.ValueOf(c), ""), nil
}

// Portable writes a configuration in JSON, as a file that [Decode] reads, for another
// process of the same user on this machine. Secrets stay references, but for those
// that stand in the configuration themselves: what is returned is a secret then.
func (c Config) Portable() ([]byte, error) {
	return nodeJSON((&encoder{reveal: true}).structure(reflect.ValueOf(c), ""))
}

// MarshalJSON implements json.Marshaler with the keys of the file. Secrets are
// masked.
func (c Config) MarshalJSON() ([]byte, error) {
	return nodeJSON((&encoder{}).structure(reflect.ValueOf(c), ""))
}

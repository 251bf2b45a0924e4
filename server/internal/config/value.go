package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxFile   = 4 << 20
	maxDepth  = 64
	maxValues = 100_000
)

type kind uint8

const (
	kindNull kind = iota
	kindScalar
	kindMapping
	kindList
)

// value is a value as it was written, with its place. It is what files,
// variables and flags have in common before types come into it.
type value struct {
	kind kind
	// tag is the YAML type of a scalar, "" for one from the environment or a flag,
	// which may be of any.
	tag, text string
	entries   []entry
	items     []*value
	origin    Origin
}

type entry struct {
	key    string
	origin Origin
	value  *value
}

func (v *value) get(key string) *value {
	for i := range v.entries {
		if v.entries[i].key == key {
			return v.entries[i].value
		}
	}
	return nil
}

// set gives a key a value that was written at a place.
func (v *value) set(key string, at Origin, to *value) {
	for i := range v.entries {
		if v.entries[i].key == key {
			v.entries[i] = entry{key, at, to}
			return
		}
	}
	v.entries = append(v.entries, entry{key, at, to})
}

// describe says what a value is, for messages.
func (v *value) describe() string {
	switch v.kind {
	case kindNull:
		return "nothing"
	case kindMapping:
		return "a mapping"
	case kindList:
		return "a list"
	case kindScalar:
	}
	switch v.tag {
	case "!!bool":
		return "the truth value " + v.text
	case "!!int", "!!float":
		return "the number " + quoted(v.text)
	}
	return "the text " + quoted(v.text)
}

// parser turns YAML nodes into values.
type parser struct {
	file     string
	left     int
	problems []Problem
}

func (p *parser) at(n *yaml.Node) Origin {
	return Origin{Source: FromFile, Name: p.file, Line: max(n.Line, 1), Column: max(n.Column, 1)}
}

func (p *parser) problem(at Origin, path, text, hint string) {
	p.problems = append(p.problems, Problem{Origin: at, Path: path, Text: text, Hint: hint})
}

// parse reads one file. The value is never nil.
func parse(file string, data []byte) (*value, []Problem) {
	p := &parser{file: file, left: maxValues}
	start := Origin{Source: FromFile, Name: file, Line: 1, Column: 1}
	empty := &value{kind: kindMapping, origin: start}
	if len(data) > maxFile {
		p.problem(start, "", fmt.Sprintf("the file is larger than %s", Size(maxFile)), "split it up")
		return empty, p.problems
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return empty, nil
	} else if err != nil {
		p.syntax(err)
		return empty, p.problems
	}
	switch err := decoder.Decode(&next); {
	case err == nil:
		p.problem(p.at(&next), "", "a second document starts here", "put everything into one document, without ---")
	case !errors.Is(err, io.EOF):
		p.syntax(err)
	}
	root := &doc
	if doc.Kind == yaml.DocumentNode && len(doc.Content) > 0 {
		root = doc.Content[0]
	}
	v := p.convert(root, "", 0)
	switch v.kind {
	case kindMapping:
		return v, p.problems
	case kindNull:
		return empty, p.problems
	case kindScalar, kindList:
	}
	p.problem(v.origin, "", "the file holds "+v.describe()+" and not settings", "write keys and values, such as version: 1")
	return empty, p.problems
}

func (p *parser) syntax(err error) {
	at := Origin{Source: FromFile, Name: p.file, Line: 1, Column: 1}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := regexp.MustCompile(`^line (\d+): (.*)$`).FindStringSubmatch(text); m != nil {
		at.Line, _ = strconv.Atoi(m[1])
		text = m[2]
		// The library counts lines from 0 in the errors of its parser and from 1 in
		// those of its scanner; these texts are the parser's.
		for _, parser := range []string{"key", "node content", "',' or", "'-' indicator", "<document start>"} {
			if strings.HasPrefix(text, "did not find expected "+parser) {
				at.Line++
			}
		}
	}
	p.problem(at, "", "not valid YAML: "+text, "look at the indentation, colons and quotes there and on the line above")
}

func (p *parser) convert(n *yaml.Node, path string, depth int) *value {
	v := &value{origin: p.at(n)}
	if p.left--; p.left < 0 || depth > maxDepth {
		if p.left > -2 {
			p.problem(v.origin, path, "the file is nested too deeply or too large", "make it simpler; aliases count each time they are used")
			p.left = -2
		}
		return v
	}
	switch n.Kind {
	case yaml.AliasNode:
		inner := p.convert(n.Alias, path, depth+1)
		inner.origin = v.origin
		return inner
	case yaml.MappingNode:
		v.kind = kindMapping
		p.mapping(n, v, path, depth)
	case yaml.SequenceNode:
		v.kind = kindList
		for i, item := range n.Content {
			v.items = append(v.items, p.convert(item, indexPath(path, i), depth+1))
		}
	case yaml.ScalarNode:
		if v.tag = n.ShortTag(); v.tag != "!!null" {
			v.kind, v.text = kindScalar, n.Value
		}
	case yaml.DocumentNode:
	}
	return v
}

func (p *parser) mapping(n *yaml.Node, v *value, path string, depth int) {
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, at := n.Content[i], p.at(n.Content[i])
		if key.Kind == yaml.AliasNode && key.Alias != nil {
			key = key.Alias
		}
		switch {
		case key.Kind != yaml.ScalarNode:
			p.problem(at, path, "a key is not a word", "write plain keys")
			continue
		case key.ShortTag() == "!!merge":
			p.problem(at, path, "merge keys (<<) are not supported", "use the defaults section, or an alias for a whole value")
			continue
		}
		inner := keyPath(path, key.Value)
		if line, twice := lines[key.Value]; twice {
			p.problem(at, inner, fmt.Sprintf("the key is given twice, first on line %d", line), "remove one of them")
			continue
		}
		lines[key.Value] = at.Line
		v.entries = append(v.entries, entry{key.Value, at, p.convert(n.Content[i+1], inner, depth+1)})
	}
}

// merge lays upper over lower. Mappings that are structs or maps are merged key
// by key; everything else, a reference to a secret too, is replaced as a whole.
func merge(lower, upper *value, t reflect.Type) *value {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	mergeable := t != reflect.TypeFor[Secret]() && (t.Kind() == reflect.Struct || t.Kind() == reflect.Map)
	if upper.kind == kindNull && lower.kind != kindNull {
		return lower
	}
	if !mergeable || lower.kind != kindMapping || upper.kind != kindMapping {
		return upper
	}
	out := &value{kind: kindMapping, origin: upper.origin}
	out.entries = append(out.entries, lower.entries...)
	for _, e := range upper.entries {
		below := out.get(e.key)
		inner, known := childType(t, e.key)
		if below != nil && known {
			e.value = merge(below, e.value, inner)
		}
		out.set(e.key, e.origin, e.value)
	}
	return out
}

func childType(t reflect.Type, key string) (reflect.Type, bool) {
	if t.Kind() == reflect.Map {
		return t.Elem(), true
	}
	for _, s := range Settings(t) {
		if s.Name == key {
			return s.Type, true
		}
	}
	return nil, false
}

// index records the origin of every value under its path. Keys are remembered
// by the place of the key, which is where a person looks.
func index(v *value, path string, into map[string]Origin) {
	for _, e := range v.entries {
		inner := keyPath(path, e.key)
		if e.value.kind != kindNull {
			into[inner] = e.origin
		}
		index(e.value, inner, into)
	}
	for i, item := range v.items {
		inner := indexPath(path, i)
		into[inner] = item.origin
		index(item, inner, into)
	}
}

package schema

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

const (
	// maxViolations bounds how many violations an Error holds.
	maxViolations = 100
	// maxShown is how many different ones its text names.
	maxShown = 3
	// maxName bounds a name of the schema in the text, in bytes.
	maxName = 64
)

// Error says how a body does not match a schema. Its text holds nothing of the
// body. It is not changed after it was made.
type Error struct {
	// Schema is the name of the schema.
	Schema string
	// Problem says why the body could not be checked, such as "is not valid UTF-8";
	// empty if it was.
	Problem string
	// Violations are what does not match, at most 100, sorted. What is wrong in
	// several items of an array in the same way is there once.
	Violations []Violation
}

// Violation is one place of a body that does not match.
type Violation struct {
	// Pointer is the place, or the first of several, as a JSON Pointer (RFC 6901); of
	// a property whose name is wrong it is an object around it.
	// It is a part of the body: property names can be personal data.
	Pointer string
	// Keyword is the keyword of the schema that failed, such as "type".
	Keyword string
	// Detail says more from the schema's side, such as "want number"; often empty.
	Detail string
	// place is Pointer without what comes from the body.
	place string
}

// Error names the schema and the first three places.
func (e *Error) Error() string {
	if e.Problem != "" {
		return "body " + e.Problem + " (schema " + e.Schema + ")"
	}
	var shown []string
	for _, v := range e.Violations[:min(len(e.Violations), maxShown)] {
		shown = append(shown, v.text())
	}
	if len(e.Violations) > maxShown {
		shown = append(shown, "and more")
	}
	return "body does not match " + e.Schema + ": " + strings.Join(shown, "; ")
}

// ErrorType names the kind of error for classification and grouping.
func (e *Error) ErrorType() string { return "json schema" }

func (v Violation) text() string {
	out := v.place + ": " + v.Keyword
	if v.Detail != "" {
		out += " (" + v.Detail + ")"
	}
	return out
}

// violations flattens the tree that the validator returns, sorted: the validator
// walks maps, so its own order differs from call to call. doc is the body, which
// tells indices from property names.
func violations(err error, doc any, known map[string]bool) []Violation {
	var tree *jsonschema.ValidationError
	if !errors.As(err, &tree) {
		return []Violation{{Keyword: "unknown", place: "$"}}
	}
	found := map[string]Violation{}
	var walk func(e *jsonschema.ValidationError, around []string)
	walk = func(e *jsonschema.ValidationError, around []string) {
		at := e.InstanceLocation
		if borrowed(e.ErrorKind) {
			at = around
		}
		if len(e.Causes) > 0 && !alternatives(e.ErrorKind) {
			for _, cause := range e.Causes {
				walk(cause, at)
			}
			return
		}
		v := newViolation(e, pointer(at), place(at, doc, known))
		if old, ok := found[v.text()]; !ok || before(v.Pointer, old.Pointer) {
			found[v.text()] = v
		}
	}
	walk(tree, nil)
	out := make([]Violation, 0, len(found))
	for _, text := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[text])
	}
	return out[:min(len(out), maxViolations)]
}

// before orders pointers so that /items/9 comes before /items/10.
func before(a, b string) bool {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) < 0
}

// alternatives reports whether the causes below are those of alternatives, of which
// most were never meant.
func alternatives(k jsonschema.ErrorKind) bool {
	switch k.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Not, *kind.Contains, *kind.PropertyNames:
		return true
	}
	return false
}

// borrowed reports whether the location of such an error is memory that the
// validator has gone on to write other locations into.
func borrowed(k jsonschema.ErrorKind) bool {
	switch k.(type) {
	case *kind.PropertyNames, *kind.ContentSchema:
		return true
	}
	return false
}

func newViolation(e *jsonschema.ValidationError, pointer, place string) Violation {
	v := Violation{Keyword: "false", Pointer: pointer, place: place}
	if path := e.ErrorKind.KeywordPath(); len(path) > 0 {
		v.Keyword = path[0]
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		v.Detail = "want " + strings.Join(k.Want, " or ")
	case *kind.Required:
		v.Detail = names(k.Missing)
	case *kind.DependentRequired:
		v.Detail = names(k.Missing)
	case *kind.Dependency:
		v.Detail = names(k.Missing)
	case *kind.Format:
		v.Detail = clip(k.Want)
	case *kind.FalseSchema:
		v.Detail = "not allowed"
	case *kind.Not:
		v.Keyword = "not"
	case *kind.RefCycle:
		v.Keyword = "$ref"
	}
	return v
}

// names lists names of the schema.
func names(list []string) string {
	list = slices.Sorted(slices.Values(list))
	shown := make([]string, 0, maxShown)
	for _, n := range list[:min(len(list), maxShown)] {
		shown = append(shown, clip(n))
	}
	if len(list) > maxShown {
		shown = append(shown, "…")
	}
	return strings.Join(shown, ", ")
}

// clip bounds a name and takes out what could be read as another part of the text.
func clip(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(";:()[],", r) {
			return '?'
		}
		return r
	}, name)
	if len(clean) <= maxName {
		return clean
	}
	return strings.ToValidUTF8(clean[:maxName], "") + "…"
}

// place writes the path of a value without what comes from the body: indices, and
// names that are not in the schema.
func place(path []string, doc any, known map[string]bool) string {
	var b strings.Builder
	b.WriteByte('$')
	for _, token := range path {
		switch v := doc.(type) {
		case []any:
			b.WriteString("[]")
			doc = nil
			if i, ok := index(token); ok && i < len(v) {
				doc = v[i]
			}
		case map[string]any:
			b.WriteByte('.')
			if known[token] {
				b.WriteString(clip(token))
			} else {
				b.WriteByte('*')
			}
			doc = v[token]
		default:
			b.WriteString(".*")
		}
	}
	return b.String()
}

func index(token string) (int, bool) {
	n := 0
	for _, d := range []byte(token) {
		if d < '0' || d > '9' || n > 1<<30 {
			return 0, false
		}
		n = n*10 + int(d-'0')
	}
	return n, token != ""
}

func pointer(path []string) string {
	var b strings.Builder
	for _, token := range path {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1"))
	}
	return b.String()
}

// collectNames adds every key in a schema, and every string in its lists of
// required names, to known.
func collectNames(doc any, known map[string]bool) {
	switch v := doc.(type) {
	case map[string]any:
		for key, value := range v {
			known[key] = true
			collectNames(value, known)
		}
		addStrings(v["required"], known)
	case []any:
		for _, item := range v {
			collectNames(item, known)
		}
	}
}

func addStrings(list any, known map[string]bool) {
	items, _ := list.([]any)
	for _, item := range items {
		if s, ok := item.(string); ok {
			known[s] = true
		}
	}
}

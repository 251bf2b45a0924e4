package schema

import (
	"context"
	"fmt"
	"mime"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/redrive-dev/redrive/failure"
)

// Validator checks bodies against one schema. It is safe for concurrent use.
type Validator struct {
	name   string
	schema *jsonschema.Schema
	// known are the names in the schema: the only ones that an error may show.
	known map[string]bool
}

// Load compiles the schema in a file. It may refer to other files in the same
// folder or below. The error says which file is wrong and what to do.
func Load(file string) (*Validator, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", file, err)
	}
	root, err := os.OpenRoot(filepath.Dir(abs))
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", file, err)
	}
	defer func() { _ = root.Close() }()
	raw, err := readFile(anywhere{}, abs)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", file, err)
	}
	location := fileURL(abs)
	base := location[:strings.LastIndexByte(location, '/')+1]
	v, err := compile(location, raw, &loader{root: root, bases: []string{base}})
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", file, err)
	}
	v.name = filepath.Base(file)
	return v, nil
}

// Compile compiles a schema from memory. It cannot refer to others. The name
// appears in errors.
func Compile(name string, raw []byte) (*Validator, error) {
	v, err := compile("redrive:///schema.json", raw, &loader{})
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	v.name = name
	return v, nil
}

func compile(location string, raw []byte, l *loader) (*Validator, error) {
	if len(raw) > maxFile {
		return nil, fmt.Errorf("is larger than %d bytes", maxFile)
	}
	doc, err := parse(raw)
	if err != nil {
		return nil, err
	}
	l.docs = append(l.docs, doc)
	if base := baseOf(doc); base != "" {
		l.bases = append(l.bases, base)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(l)
	if err := c.AddResource(location, doc); err != nil {
		return nil, err
	}
	compiled, err := c.Compile(location)
	if err != nil {
		return nil, err
	}
	v := &Validator{schema: compiled, known: map[string]bool{}}
	for _, d := range l.docs {
		collectNames(d, v.known)
	}
	return v, nil
}

func fileURL(abs string) string {
	p := filepath.ToSlash(abs)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return (&url.URL{Scheme: "file", Path: p}).String()
}

// Validate checks a body. It returns nil if the body matches, context.Cause(ctx)
// if ctx has ended, and else an error with the marker of failure.AsSchema and an
// *Error inside, whose text repeats nothing of the body.
//
// The body is taken as JSON if contentType is a JSON type, or empty,
// application/octet-stream or text/plain, which many producers send without
// thought. A body that is declared as something else is refused.
func (v *Validator) Validate(ctx context.Context, body []byte, contentType string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !jsonType(contentType) {
		return failure.AsSchema(&Error{Schema: v.name, Problem: "has a content type other than JSON"})
	}
	doc, err := parse(body)
	if err != nil {
		return failure.AsSchema(&Error{Schema: v.name, Problem: err.Error()})
	}
	if err := v.schema.Validate(doc); err != nil {
		return failure.AsSchema(&Error{Schema: v.name, Violations: violations(err, doc, v.known)})
	}
	return nil
}

func jsonType(contentType string) bool {
	if strings.TrimSpace(contentType) == "" {
		return true
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return false
	}
	switch kind {
	case "application/json", "text/json", "application/octet-stream", "text/plain":
		return true
	}
	return strings.HasSuffix(kind, "+json")
}

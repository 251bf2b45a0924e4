package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/redrive-dev/redrive/server/internal/config"
)

// comments are the doc comments of structs and their fields, by "Type" and
// "Type.Field", in one line each.
type comments map[string]string

func readComments(dir string) (comments, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	out := comments{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name) //nolint:gosec // The path is the caller's.
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				out.add(g)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no types in %s", dir)
	}
	return out, nil
}

func (c comments) add(g *ast.GenDecl) {
	for _, spec := range g.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		c[t.Name.Name] = oneLine(g.Doc.Text())
		s, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range s.Fields.List {
			for _, name := range f.Names {
				c[t.Name.Name+"."+name.Name] = oneLine(f.Doc.Text())
			}
		}
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// of returns the text of a setting without the name of its field in front and
// without the default, which the documents show in a place of its own.
func (c comments) of(s config.Setting) string {
	text := c[s.Owner.Name()+"."+s.Field]
	if i := strings.LastIndex(text, " Default: "); i >= 0 {
		text = text[:i]
	}
	text = strings.TrimPrefix(text, s.Field+" ")
	for _, verb := range []string{"is ", "are "} {
		text = strings.TrimPrefix(text, verb)
	}
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// check holds the comments to what the tags say.
func (c comments) check() error {
	var errs []error
	eachStruct(func(t reflect.Type) {
		for _, s := range config.Settings(t) {
			name := s.Owner.Name() + "." + s.Field
			text := c[name]
			_, stated, found := strings.Cut(text, "Default: ")
			switch {
			case text == "":
				errs = append(errs, fmt.Errorf("%s has no comment", name))
			case s.Default != "" && stated != s.Default+".":
				errs = append(errs, fmt.Errorf("%s: its comment must end in %q, as its tag says", name, "Default: "+s.Default+"."))
			case s.Default == "" && found:
				errs = append(errs, fmt.Errorf("%s: its comment names a default and its tag does not", name))
			}
		}
	})
	return errors.Join(errs...)
}

// eachStruct visits every struct of the configuration once, outer ones first.
func eachStruct(f func(reflect.Type)) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		t = element(t)
		if t.Kind() != reflect.Struct || t == reflect.TypeFor[config.Secret]() || seen[t] {
			return
		}
		seen[t] = true
		f(t)
		for _, s := range config.Settings(t) {
			walk(s.Type)
		}
	}
	walk(reflect.TypeFor[config.Config]())
}

// element takes pointers, lists and maps off a type.
func element(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t
}

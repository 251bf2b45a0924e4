package main

import (
	"bytes"
	_ "embed" // for the page's frame
	"fmt"
	"reflect"
	"strings"
	"text/template"

	"github.com/redrive-dev/redrive/server/internal/config"
)

//go:embed reference.md.tmpl
var frame string

// section is one table of the page.
type section struct {
	Path, Text string
	Rows       []row
	Note       string
}

type row struct{ Key, Value, Default, Text string }

func referencePage(texts comments) ([]byte, error) {
	t, err := template.New("page").Parse(frame)
	if err != nil {
		return nil, err
	}
	p := &page{texts: texts, done: map[reflect.Type]string{}}
	p.add(reflect.TypeFor[config.Config](), "")
	var out bytes.Buffer
	err = t.Execute(&out, p.sections)
	return out.Bytes(), err
}

type page struct {
	texts    comments
	sections []section
	// done holds where a struct was described first.
	done map[reflect.Type]string
}

func (p *page) add(t reflect.Type, path string) {
	if _, ok := p.done[t]; ok {
		return
	}
	p.done[t] = path
	at := len(p.sections)
	p.sections = append(p.sections, section{Path: path, Text: describe(p.texts[t.Name()], t.Name())})
	for _, s := range config.Settings(t) {
		if t == reflect.TypeFor[config.Subscription]() && s.Owner != t {
			p.sections[at].Note = "A subscription also takes every key of [`defaults`](#defaults) and of the sections below it."
			continue
		}
		p.sections[at].Rows = append(p.sections[at].Rows, p.row(t, s))
	}
	for _, s := range config.Settings(t) {
		inner := element(s.Type)
		if inner.Kind() != reflect.Struct || inner == reflect.TypeFor[config.Secret]() || t == reflect.TypeFor[config.Subscription]() && s.Owner != t {
			continue
		}
		p.add(inner, join(path, s))
	}
}

func join(path string, s config.Setting) string {
	out := s.Name
	if path != "" {
		out = path + "." + s.Name
	}
	switch s.Type.Kind() {
	case reflect.Slice:
		out += "[]"
	case reflect.Map:
		out += ".<name>"
	}
	return out
}

// describe drops the name of the type from the front of its comment.
func describe(text, name string) string {
	text = strings.TrimPrefix(strings.TrimPrefix(text, name+" "), "is ")
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func (p *page) row(t reflect.Type, s config.Setting) row {
	r := row{Key: "`" + s.Name + "`", Value: p.value(s), Text: p.texts.of(s)}
	switch {
	case s.Required:
		r.Default = "required"
	case t == reflect.TypeFor[config.Tier]() && s.Owner != t:
		r.Default = "as in `retry`"
	case s.Default != "":
		r.Default = "`" + s.Default + "`"
	case s.DefaultText != "":
		r.Default = s.DefaultText
	default:
		r.Default = "–"
	}
	if len(s.For) > 0 {
		r.Text += " Only for type `" + strings.Join(s.For, "`, `") + "`."
	}
	if s.Example != "" && len(s.Enum) == 0 {
		r.Text += " Example: `" + s.Example + "`."
	}
	for _, cell := range []*string{&r.Value, &r.Text} {
		*cell = strings.ReplaceAll(*cell, "|", `\|`)
	}
	return r
}

// value says what is written after the key.
func (p *page) value(s config.Setting) string {
	enum := strings.Join(s.Enum, "`, `")
	switch s.Type {
	case reflect.TypeFor[config.Secret]():
		return "[secret](#secrets)"
	case reflect.TypeFor[config.Duration]():
		return "duration, " + bounds(s)
	case reflect.TypeFor[config.Size]():
		return "size, " + bounds(s)
	case reflect.TypeFor[config.Path]():
		return "path"
	}
	switch s.Type.Kind() {
	case reflect.Struct, reflect.Pointer:
		return "section"
	case reflect.Slice:
		if element(s.Type) == reflect.TypeFor[config.Secret]() {
			return "list of [secrets](#secrets)"
		}
		if element(s.Type).Kind() == reflect.String {
			return "list of texts"
		}
		return "list of sections"
	case reflect.Map:
		return "mapping" + mapValues(s, enum)
	case reflect.Int:
		if enum != "" {
			return "`" + enum + "`"
		}
		return "whole number, " + bounds(s)
	case reflect.Float64:
		return "number, " + bounds(s)
	default:
		if enum != "" {
			return "`" + enum + "`"
		}
		return "text"
	}
}

func mapValues(s config.Setting, enum string) string {
	switch {
	case enum != "":
		return " to `" + enum + "`"
	case element(s.Type) == reflect.TypeFor[config.Secret]():
		return " to [secrets](#secrets)"
	case element(s.Type).Kind() == reflect.Struct:
		return " to sections"
	}
	return " to text"
}

func bounds(s config.Setting) string {
	var out string
	switch {
	case s.Above != "":
		out = fmt.Sprintf("above `%s`", s.Above)
	case s.Min != "":
		out = fmt.Sprintf("from `%s`", s.Min)
	}
	if s.Max != "" {
		out += fmt.Sprintf(" to `%s`", s.Max)
	}
	if s.Off != "" {
		out += fmt.Sprintf(", or `%s`", s.Off)
	}
	return out
}

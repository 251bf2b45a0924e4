package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"

	"github.com/redrive-dev/redrive/server/internal/config"
)

type object = map[string]any

// schemaDocument returns a JSON Schema, draft 2020-12, for the file. It says
// what an editor can use; the rules between settings are for config check.
func schemaDocument(texts comments) ([]byte, error) {
	definitions := object{
		"Secret": object{
			"description": texts["Secret"],
			"type":        "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
			"properties": object{
				"env":   object{"type": "string", "minLength": 1, "description": "Name of a variable of the environment."},
				"file":  object{"type": "string", "minLength": 1, "description": "File that holds the secret."},
				"cmd":   object{"type": "string", "minLength": 1, "description": "Shell command that prints the secret."},
				"value": object{"type": "string", "minLength": 1, "description": "The secret itself. Discouraged."},
			},
		},
		"Duration": object{
			"description": "Numbers with units out of ns, us, ms, s, m, h and, in front, d.",
			"type":        "string", "pattern": `^([0-9]+d)?([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))*$`, "minLength": 2,
		},
		"Size": object{
			"description": "A whole number with a unit out of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB.",
			"type":        "string", "pattern": "^[0-9]+ ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$",
		},
	}
	var failed error
	eachStruct(func(t reflect.Type) {
		d, err := structSchema(t, texts)
		if err != nil && failed == nil {
			failed = err
		}
		definitions[t.Name()] = d
	})
	if failed != nil {
		return nil, failed
	}
	root := object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$id":     "https://github.com/redrive-dev/redrive/docs/reference/redrive.schema.json",
		"title":   "redrive configuration",
		"$ref":    "#/$defs/Config",
		"$defs":   definitions,
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(root)
	return out.Bytes(), err
}

func structSchema(t reflect.Type, texts comments) (object, error) {
	properties := object{}
	var required []string
	groups := map[string][]any{}
	for _, s := range config.Settings(t) {
		p, err := valueSchema(s, s.Type)
		if err != nil {
			return nil, err
		}
		p["description"] = texts.of(s)
		if v, ok := defaultValue(s); ok && t != reflect.TypeFor[config.Tier]() {
			p["default"] = v
		}
		properties[s.Name] = p
		if s.Required && len(s.For) == 0 {
			required = append(required, s.Name)
		}
		if s.OneOf != "" {
			groups[s.OneOf] = append(groups[s.OneOf], object{"required": []string{s.Name}})
		}
	}
	out := object{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	if required != nil {
		out["required"] = required
	}
	for _, choices := range groups {
		out["oneOf"] = choices
	}
	if t == reflect.TypeFor[config.Broker]() {
		out["allOf"] = brokerTypes()
	}
	return out, nil
}

// brokerTypes says, for each type of broker, which settings it lacks and needs.
func brokerTypes() []any {
	var out []any
	settings := config.Settings(reflect.TypeFor[config.Broker]())
	for _, kind := range settings[0].Enum {
		foreign, required := object{}, []string{}
		for _, s := range settings {
			switch {
			case !s.TakenBy(kind):
				foreign[s.Name] = false
			case len(s.For) > 0 && s.Required:
				required = append(required, s.Name)
			}
		}
		out = append(out, object{
			"if":   object{"properties": object{"type": object{"const": kind}}, "required": []string{"type"}},
			"then": object{"properties": foreign, "required": required},
		})
	}
	return out
}

func valueSchema(s config.Setting, t reflect.Type) (object, error) {
	switch t {
	case reflect.TypeFor[config.Secret](), reflect.TypeFor[config.Duration](), reflect.TypeFor[config.Size]():
		return object{"$ref": "#/$defs/" + t.Name()}, nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return valueSchema(s, t.Elem())
	case reflect.Struct:
		return object{"$ref": "#/$defs/" + t.Name()}, nil
	case reflect.Slice:
		item, err := valueSchema(config.Setting{Type: t.Elem()}, t.Elem())
		return object{"type": []string{"array", "null"}, "items": item}, err
	case reflect.Map:
		item, err := valueSchema(config.Setting{Type: t.Elem(), Enum: s.Enum}, t.Elem())
		return object{"type": []string{"object", "null"}, "additionalProperties": item}, err
	case reflect.String:
		out := object{"type": "string", "minLength": 1}
		if len(s.Enum) > 0 {
			out["enum"] = s.Enum
		}
		return out, nil
	case reflect.Int, reflect.Float64:
		return numberSchema(s, t)
	}
	return nil, fmt.Errorf("no schema for a %s", t)
}

func numberSchema(s config.Setting, t reflect.Type) (object, error) {
	out := object{"type": "number"}
	if t.Kind() == reflect.Int {
		out["type"] = "integer"
	}
	for key, text := range map[string]string{"minimum": s.Min, "maximum": s.Max, "exclusiveMinimum": s.Above} {
		if text == "" {
			continue
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		out[key] = n
	}
	if len(s.Enum) > 0 {
		n, err := strconv.Atoi(s.Enum[0])
		if err != nil {
			return nil, err
		}
		out["const"] = n
	}
	if s.Off == "" {
		return out, nil
	}
	off, err := strconv.ParseFloat(s.Off, 64)
	return object{"anyOf": []any{out, object{"const": off}}}, err
}

func defaultValue(s config.Setting) (any, bool) {
	if s.Default == "" {
		return nil, false
	}
	if s.Type.Kind() == reflect.Int || s.Type.Kind() == reflect.Float64 {
		n, err := strconv.ParseFloat(s.Default, 64)
		return n, err == nil
	}
	return s.Default, true
}

package config

import (
	"bytes"
	"errors"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// View is a configuration made ready to be shown. Secrets are masked.
type View struct {
	config Config
	origin func(path string) Origin
}

// Value is one setting of a view.
type Value struct {
	// Path names the setting, such as log.level.
	Path string
	// Value is what it is set to, as it would be written.
	Value string
	// Origin says where that came from.
	Origin Origin
}

// View returns what was set, or, resolved, everything with its defaults and with
// the defaults section worked into each subscription.
func (l *Loaded) View(resolved bool) View {
	v := View{config: l.written, origin: l.origin}
	if resolved {
		v.config = l.Config
	}
	return v
}

// Values lists every setting in the order of the reference.
func (v View) Values() []Value {
	var out []Value
	e := &encoder{leaf: func(path, text string) {
		out = append(out, Value{Path: path, Value: text, Origin: v.origin(path)})
	}}
	e.structure(reflect.ValueOf(v.config), "")
	return out
}

// YAML returns the view as a file. With origins, each line says where its value
// came from; without, only secrets say where they are read from.
func (v View) YAML(origins bool) ([]byte, error) {
	e := &encoder{comment: func(path string, s Secret) string {
		switch {
		case origins:
			return v.origin(path).String()
		case !s.IsZero():
			return s.Source()
		}
		return ""
	}}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	err := errors.Join(encoder.Encode(e.structure(reflect.ValueOf(v.config), "")), encoder.Close())
	return out.Bytes(), err
}

// MarshalJSON implements json.Marshaler with the keys of the file.
func (v View) MarshalJSON() ([]byte, error) {
	return nodeJSON((&encoder{}).structure(reflect.ValueOf(v.config), ""))
}

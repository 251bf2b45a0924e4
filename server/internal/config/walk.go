package config

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// eachLeaf calls f with every value of one type T in v, and lets it change them.
func eachLeaf[T any](v reflect.Value, path string, f func(path string, leaf T) T) {
	if v.Type() == reflect.TypeFor[T]() {
		if leaf, ok := reflect.TypeAssert[T](v); ok && !v.IsZero() {
			v.Set(reflect.ValueOf(f(path, leaf)))
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachLeaf(v.Elem(), path, f)
		}
	case reflect.Struct:
		for _, s := range Settings(v.Type()) {
			eachLeaf(v.FieldByIndex(s.index), keyPath(path, s.Name), f)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachLeaf(v.Index(i), indexPath(path, i), f)
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			// The value in a map cannot be changed in place.
			item := reflect.New(v.Type().Elem()).Elem()
			item.Set(v.MapIndex(key))
			eachLeaf(item, keyPath(path, key.String()), f)
			v.SetMapIndex(key, item)
		}
	}
}

// resolvePaths makes relative paths that stand in a file relative to the folder
// of that file.
func (l *Loaded) resolvePaths() {
	resolve := func(path, name string) string {
		o := l.origin(path)
		folder := filepath.Dir(o.Name)
		if o.Source != FromFile || folder == "." || filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(folder, name)
	}
	v := reflect.ValueOf(&l.Config).Elem()
	eachLeaf(v, "", func(path string, p Path) Path { return Path(resolve(path, string(p))) })
	eachLeaf(v, "", func(path string, s Secret) Secret {
		if s.kind == secretFile {
			return SecretFromFile(resolve(path, *s.ref))
		}
		return s
	})
}

// literals warns of secrets that stand in a file themselves.
func (l *Loaded) literals() []Problem {
	k := &checker{}
	written := l.written.Clone()
	eachLeaf(reflect.ValueOf(&written).Elem(), "", func(path string, s Secret) Secret {
		if s.kind == secretValue {
			k.warn(path, "the secret stands in the file, for everyone who can read it", "move it out: {env: NAME}, {file: path} or {cmd: \"command\"}")
		}
		return s
	})
	return k.problems
}

// origin tells where a setting came from: its own place, or that in the defaults
// section.
func (l *Loaded) origin(path string) Origin {
	if o, ok := l.set[path]; ok {
		return o
	}
	return l.set[inheritedPath(path)]
}

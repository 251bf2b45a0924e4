package app

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/server/internal/config"
)

// Change is a setting that two configurations differ in.
type Change struct {
	// Path names the setting, such as log.level. Subscriptions are named by source
	// and group, not by their place in the list: subscriptions[orders].concurrency.
	Path string
	// Old and New are the values as they would be written, empty where the setting
	// does not exist. Of a secret they only say where it comes from.
	Old, New string
}

// Changes lists the settings that two configurations differ in, defaults filled
// in, sorted by path. It is pure.
func Changes(from, to Config) []Change {
	before, after := leaves(from), leaves(to)
	var out []Change
	for _, path := range slices.Sorted(maps.Keys(union(before, after))) {
		b, a := before[path], after[path]
		same := b.secret.Equal(a.secret)
		switch {
		case b.text != a.text:
			out = append(out, Change{Path: path, Old: b.text, New: a.text})
		case !same:
			out = append(out, Change{Path: path, Old: b.text, New: a.text + " (another one)"})
		}
	}
	return out
}

// leaf is the value of one setting. Two secrets can differ and have one text.
type leaf struct {
	text   string
	secret config.Secret
}

func union(a, b map[string]leaf) map[string]bool {
	out := make(map[string]bool, len(a))
	for path := range a {
		out[path] = true
	}
	for path := range b {
		out[path] = true
	}
	return out
}

// leaves lists every setting that has a value.
func leaves(c Config) map[string]leaf {
	c = c.WithDefaults()
	out := map[string]leaf{}
	// The defaults section is worked into the subscriptions already, where it takes
	// effect.
	c.Defaults = config.Policy{}
	subscriptions := c.Subscriptions
	c.Subscriptions = nil
	walk(reflect.ValueOf(c), "", out)
	for _, s := range subscriptions {
		walk(reflect.ValueOf(s), "subscriptions["+subscriptionName(s)+"]", out)
	}
	return out
}

// subscriptionName joins source and group so that no two subscriptions share a
// name.
func subscriptionName(s config.Subscription) string {
	return strings.TrimSuffix(broker.NamesFor(s.Source, s.Group).Retry, ".retry")
}

func walk(v reflect.Value, path string, out map[string]leaf) {
	if secret, ok := reflect.TypeAssert[config.Secret](v); ok {
		if !secret.IsZero() {
			out[path] = leaf{text: secret.Source(), secret: secret}
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			walk(v.Elem(), path, out)
		}
	case reflect.Struct:
		for _, s := range config.Settings(v.Type()) {
			walk(v.FieldByName(s.Field), strings.TrimPrefix(path+"."+s.Name, "."), out)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i), out)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			walk(v.MapIndex(key), path+"."+key.String(), out)
		}
	default:
		if !v.IsZero() {
			out[path] = leaf{text: fmt.Sprint(v.Interface())}
		}
	}
}

package config

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
)

const envPrefix = "REDRIVE_"

// EnvFile is the variable that names the configuration file.
const EnvFile = envPrefix + "CONFIG"

// override is a value from the environment or a flag for one setting.
type override struct {
	path   []string
	text   string
	origin Origin
	secret bool
}

// envName is the variable for a setting: REDRIVE_LOG_LEVEL for log.level.
func envName(path []string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(strings.Join(path, "_"), "-", "_"))
}

// envSettings lists the settings that a variable can give: every single value
// outside of a list, and those of the brokers that the files name.
func envSettings(t reflect.Type, path []string, brokers []string) []override {
	var out []override
	for _, s := range Settings(t) {
		at := append(slices.Clone(path), s.Name)
		inner := s.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case inner == reflect.TypeFor[Secret]():
			out = append(out, override{path: at, secret: true})
		case inner.Kind() == reflect.Struct:
			out = append(out, envSettings(inner, at, brokers)...)
		case inner == reflect.TypeFor[map[string]Broker]():
			for _, name := range brokers {
				out = append(out, envSettings(inner.Elem(), append(slices.Clone(at), name), brokers)...)
			}
		case inner.Kind() != reflect.Map && inner.Kind() != reflect.Slice && s.Name != "version":
			out = append(out, override{path: at})
		}
	}
	return out
}

// fromEnv finds the settings among the variables. A variable that starts like
// ours and is none is only a warning: an orchestrator injects such variables for
// a service that is called redrive.
func fromEnv(environ []string, brokers []string, referenced map[string]bool) ([]override, []Problem) {
	known := map[string]override{}
	for _, o := range envSettings(reflect.TypeFor[Config](), nil, brokers) {
		known[envName(o.path)] = o
	}
	names := slices.Sorted(maps.Keys(known))
	var (
		found    []override
		problems []Problem
	)
	for _, line := range environ {
		name, text, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(name, envPrefix) || name == EnvFile || referenced[name] || injected(name) || text == "" {
			continue
		}
		origin := Origin{Source: FromEnv, Name: name}
		o, ok := known[name]
		if !ok {
			hint := "unset it, or see the configuration reference for the names"
			if near := nearest(name, names); near != "" {
				hint = "did you mean " + near + "?"
			}
			problems = append(problems, Problem{Origin: origin, Text: "this variable sets nothing", Hint: hint, Warning: true})
			continue
		}
		o.text, o.origin = text, origin
		found = append(found, o)
	}
	slices.SortFunc(found, func(a, b override) int { return cmp.Compare(a.origin.Name, b.origin.Name) })
	return found, problems
}

// injected reports whether Kubernetes makes such a variable for a service called
// redrive, or for one whose name starts so.
func injected(name string) bool {
	return strings.HasSuffix(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") ||
		strings.HasSuffix(name, "_PORT") || strings.Contains(name, "_PORT_")
}

// apply lays overrides over the tree.
func apply(root *value, overrides []override) {
	for _, o := range overrides {
		at := root
		for _, key := range o.path[:len(o.path)-1] {
			next := at.get(key)
			if next == nil || next.kind != kindMapping {
				next = &value{kind: kindMapping, origin: o.origin}
				at.set(key, o.origin, next)
			}
			at = next
		}
		at.set(o.path[len(o.path)-1], o.origin, o.leaf())
	}
}

func (o override) leaf() *value {
	if !o.secret {
		return &value{kind: kindScalar, text: o.text, origin: o.origin}
	}
	// The variable is referred to, so that its value is not kept.
	name := &value{kind: kindScalar, text: o.origin.Name, origin: o.origin}
	v := &value{kind: kindMapping, origin: o.origin}
	v.set("env", o.origin, name)
	return v
}

// secretVariables collects the variables that secrets of a tree refer to.
func secretVariables(v *value, into map[string]bool) {
	for _, e := range v.entries {
		if e.key == "env" && e.value.kind == kindScalar {
			into[e.value.text] = true
		}
		secretVariables(e.value, into)
	}
	for _, item := range v.items {
		secretVariables(item, into)
	}
}

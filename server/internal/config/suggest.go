package config

import (
	"reflect"
	"strings"
)

// nearest returns the candidate that a person most likely meant, or "".
func nearest(got string, candidates []string) string {
	normal := normalKey(got)
	best, bestDistance := "", max(1, len(normal)/3)+1
	for _, c := range candidates {
		if d := distance(normal, normalKey(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best != "" || len(normal) < 4 {
		return best
	}
	for _, c := range candidates {
		if strings.HasSuffix(normalKey(c), normal) || strings.HasPrefix(normalKey(c), normal) {
			return c
		}
	}
	return ""
}

// normalKey makes maxInFlight, max-in-flight and MAX_IN_FLIGHT alike.
func normalKey(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
}

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours that turn a into b.
func distance(a, b string) int {
	previous, current, before := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range current {
		current[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, previous, current = previous, current, before
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
	}
	return current[len(b)]
}

// unknownKeyHint says what to do about a key that a struct does not have.
func unknownKeyHint(t reflect.Type, key string) string {
	settings := Settings(t)
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.Name
	}
	// A key that is right in a section below is the more likely slip than a
	// misspelt one here.
	for _, s := range settings {
		inner := s.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() != reflect.Struct || inner == reflect.TypeFor[Secret]() {
			continue
		}
		for _, below := range Settings(inner) {
			if below.Name == key {
				return "did you mean " + s.Name + "." + key + "?"
			}
		}
	}
	if near := nearest(key, names); near != "" {
		return "did you mean " + near + "?"
	}
	return "known here: " + strings.Join(names, ", ")
}

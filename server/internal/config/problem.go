package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct { //nolint:errname // It is a problem first, and an error so that errors.Join takes it.
	// Origin is where the value stands. It is zero for a configuration that was
	// made in Go and for a setting that stands nowhere.
	Origin Origin
	// Path names the setting, such as subscriptions[0].retry.attempts. It is empty
	// if the file as a whole is meant.
	Path string
	// Text says what is wrong and Hint what to do. Neither ever holds a secret.
	Text, Hint string
	// Warning marks what is allowed and probably not meant.
	Warning bool

	// involved are the settings that a rule compared, Path among them.
	involved []string
}

// Error returns "file:line:column: path: what is wrong; what to do", without
// the parts that are unknown.
func (p Problem) Error() string {
	var b strings.Builder
	if p.Origin != (Origin{}) {
		b.WriteString(p.Origin.String() + ": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.Text)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// InvalidError says that a configuration cannot be used. It carries every
// problem that was found, in the order of the files.
type InvalidError struct {
	// Problems has at least one entry, and no warnings.
	Problems []Problem
	// Warnings are what else was noticed.
	Warnings []Problem
}

// Error returns all problems, one a line.
func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Summary says in a few words how many problems there are and in which files.
func (e *InvalidError) Summary() string {
	var files []string
	for _, p := range e.Problems {
		if p.Origin.Source == FromFile && !slices.Contains(files, p.Origin.Name) {
			files = append(files, p.Origin.Name)
		}
	}
	where := "the configuration"
	if len(files) > 0 {
		where = strings.Join(files, " and ")
	}
	if len(e.Problems) == 1 {
		return "1 problem in " + where
	}
	return fmt.Sprintf("%d problems in %s", len(e.Problems), where)
}

// Unwrap returns the problems, so that errors.As finds each.
func (e *InvalidError) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p
	}
	return errs
}

// sortProblems puts problems in the order in which a person walks the file.
func sortProblems(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Origin.Source, b.Origin.Source),
			cmp.Compare(a.Origin.Name, b.Origin.Name),
			cmp.Compare(a.Origin.Line, b.Origin.Line),
			cmp.Compare(a.Origin.Column, b.Origin.Column),
		)
	})
}

// keyPath appends a key to a path, quoted unless it is a plain word.
func keyPath(path, key string) string {
	if !plainKey(key) {
		return path + fmt.Sprintf("[%q]", key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func indexPath(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// parentPath cuts the last step off a path.
func parentPath(path string) string {
	if strings.HasSuffix(path, `"]`) {
		return path[:max(strings.LastIndex(path, `["`), 0)]
	}
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

func plainKey(key string) bool {
	if key == "" || '0' <= key[0] && key[0] <= '9' {
		return false
	}
	for i := range len(key) {
		c := key[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

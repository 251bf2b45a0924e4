package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// FileName is the configuration file that is looked for in the working
// directory.
const FileName = "redrive.yaml"

// Options say where to look for settings.
type Options struct {
	// File is the configuration file to read in place of the usual ones. Default:
	// what REDRIVE_CONFIG in Environ names, else redrive.yaml in the working
	// directory if it exists.
	File string
	// Environ are the variables of the environment as os.Environ returns them.
	Environ []string
	// Flags are settings from the command line.
	Flags []Flag
	// ReadFile reads a file. Default: os.ReadFile.
	ReadFile func(name string) ([]byte, error)
}

// Flag is a setting from the command line.
type Flag struct {
	// Name is the flag as it is written, such as --log-level.
	Name string
	// Path is the setting, such as log.level. It must be outside of lists.
	Path string
	// Value is what was given.
	Value string
}

// Loaded is a valid configuration and where it came from.
type Loaded struct {
	// Config has all its defaults, and relative paths are relative to the working
	// directory.
	Config Config
	// Files are the files that were read, the weaker first.
	Files []string
	// Warnings are what is allowed and probably not meant.
	Warnings []Problem

	written Config
	set     map[string]Origin
}

// Load reads, merges and checks all settings. It returns an [InvalidError] with
// every problem, or an error that wraps [fs.ErrNotExist] if a file that was named
// is not there. Without any file the defaults stand.
func Load(o Options) (*Loaded, error) {
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	root := &value{kind: kindMapping}
	l := &Loaded{}
	var problems []Problem
	for _, f := range o.files() {
		data, err := o.ReadFile(f.name)
		if errors.Is(err, fs.ErrNotExist) && !f.named {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		tree, found := parse(f.name, data)
		problems = append(append(problems, found...), checkVersion(tree, f.name, len(found) > 0)...)
		root = merge(root, tree, reflect.TypeFor[Config]())
		l.Files = append(l.Files, f.name)
	}
	referenced := map[string]bool{}
	secretVariables(root, referenced)
	overrides, warnings := fromEnv(o.Environ, brokerNames(root), referenced)
	apply(root, overrides)
	apply(root, flagOverrides(o.Flags))
	if err := l.decode(root, problems, warnings); err != nil {
		return nil, err
	}
	l.resolvePaths()
	return l, nil
}

// Decode reads one file alone: no other file, no environment, no flags. Relative
// paths stay as they are. Its errors are those of Load.
func Decode(file string, data []byte) (*Loaded, error) {
	tree, problems := parse(file, data)
	problems = append(problems, checkVersion(tree, file, len(problems) > 0)...)
	l := &Loaded{Files: []string{file}}
	if err := l.decode(tree, problems, nil); err != nil {
		return nil, err
	}
	return l, nil
}

type candidate struct {
	name  string
	named bool
}

// files lists the files to read, the weaker first.
func (o Options) files() []candidate {
	if o.File == "" {
		o.File = lookup(o.Environ, EnvFile)
	}
	if o.File != "" {
		return []candidate{{o.File, true}}
	}
	var out []candidate
	home := lookup(o.Environ, "XDG_CONFIG_HOME")
	if !filepath.IsAbs(home) {
		// A relative one is to be ignored, says the XDG base directory specification.
		home = ""
		if user := lookup(o.Environ, "HOME"); user != "" {
			home = filepath.Join(user, ".config")
		}
	}
	if home != "" {
		out = append(out, candidate{filepath.Join(home, "redrive", "config.yaml"), false})
	}
	return append(out, candidate{FileName, false})
}

// lookup returns the last value of a variable, as a process would see it.
func lookup(environ []string, name string) string {
	for _, line := range slices.Backward(environ) {
		if key, text, ok := strings.Cut(line, "="); ok && key == name {
			return text
		}
	}
	return ""
}

func checkVersion(tree *value, file string, broken bool) []Problem {
	if v := tree.get("version"); broken || v != nil && v.kind != kindNull {
		return nil
	}
	return []Problem{{
		Origin: Origin{Source: FromFile, Name: file, Line: 1, Column: 1}, Path: "version",
		Text: "is missing", Hint: fmt.Sprintf("start the file with version: %d", Version),
	}}
}

func brokerNames(root *value) []string {
	var names []string
	if brokers := root.get("brokers"); brokers != nil {
		for _, e := range brokers.entries {
			names = append(names, e.key)
		}
	}
	if len(names) == 0 {
		names = []string{DefaultBroker}
	}
	return names
}

func flagOverrides(flags []Flag) []override {
	out := make([]override, len(flags))
	for i, f := range flags {
		out[i] = override{path: strings.Split(f.Path, "."), text: f.Value, origin: Origin{Source: FromFlag, Name: f.Name}}
	}
	return out
}

// decode turns the merged tree into a configuration with its defaults, or into
// all problems.
func (l *Loaded) decode(root *value, problems, warnings []Problem) error {
	d := &decoder{failed: map[string]bool{}}
	for _, p := range problems {
		d.failed[p.Path] = true
	}
	d.structure(root, reflect.ValueOf(&l.written).Elem(), "")
	problems = append(problems, d.problems...)
	l.set = map[string]Origin{}
	index(root, "", l.set)
	l.Config = l.written.WithDefaults()
	for _, p := range append(l.Config.check(l.set), l.literals()...) {
		if d.blames(p) {
			continue
		}
		p.Origin = l.locate(p)
		if p.Warning {
			warnings = append(warnings, p)
		} else {
			problems = append(problems, p)
		}
	}
	sortProblems(problems)
	sortProblems(warnings)
	if len(problems) > 0 {
		return &InvalidError{Problems: problems, Warnings: warnings}
	}
	l.Warnings = warnings
	return nil
}

// blames reports whether a rule looks at a setting that could not be read: what
// it says then follows from that.
func (d *decoder) blames(p Problem) bool {
	for _, path := range p.involved {
		for _, at := range []string{path, inheritedPath(path)} {
			if at != "" && d.touches(at) {
				return true
			}
		}
	}
	return false
}

func (d *decoder) touches(path string) bool {
	for failed := range d.failed {
		if failed != "" && (within(failed, path) || within(path, failed)) {
			return true
		}
	}
	return false
}

// within reports whether inner is outer or a part of it.
func within(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// locate finds the place to show for a problem: that of the first setting
// involved that was written somewhere, else that of the nearest section around it.
func (l *Loaded) locate(p Problem) Origin {
	for _, path := range p.involved {
		for _, at := range []string{path, inheritedPath(path)} {
			if o, ok := l.set[at]; ok {
				return o
			}
		}
	}
	for path := parentPath(p.Path); path != ""; path = parentPath(path) {
		if o, ok := l.set[path]; ok {
			return o
		}
	}
	if len(l.Files) > 0 {
		return Origin{Source: FromFile, Name: l.Files[len(l.Files)-1], Line: 1, Column: 1}
	}
	return Origin{}
}

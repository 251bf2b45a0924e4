package config

import "fmt"

// Source is the kind of place that a value came from, from weak to strong.
type Source uint8

// The sources of values.
const (
	// FromDefault: nobody set the value.
	FromDefault Source = iota
	// FromFile: a configuration file.
	FromFile
	// FromEnv: a variable of the environment.
	FromEnv
	// FromFlag: a flag on the command line.
	FromFlag
)

// Origin says where a value came from. The zero Origin is the default.
type Origin struct {
	Source Source
	// Name is the file, variable or flag.
	Name string
	// Line and Column count from 1; 0 outside of files.
	Line, Column int
}

// String returns "redrive.yaml:3:7", "env REDRIVE_LOG_LEVEL", "flag
// --log-level" or "default".
func (o Origin) String() string {
	switch o.Source {
	case FromFile:
		return fmt.Sprintf("%s:%d:%d", o.Name, o.Line, o.Column)
	case FromEnv:
		return "env " + o.Name
	case FromFlag:
		return "flag " + o.Name
	case FromDefault:
	}
	return "default"
}

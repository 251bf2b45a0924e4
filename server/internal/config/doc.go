// Package config reads the settings of redrive: strictly, with every problem
// at once, and with the origin of every value kept.
//
// [Load] merges, from strong to weak: flags, REDRIVE_* variables of the
// environment, ./redrive.yaml (or the file that was named), the user's
// $XDG_CONFIG_HOME/redrive/config.yaml, and the defaults. Mappings are merged
// key by key; a list replaces the whole list below it. A file that was named,
// by flag or by REDRIVE_CONFIG, stands alone: the user's own file is not read
// then, so that a server never depends on who started it.
//
// Nothing is guessed. An unknown key, a duplicate, a bare number where a
// duration belongs or a contradiction between two settings is a [Problem] with
// a position, what is wrong and what to do. [InvalidError] carries all of them.
//
// Zero values in the structs mean "not set": [Config.WithDefaults] fills them,
// a subscription first from the defaults section and then from the built-in
// values. A file that spells out a zero where zero has no meaning is refused,
// so the two never mix.
//
// A [Secret] is a reference to a secret, not the secret. It prints as
// "[redacted]" by every road: fmt, JSON, YAML and slog.
//
// The JSON Schema for editors and the reference page under docs/reference are
// generated from the structs of this package, their tags and their comments.
package config

//go:generate go run ./configdoc -out ../../../docs/reference

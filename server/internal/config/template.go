package config

import (
	_ "embed" // for the template
	"slices"
)

//go:embed template.yaml
var template []byte

// Template returns a commented configuration file to start from. It is valid,
// and so is what remains when every commented setting is switched on.
func Template() []byte { return slices.Clone(template) }

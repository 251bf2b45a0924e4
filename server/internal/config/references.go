package config

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
)

// CheckReferences reads everything that the configuration refers to and reports
// what cannot be read, as an [InvalidError]: schemas, certificates and keys,
// secrets from variables and files. The commands of secrets are run. If the
// context ends first, its cause is returned.
func (l *Loaded) CheckReferences(ctx context.Context) error {
	k := &checker{}
	c := l.Config.Clone()
	v := reflect.ValueOf(&c).Elem()
	eachLeaf(v, "", func(path string, p Path) Path {
		if path != "data_dir" {
			k.file(path, string(p))
		}
		return p
	})
	eachLeaf(v, "", func(path string, s Secret) Secret {
		if _, err := s.Reveal(ctx); err != nil {
			k.broken(path, err.Error(), "provide the secret, or correct the reference")
		}
		return s
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(k.problems) == 0 {
		return nil
	}
	for i := range k.problems {
		k.problems[i].Origin = l.locate(k.problems[i])
	}
	sortProblems(k.problems)
	return &InvalidError{Problems: k.problems, Warnings: l.Warnings}
}

func (k *checker) file(path, name string) {
	data, err := os.ReadFile(name) //nolint:gosec // The operator's own setting names the file.
	if err != nil {
		if pathError, ok := errors.AsType[*os.PathError](err); ok {
			err = pathError.Err
		}
		k.broken(path, "the file "+quoted(name)+" cannot be read: "+err.Error(), "create it, or correct the path, which is relative to the folder of the configuration file")
		return
	}
	if strings.HasSuffix(path, "schema.file") && !json.Valid(data) {
		k.broken(path, "the file "+quoted(name)+" is not JSON", "write a JSON Schema into it")
	}
}

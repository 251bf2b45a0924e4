// Command configdoc writes the JSON Schema and the reference page of the
// configuration file from the structs of package config: their tags, and the
// comments on their fields.
//
//	go generate ./server/internal/config        write them
//	go run ./server/internal/config/configdoc -src … -out … -check
//
// With -check nothing is written; the exit code is 1 if a file is not what
// would be written.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	src := flag.String("src", ".", "folder of package config")
	out := flag.String("out", "../../../docs/reference", "folder of the documents")
	check := flag.Bool("check", false, "compare and do not write")
	flag.Parse()
	if err := run(*src, *out, *check); err != nil {
		fmt.Fprintln(os.Stderr, "configdoc:", err)
		os.Exit(1) //nolint:forbidigo // This is main.
	}
}

func run(src, out string, check bool) error {
	documents, err := generate(src)
	if err != nil {
		return err
	}
	var errs []error
	for name, content := range documents {
		path := filepath.Join(out, name)
		if !check {
			errs = append(errs, os.WriteFile(path, content, 0o644)) //nolint:gosec // Documentation is for everybody.
			continue
		}
		if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, content) { //nolint:gosec // The path is the caller's.
			errs = append(errs, fmt.Errorf("%s is out of date; run go generate ./server/internal/config", path))
		}
	}
	return errors.Join(errs...)
}

// generate returns the documents by file name.
func generate(src string) (map[string][]byte, error) {
	texts, err := readComments(src)
	if err != nil {
		return nil, err
	}
	if err := texts.check(); err != nil {
		return nil, err
	}
	schema, err := schemaDocument(texts)
	if err != nil {
		return nil, err
	}
	page, err := referencePage(texts)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"redrive.schema.json": schema, "configuration.md": page}, nil
}

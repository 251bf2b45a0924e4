package schema

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
)

const (
	maxFile  = 4 << 20 // bytes of one schema file
	maxFiles = 256     // files that one schema refers to
)

// loader reads the schemas that a schema refers to: those in its folder, and no
// others.
type loader struct {
	// root is the folder, out of which no link leads; nil if there is none, and then
	// every reference is refused.
	root *os.Root
	// bases are the URLs that stand for the folder, each with a slash at its end.
	bases []string
	// docs collects what was read.
	docs []any
}

// Load implements jsonschema.URLLoader.
func (l *loader) Load(ref string) (any, error) {
	if l.root == nil {
		return nil, errors.New("this schema has no folder, so it cannot refer to others; put them under $defs")
	}
	name, ok := l.name(ref)
	if !ok {
		return nil, errors.New("only files in the folder of the schema are read, and nothing is fetched; put it there and refer to it by a relative path")
	}
	if len(l.docs) >= maxFiles {
		return nil, fmt.Errorf("more than %d files are referred to", maxFiles)
	}
	raw, err := readFile(l.root, name)
	if err != nil {
		return nil, err
	}
	doc, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	l.docs = append(l.docs, doc)
	return doc, nil
}

// name returns the file in the folder that a URL stands for.
func (l *loader) name(ref string) (string, bool) {
	for _, base := range l.bases {
		rest, ok := strings.CutPrefix(ref, base)
		if !ok {
			continue
		}
		name, err := url.PathUnescape(rest)
		if err == nil && filepath.IsLocal(filepath.FromSlash(name)) {
			return filepath.FromSlash(name), true
		}
	}
	return "", false
}

// folder is what both a directory and a root can do.
type folder interface {
	Stat(name string) (os.FileInfo, error)
	Open(name string) (*os.File, error)
}

// anywhere opens files by their whole path: for the one file that the user named.
type anywhere struct{}

func (anywhere) Stat(name string) (os.FileInfo, error) { return os.Stat(name) }
func (anywhere) Open(name string) (*os.File, error)    { return os.Open(name) } //nolint:gosec // the user named it

// readFile reads a regular file of bounded size. It looks before it opens, because
// opening a pipe waits for a writer.
func readFile(in folder, name string) ([]byte, error) {
	info, err := in.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := in.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return raw, nil
}

// baseOf returns the URL of the folder of a schema by its own $id, or by id in
// draft 4; empty if it has none that other files could be under.
func baseOf(doc any) string {
	obj, ok := doc.(map[string]any)
	if !ok {
		return ""
	}
	id, ok := obj["$id"].(string)
	if !ok {
		id, _ = obj["id"].(string)
	}
	u, err := url.Parse(id)
	if err != nil || u.Host == "" || u.Path == "" || u.RawQuery != "" {
		return ""
	}
	u.Fragment = ""
	u.Path = strings.TrimSuffix(path.Dir(u.Path), "/") + "/"
	u.RawPath = ""
	return u.String()
}

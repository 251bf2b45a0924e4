package repolint_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// module is the path of the library; the product's path is below it.
const module = "github.com/redrive-dev/redrive"

// root returns the directory of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.work")); err != nil {
		t.Fatalf("the repository's root is not where it should be: %v", err)
	}
	return dir
}

// notOurs names directories that hold nothing we wrote: version control, caches,
// build results and other people's packages.
func notOurs(name string) bool {
	switch name {
	case ".git", ".cache", "bin", "dist", "node_modules", "coverage":
		return true
	}
	return false
}

// files returns the paths, relative to the root and with slashes, of all files
// that match. It reads directories itself instead of asking git, so that it
// works in an unpacked archive, and so that go test sees what the result
// depends on and does not serve an old one from its cache.
func files(t *testing.T, match func(path string) bool) []string {
	t.Helper()
	dir := root(t)
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed while we were looking
		}
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if notOurs(entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		// In a worktree .git is a file, with a path of this machine.
		if rel = filepath.ToSlash(rel); entry.Type().IsRegular() && rel != ".git" && match(rel) {
			found = append(found, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatal("no file matches: the check would pass without looking at anything")
	}
	return found
}

// read returns a file's content, given its path relative to the root.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// source is a parsed Go file.
type source struct {
	// path is relative to the root, with slashes.
	path string
	file *ast.File
	set  *token.FileSet
	// lines is the number of lines.
	lines int
	// text is the content.
	text string
}

func (s source) isTest() bool      { return strings.HasSuffix(s.path, "_test.go") }
func (s source) isGenerated() bool { return ast.IsGenerated(s.file) }

// dir returns the package's directory, "." for the root.
func (s source) dir() string {
	return path.Dir(s.path)
}

// at returns the position as path:line.
func (s source) at(pos token.Pos) string {
	position := s.set.Position(pos)
	position.Filename = s.path
	position.Column = 0
	return position.String()
}

// sources returns every Go file outside of testdata.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, path := range files(t, func(path string) bool {
		return strings.HasSuffix(path, ".go") && !inTestdata(path)
	}) {
		text := read(t, path)
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{path: path, file: file, set: set, lines: strings.Count(text, "\n"), text: text})
	}
	return all
}

func inTestdata(path string) bool {
	return slices.Contains(strings.Split(path, "/"), "testdata")
}

// listed is what go list says of a package.
type listed struct {
	ImportPath   string
	Name         string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
	Module       *struct{ Path string }
}

// ours reports whether the package belongs to this repository.
func (p listed) ours() bool { return isOurs(p.ImportPath) }

func isOurs(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// dir returns the package's directory relative to the root, "." for the root.
func (p listed) dir() string { return cmp.Or(strings.TrimPrefix(trimModule(p.ImportPath), "/"), ".") }

func trimModule(path string) string { return strings.TrimPrefix(path, module) }

var listOnce = sync.OnceValues(func() (map[string]listed, error) {
	command := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Name,Standard,Imports,TestImports,XTestImports,Deps,Module", "work")
	command.Dir = filepath.Join("..", "..")
	var failed strings.Builder
	command.Stderr = &failed
	out, err := command.Output()
	if err != nil {
		return nil, errors.New("go list: " + err.Error() + ": " + failed.String())
	}
	packages := map[string]listed{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var one listed
		if err := decoder.Decode(&one); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages[one.ImportPath] = one
	}
})

// packages returns the packages of the workspace and all they depend on, by
// import path.
func packages(t *testing.T) map[string]listed {
	t.Helper()
	// go test caches results by the files a test opens, and go list opens them
	// in another process: reading them here too keeps a cached result true.
	_ = sources(t)
	all, err := listOnce()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := all[module+"/broker"]; !ok {
		t.Fatalf("go list found no package %s/broker: the check would look at nothing", module)
	}
	return all
}

// inOrder returns our own packages sorted by path.
func inOrder(all map[string]listed) []listed {
	var own []listed
	for _, p := range all {
		if p.ours() {
			own = append(own, p)
		}
	}
	slices.SortFunc(own, func(a, b listed) int { return cmp.Compare(a.ImportPath, b.ImportPath) })
	return own
}

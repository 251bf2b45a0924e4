package repolint_test

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// core are the packages that everything rests on: pure functions and the words
// they share.
var core = []string{"breaker", "broker", "decision", "envelope", "failure", "idempotency", "poison", "report", "retry"}

// pure are the packages whose results depend on nothing but their arguments.
var pure = append([]string{"internal/engine"}, core...)

// words are the packages that the other core packages may import.
var words = []string{"broker", "envelope", "failure"}

// forTests are the modules that tests of the library may use.
var forTests = []string{"github.com/google/go-cmp", "pgregory.net/rapid"}

// within reports whether a path is the prefix or below it.
func within(importPath, prefix string) bool {
	return importPath == prefix || strings.HasPrefix(importPath, prefix+"/")
}

func withinAny(importPath string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return within(importPath, prefix) })
}

func ourPaths(dirs ...string) []string {
	paths := make([]string, len(dirs))
	for i, dir := range dirs {
		paths[i] = module + "/" + dir
	}
	return paths
}

// TestCoreImports keeps the core packages and the root package to the standard
// library and to each other, through all their dependencies.
func TestCoreImports(t *testing.T) {
	all := packages(t)
	for _, p := range inOrder(all) {
		isCore := slices.Contains(core, p.dir())
		if !isCore && p.ImportPath != module {
			continue
		}
		for _, dep := range p.Deps {
			switch d := all[dep]; {
			case d.Standard || slices.Contains(ourPaths(core...), dep):
			case d.ours() && p.ImportPath == module && within(dep, module+"/internal"):
			default:
				t.Errorf("%s depends on %s: the core rests on the standard library and on itself alone", p.ImportPath, dep)
			}
		}
	}
}

// TestCoreSiblings keeps the policies apart: each may use the shared words, and
// only decision, which joins them, may use the others.
func TestCoreSiblings(t *testing.T) {
	for _, p := range inOrder(packages(t)) {
		if !slices.Contains(core, p.dir()) || p.dir() == "decision" {
			continue
		}
		for _, imported := range p.Imports {
			if isOurs(imported) && !slices.Contains(ourPaths(words...), imported) {
				t.Errorf("%s imports %s: a core package imports at most %s", p.ImportPath, imported, strings.Join(words, ", "))
			}
		}
	}
}

// TestCoreIsPure forbids the core and the worker's state machine what would make its results depend on more
// than its arguments.
func TestCoreIsPure(t *testing.T) {
	forbidden := []string{"io/ioutil", "log", "log/slog", "math/rand", "net/http", "os/exec"}
	for _, p := range inOrder(packages(t)) {
		if !slices.Contains(pure, p.dir()) {
			continue
		}
		for _, imported := range p.Imports {
			if slices.Contains(forbidden, imported) {
				t.Errorf("%s imports %s: time, randomness and output are arguments or results there", p.ImportPath, imported)
			}
		}
	}
	for _, s := range sources(t) {
		if s.isTest() || !slices.Contains(pure, s.dir()) {
			continue
		}
		for _, found := range calls(s, "time", "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker") {
			t.Errorf("%s: the core has no clock: take the time as an argument", found)
		}
		// A classifier names the errors of os and net, and calls nothing there.
		for _, importPath := range []string{"os", "net"} {
			for _, found := range calls(s, importPath) {
				t.Errorf("%s: the core does no I/O", found)
			}
		}
		for _, found := range calls(s, "math/rand/v2", "Float64", "Int", "Int64", "Int64N", "IntN", "N", "Uint64", "Uint64N", "Shuffle", "Perm", "ExpFloat64", "NormFloat64") {
			t.Errorf("%s: the core has no randomness of its own: take the source as an argument", found)
		}
		for _, found := range goStatements(s) {
			t.Errorf("%s: the core starts no goroutine", found)
		}
	}
}

// TestLibraryTests keeps the library's own tests, adapters excepted, to two
// modules besides the standard library.
func TestLibraryTests(t *testing.T) {
	for _, p := range inOrder(packages(t)) {
		if !slices.Contains(core, p.dir()) && p.ImportPath != module {
			continue
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if strings.Contains(firstElement(imported), ".") && !isOurs(imported) && !withinAny(imported, forTests) {
				t.Errorf("the tests of %s import %s: they use testing, go-cmp and rapid", p.ImportPath, imported)
			}
		}
	}
}

func firstElement(importPath string) string {
	first, _, _ := strings.Cut(importPath, "/")
	return first
}

// TestLibraryDoesNotKnowTheProduct keeps the two modules in order: the product
// imports the library, and only what the library exports.
func TestLibraryDoesNotKnowTheProduct(t *testing.T) {
	server := module + "/server"
	for _, p := range inOrder(packages(t)) {
		inServer := within(p.ImportPath, server)
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if !inServer && within(imported, server) {
				t.Errorf("%s imports %s: the library does not know the product", p.ImportPath, imported)
			}
			// The compiler allows it, because the path of one module is below the
			// other's; the module proxy's users could not build it after a change. Tests
			// that start servers need this checkout anyway.
			servers := imported == module+"/internal/servertest" && !slices.Contains(p.Imports, imported)
			if inServer && within(imported, module+"/internal") && !servers {
				t.Errorf("%s imports %s: internal packages of the library are not for the product", p.ImportPath, imported)
			}
		}
	}
}

// TestAdapterImports lets whoever imports one adapter compile only that one.
func TestAdapterImports(t *testing.T) {
	all := packages(t)
	adapters := adapterDirs(t)
	for _, p := range inOrder(all) {
		if !slices.Contains(adapters, p.dir()) {
			continue
		}
		for _, dep := range p.Deps {
			if sibling := strings.TrimPrefix(trimModule(dep), "/"); slices.Contains(adapters, sibling) && sibling != p.dir() {
				t.Errorf("%s depends on %s: adapters do not know each other", p.ImportPath, dep)
			}
		}
	}
}

// domain are the product's packages without a server, a database driver or a
// broker's client, with what each may never reach.
var domain = []string{"alert", "campaign", "ingest", "letter", "topology"}

// TestDomainImports keeps the product's domain free of its surroundings, through
// all dependencies.
func TestDomainImports(t *testing.T) {
	all := packages(t)
	adapters := adapterDirs(t)
	for _, p := range inOrder(all) {
		if !slices.ContainsFunc(domain, func(name string) bool { return p.dir() == "server/internal/"+name }) {
			continue
		}
		for _, dep := range p.Deps {
			dir := strings.TrimPrefix(trimModule(dep), "/")
			switch {
			case !isOurs(dep) && hasBase(dep, "nats.go", "nats-server", "sqlite", "pgx", "cobra"),
				isOurs(dep) && slices.Contains(adapters, dir),
				isOurs(dep) && isDriver(dir),
				isOurs(dep) && withinAny(dir, []string{"server/internal/httpapi", "server/internal/console", "server/internal/cli", "server/app"}):
				t.Errorf("%s depends on %s: the domain declares the ports it needs and is given the rest", p.ImportPath, dep)
			}
		}
	}
	letter, ok := all[module+"/server/internal/letter"]
	if !ok {
		return
	}
	for _, imported := range letter.Imports {
		if !all[imported].Standard && imported != module+"/failure" {
			t.Errorf("%s imports %s: a letter is standard library and package failure", letter.ImportPath, imported)
		}
	}
}

func hasBase(importPath string, names ...string) bool {
	return slices.ContainsFunc(strings.Split(importPath, "/"), func(element string) bool {
		return slices.Contains(names, element)
	})
}

// isDriver reports whether a directory holds one concrete store.
func isDriver(dir string) bool {
	switch path.Base(dir) {
	case "sqlite", "postgres", "sqlitestore", "postgresstore":
		return within(dir, "server")
	}
	return false
}

// TestOnlyAppWires keeps the choice of concrete parts in one place: app makes
// them, the command starts app, and tests may make what they test.
func TestOnlyAppWires(t *testing.T) {
	adapters := adapterDirs(t)
	for _, p := range inOrder(packages(t)) {
		dir := p.dir()
		if !within(dir, "server") || within(dir, "server/app") || within(dir, "server/cmd") || strings.HasSuffix(dir, "test") {
			continue
		}
		for _, imported := range p.Imports {
			to := strings.TrimPrefix(trimModule(imported), "/")
			if !isOurs(imported) || within(to, dir) || within(dir, to) {
				continue
			}
			notifier := strings.HasPrefix(to, "server/internal/notify/")
			if slices.Contains(adapters, to) || isDriver(to) || notifier && !within(dir, "server/internal/notify") {
				t.Errorf("%s imports %s: only server/app chooses stores, adapters and notifiers", p.ImportPath, imported)
			}
		}
	}
}

// TestFacesDoNotTouchStores keeps the command line, the HTTP API and the console
// behind the same rules of access.
func TestFacesDoNotTouchStores(t *testing.T) {
	for _, p := range inOrder(packages(t)) {
		switch p.dir() {
		case "server/internal/httpapi", "server/internal/cli", "server/internal/console":
		default:
			continue
		}
		for _, imported := range p.Imports {
			if within(imported, module+"/server/internal/store") {
				t.Errorf("%s imports %s: a face asks for what it needs through an interface of its own", p.ImportPath, imported)
			}
		}
	}
}

// TestTestingStaysInTests keeps test frameworks out of what users compile.
func TestTestingStaysInTests(t *testing.T) {
	for _, p := range inOrder(packages(t)) {
		if strings.HasSuffix(p.Name, "test") {
			continue
		}
		for _, imported := range p.Imports {
			if imported == "testing" || within(imported, "github.com/stretchr/testify") {
				t.Errorf("%s imports %s outside of its tests", p.ImportPath, imported)
			}
		}
	}
}

// TestNoReplace keeps go install working: it refuses a module with a replace.
func TestNoReplace(t *testing.T) {
	for _, name := range files(t, func(name string) bool {
		return path.Base(name) == "go.mod" && !inTestdata(name)
	}) {
		for number, line := range strings.Split(read(t, name), "\n") {
			if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "replace" || strings.Contains(line, "=>") {
				t.Errorf("%s:%d: replacements belong into go.work, where users do not see them", name, number+1)
			}
		}
	}
}

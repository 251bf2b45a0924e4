package repolint_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Limits of length. golangci-lint checks the same ones for code that it sees;
// these also hold for files with build tags and for tests.
const (
	maxFileLines     = 800
	maxFuncLines     = 80
	maxTestFuncLines = 150
)

// TestLengths keeps files and functions short enough to be read in one go.
// Comments and blank lines do not count for functions.
func TestLengths(t *testing.T) {
	for _, s := range sources(t) {
		if s.isGenerated() {
			continue
		}
		if !s.isTest() && s.lines > maxFileLines {
			t.Errorf("%s has %d lines: %d is the limit", s.path, s.lines, maxFileLines)
		}
		limit := maxFuncLines
		if s.isTest() {
			limit = maxTestFuncLines
		}
		for _, decl := range s.file.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok || function.Body == nil {
				continue
			}
			if n := codeLines(s, function); n > limit {
				t.Errorf("%s: %s has %d lines of code: %d is the limit", s.at(function.Pos()), function.Name.Name, n, limit)
			}
		}
	}
}

// codeLines counts the lines of a function's body that hold code.
func codeLines(s source, function *ast.FuncDecl) int {
	line := func(pos token.Pos) int { return s.set.Position(pos).Line }
	first, last := line(function.Body.Lbrace)+1, line(function.Body.Rbrace)-1
	comments := map[int]bool{}
	for _, group := range s.file.Comments {
		for _, comment := range group.List {
			for n := line(comment.Pos()); n <= line(comment.End()); n++ {
				comments[n] = true
			}
		}
	}
	text := strings.Split(s.text, "\n")
	count := 0
	for n := first; n <= last; n++ {
		trimmed := strings.TrimSpace(text[n-1])
		onlyComment := comments[n] && (strings.HasPrefix(trimmed, "//") || strings.HasPrefix(trimmed, "/*") || strings.HasPrefix(trimmed, "*"))
		if trimmed != "" && !onlyComment {
			count++
		}
	}
	return count
}

// TestDocComments asks for a package comment on every package and a comment on
// everything exported.
func TestDocComments(t *testing.T) {
	type pkg struct{ files, docs int }
	byDir := map[string]*pkg{}
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		p := byDir[s.dir()]
		if p == nil {
			p = &pkg{}
			byDir[s.dir()] = p
		}
		p.files++
		if s.file.Doc != nil {
			p.docs++
		}
		if s.isGenerated() || s.file.Name.Name == "main" {
			continue
		}
		for _, found := range undocumented(s) {
			t.Errorf("%s has no comment", found)
		}
	}
	for dir, p := range byDir {
		if p.docs != 1 {
			t.Errorf("package in %s has %d package comments, not one", dir, p.docs)
		}
	}
}

// undocumented lists the exported declarations of a file that say nothing. In
// a group of constants or variables the comment of the group is enough.
func undocumented(s source) []string {
	var found []string
	report := func(name *ast.Ident) {
		if name.IsExported() {
			found = append(found, s.at(name.Pos())+": "+name.Name)
		}
	}
	for _, decl := range s.file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil && exportedReceiver(d) {
				report(d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch sp := spec.(type) {
				case *ast.TypeSpec:
					if sp.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
						report(sp.Name)
					}
				case *ast.ValueSpec:
					if sp.Doc != nil || sp.Comment != nil || d.Doc != nil {
						continue
					}
					for _, name := range sp.Names {
						report(name)
					}
				}
			}
		}
	}
	return found
}

// exportedReceiver reports whether a function is one that users can call: not a
// method of an unexported type.
func exportedReceiver(f *ast.FuncDecl) bool {
	name := receiver(f)
	return name == "" || ast.IsExported(name)
}

// receiver returns the name of a method's type, empty for a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return ""
	}
	expr := f.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// uses lists where a file refers to one of the names of a package of the
// standard library.
func uses(s source, importPath string, names ...string) []string {
	var found []string
	for _, sel := range selectors(s, importPath) {
		if slices.Contains(names, sel.Sel.Name) {
			found = append(found, fmt.Sprintf("%s: %s.%s", s.at(sel.Pos()), importPath, sel.Sel.Name))
		}
	}
	return found
}

// calls is like uses for calls alone: naming time.Now as the default of a clock
// that can be replaced is not reading it. Without names, any call counts.
func calls(s source, importPath string, names ...string) []string {
	called := map[ast.Expr]bool{}
	ast.Inspect(s.file, func(node ast.Node) bool {
		if call, ok := node.(*ast.CallExpr); ok {
			called[call.Fun] = true
		}
		return true
	})
	var found []string
	for _, selector := range selectors(s, importPath) {
		if called[selector] && (len(names) == 0 || slices.Contains(names, selector.Sel.Name)) {
			found = append(found, fmt.Sprintf("%s: %s.%s", s.at(selector.Pos()), importPath, selector.Sel.Name))
		}
	}
	return found
}

// majorVersion is the end of an import path that is not the package's name.
var majorVersion = regexp.MustCompile(`/v[0-9]+$`)

// selectors lists the qualified names of one imported package.
func selectors(s source, importPath string) []*ast.SelectorExpr {
	local := ""
	for _, spec := range s.file.Imports {
		if unquoted, err := strconv.Unquote(spec.Path.Value); err != nil || unquoted != importPath {
			continue
		}
		local = path.Base(majorVersion.ReplaceAllString(importPath, ""))
		if spec.Name != nil {
			local = spec.Name.Name
		}
	}
	var found []*ast.SelectorExpr
	if local == "" {
		return nil
	}
	ast.Inspect(s.file, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok {
			// A resolved name is a variable that hides the package.
			if name, ok := selector.X.(*ast.Ident); ok && name.Name == local && name.Obj == nil {
				found = append(found, selector)
			}
		}
		return true
	})
	return found
}

func goStatements(s source) []string {
	var found []string
	ast.Inspect(s.file, func(node ast.Node) bool {
		if _, ok := node.(*ast.GoStmt); ok {
			found = append(found, s.at(node.Pos()))
		}
		return true
	})
	return found
}

// TestNoSleepInTests finds tests that hope a pause is long enough. Inside
// a synctest bubble time is virtual and a sleep is exact, so it is allowed in
// the function given to synctest.Test and in functions that call synctest.Wait.
func TestNoSleepInTests(t *testing.T) {
	for _, s := range sources(t) {
		if !s.isTest() {
			continue
		}
		bubbles := bubbles(s)
		for _, selector := range selectors(s, "time") {
			if selector.Sel.Name != "Sleep" {
				continue
			}
			inside := slices.ContainsFunc(bubbles, func(node ast.Node) bool {
				return node.Pos() <= selector.Pos() && selector.Pos() < node.End()
			})
			if !inside {
				t.Errorf("%s: wait for what should happen, or run the test in a synctest bubble", s.at(selector.Pos()))
			}
		}
	}
}

// bubbles returns the parts of a test file that run on virtual time.
func bubbles(s source) []ast.Node {
	known := map[ast.Expr]string{}
	for _, selector := range selectors(s, "testing/synctest") {
		known[selector] = selector.Sel.Name
	}
	var found []ast.Node
	for _, decl := range s.file.Decls {
		ast.Inspect(decl, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch known[call.Fun] {
			case "Test":
				found = append(found, call)
			case "Wait":
				found = append(found, decl)
			}
			return true
		})
	}
	return found
}

// brokerMethods are the methods of the port that an adapter implements.
var brokerMethods = []string{"Caps", "Letters", "Open", "Publish", "Stats", "Topology"}

// adapterDirs finds the library's adapters by what they are: packages with
// a type that has the methods of broker.Broker.
func adapterDirs(t *testing.T) []string {
	t.Helper()
	methods := map[string][]string{}
	for _, s := range sources(t) {
		if s.isTest() || within(s.dir(), "server") {
			continue
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && receiver(f) != "" && slices.Contains(brokerMethods, f.Name.Name) {
				key := s.dir() + " " + receiver(f)
				methods[key] = append(methods[key], f.Name.Name)
			}
		}
	}
	var dirs []string
	for key, names := range methods {
		dir, _, _ := strings.Cut(key, " ")
		if len(names) == len(brokerMethods) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return dirs
}

// TestAdaptersRunTheSuite asks every adapter to prove what it promises.
func TestAdaptersRunTheSuite(t *testing.T) {
	runs, works := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest() && len(uses(s, module+"/brokertest", "Run")) > 0 {
			runs[s.dir()] = true
		}
		if s.isTest() && len(uses(s, module+"/internal/workertest", "Cases")) > 0 {
			works[s.dir()] = true
		}
	}
	for _, dir := range adapterDirs(t) {
		// The suite's own package holds brokers that break a rule on purpose.
		if !runs[dir] && dir != "brokertest" {
			t.Errorf("%s implements broker.Broker and no test there calls brokertest.Run", dir)
		}
		if !works[dir] && dir != "brokertest" {
			t.Errorf("%s implements broker.Broker and no test there runs the cases of workertest", dir)
		}
	}
}

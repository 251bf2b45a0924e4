package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redrive-dev/redrive/brokertest"
)

const root = "../../.."

func TestThePageIsCurrent(t *testing.T) {
	got, err := os.ReadFile(filepath.Join(root, "docs", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(page()) {
		t.Error("docs/conformance.md is out of date: run make generate")
	}
}

func TestEveryRequirementHasEvidence(t *testing.T) {
	proved := map[string]int{}
	for _, p := range proofs() {
		for _, id := range p.Requirements() {
			proved[id]++
		}
	}
	known := map[string]bool{}
	for _, r := range brokertest.Requirements() {
		known[r.ID] = true
		if proved[r.ID]+len(elsewhere()[r.ID]) == 0 {
			t.Errorf("nothing shows %s: %s", r.ID, r.Text)
		}
	}
	for id := range elsewhere() {
		if !known[id] {
			t.Errorf("tests are listed for %q, which is no requirement", id)
		}
	}
}

func TestNamedTestsExist(t *testing.T) {
	tests := places()
	for _, list := range elsewhere() {
		tests = append(tests, list...)
	}
	found := map[string][]string{}
	for _, want := range tests {
		if found[want.folder] == nil {
			found[want.folder] = testsIn(t, want.folder)
		}
		if !slices.Contains(found[want.folder], want.name) {
			t.Errorf("there is no %s in %s", want.name, want.folder)
		}
	}
}

// testsIn lists the test functions of a folder.
func testsIn(t *testing.T, folder string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}

package repolint_test

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redrive-dev/redrive/decision"
)

// guard matches a test that a document names as package.TestName, with a link to
// its file.
var guard = regexp.MustCompile("\\[`(\\w+)\\.((?:Test|Fuzz|Example)\\w*)`\\]\\(([^)]+)\\)")

// pitfall matches the heading of an entry and its number.
var pitfall = regexp.MustCompile(`(?m)^### (\d+)\. .+$`)

// TestPitfallsAreGuarded looks up each test that docs/pitfalls.md names. The
// page says that a test fails if redrive behaves badly; a test that was renamed
// or removed makes that a wrong promise.
func TestPitfallsAreGuarded(t *testing.T) {
	const document = "docs/pitfalls.md"
	tests := map[string][]string{} // by file, as package.TestName
	for _, s := range sources(t) {
		if !s.isTest() {
			continue
		}
		name := strings.TrimSuffix(s.file.Name.Name, "_test")
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				tests[s.path] = append(tests[s.path], name+"."+f.Name.Name)
			}
		}
	}
	text := read(t, document)
	entries := pitfall.FindAllStringSubmatchIndex(text, -1)
	if len(entries) == 0 {
		t.Fatalf("%s has no entries", document)
	}
	for i, entry := range entries {
		end := len(text)
		if i+1 < len(entries) {
			end = entries[i+1][0]
		}
		if got := text[entry[2]:entry[3]]; got != strconv.Itoa(i+1) {
			t.Errorf("%s: entry %d has the number %s", document, i+1, got)
		}
		guards := guard.FindAllStringSubmatch(text[entry[1]:end], -1)
		if len(guards) == 0 {
			t.Errorf("%s: entry %d names no test", document, i+1)
		}
		for _, g := range guards {
			file := path.Join(path.Dir(document), g[3])
			if name := g[1] + "." + g[2]; !slices.Contains(tests[file], name) {
				t.Errorf("%s: entry %d: there is no %s in %s", document, i+1, name, file)
			}
		}
	}
}

// TestDecisionTableIsExplained compares docs/state_machine.md with the table of
// decisions: each row has its line there, in the order in which rows are read,
// and no line is left of a row that is gone.
func TestDecisionTableIsExplained(t *testing.T) {
	const document = "docs/state_machine.md"
	row := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| .+ \\| .+ \\| .+ \\|$")
	var explained []string
	for _, match := range row.FindAllStringSubmatch(read(t, document), -1) {
		explained = append(explained, match[1])
	}
	var rows []string
	for _, r := range decision.Table() {
		rows = append(rows, string(r))
	}
	if !slices.Equal(explained, rows) {
		t.Errorf("%s explains the rows\n%q\nbut the table has\n%q", document, explained, rows)
	}
}

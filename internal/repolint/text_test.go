package repolint_test

import (
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var (
	// somebodysDisk matches absolute paths that exist on one machine only.
	somebodysDisk = regexp.MustCompile("(^|[\\s\"'`(=:])/(root|work|home/[a-z]\\w*|Users/[A-Za-z]\\w*)/")
	link          = regexp.MustCompile(`!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	reference     = regexp.MustCompile(`^\[[^\]]+\]:\s+(\S+)`)
	dependency    = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\S+) \\|")
	codeSpan      = regexp.MustCompile("`[^`]*`")
)

// TestNoMachinePaths finds paths of the machine that somebody wrote on. Tests
// are left out because paths are what some of them are about.
func TestNoMachinePaths(t *testing.T) {
	for _, name := range files(t, func(name string) bool {
		return !inTestdata(name) && !strings.HasSuffix(name, "_test.go") && path.Base(name) != "go.sum"
	}) {
		text := read(t, name)
		if !utf8.ValidString(text) {
			continue // a picture or an archive
		}
		for number, line := range strings.Split(text, "\n") {
			if match := somebodysDisk.FindString(line); match != "" {
				t.Errorf("%s:%d: %q is a path of one machine", name, number+1, strings.TrimSpace(match))
			}
		}
	}
}

// TestDependenciesAreExplained compares docs/dependencies.md with what the
// modules of the repository require: each direct dependency has a line with its version, and no
// line is left of one that is gone.
func TestDependenciesAreExplained(t *testing.T) {
	const document = "docs/dependencies.md"
	required := map[string][]string{}
	for _, name := range files(t, func(name string) bool { return path.Base(name) == "go.mod" && !inTestdata(name) }) {
		for line := range strings.SplitSeq(read(t, name), "\n") {
			fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
			if len(fields) < 2 || !strings.Contains(firstElement(fields[0]), ".") || isOurs(fields[0]) {
				continue
			}
			required[fields[0]] = append(required[fields[0]], fields[1])
			if !strings.HasSuffix(line, "// indirect") && !strings.Contains(read(t, document), "| `"+fields[0]+"` | "+fields[1]+" |") {
				t.Errorf("%s requires %s %s: %s has no line with this version", name, fields[0], fields[1], document)
			}
		}
	}
	for _, match := range dependency.FindAllStringSubmatch(read(t, document), -1) {
		if !slices.Contains(required[match[1]], match[2]) {
			t.Errorf("%s explains %s %s: no module requires this version", document, match[1], match[2])
		}
	}
}

// TestLinks follows the links between documents, and to headings in them.
func TestLinks(t *testing.T) {
	dir := root(t)
	headings := map[string][]string{}
	anchorsOf := func(name string) []string {
		if _, ok := headings[name]; !ok {
			headings[name] = anchors(read(t, name))
		}
		return headings[name]
	}
	for _, name := range files(t, func(name string) bool { return strings.HasSuffix(name, ".md") && !inTestdata(name) }) {
		for target := range targets(read(t, name)) {
			where, err := url.Parse(target)
			if err != nil {
				t.Errorf("%s: the link %q is no address: %v", name, target, err)
				continue
			}
			if where.Scheme != "" || where.Host != "" {
				continue // other sites are not asked from a test
			}
			to := name
			if where.Path != "" {
				to = path.Join(path.Dir(name), where.Path)
			}
			info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(to)))
			if err != nil {
				t.Errorf("%s: the link %q leads nowhere", name, target)
				continue
			}
			if where.Fragment != "" && !info.IsDir() && strings.HasSuffix(to, ".md") && !slices.Contains(anchorsOf(to), where.Fragment) {
				t.Errorf("%s: %s has no heading for the link %q", name, to, target)
			}
		}
	}
}

// targets lists where the links of a Markdown text lead to. Code is not looked
// at.
func targets(text string) map[string]bool {
	found := map[string]bool{}
	for line := range prose(text) {
		line = codeSpan.ReplaceAllString(line, "")
		for _, match := range link.FindAllStringSubmatch(line, -1) {
			found[match[1]] = true
		}
		if match := reference.FindStringSubmatch(line); match != nil {
			found[match[1]] = true
		}
	}
	return found
}

// prose yields the lines outside of fenced code.
func prose(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		fence := ""
		for line := range strings.SplitSeq(text, "\n") {
			trimmed := strings.TrimSpace(line)
			for _, mark := range []string{"```", "~~~"} {
				if !strings.HasPrefix(trimmed, mark) {
					continue
				}
				switch fence {
				case "":
					fence = mark
				case mark:
					fence = ""
				}
				line = ""
			}
			if fence == "" && !yield(line) {
				return
			}
		}
	}
}

// anchors lists the fragments that headings can be reached by, as GitHub makes
// them: lower case, spaces as hyphens, no punctuation, repeats numbered.
func anchors(text string) []string {
	var found []string
	seen := map[string]int{}
	for line := range prose(text) {
		title := strings.TrimLeft(line, "#")
		if depth := len(line) - len(title); depth == 0 || depth > 6 || !strings.HasPrefix(title, " ") {
			continue
		}
		title = link.ReplaceAllStringFunc(title, func(l string) string {
			inner, _, _ := strings.Cut(l, "](")
			return strings.TrimLeft(inner, "![")
		})
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title))
		if n := seen[slug]; n > 0 {
			found = append(found, slug+"-"+strconv.Itoa(n))
		} else {
			found = append(found, slug)
		}
		seen[slug]++
	}
	return found
}

// TestShellScripts has bash read every script, and where it is installed shellcheck.
func TestShellScripts(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here")
	}
	scripts := files(t, func(name string) bool {
		return !inTestdata(name) && (strings.HasSuffix(name, ".bash") || strings.HasPrefix(read(t, name), "#!/usr/bin/env bash\n"))
	})
	if len(scripts) < 10 {
		t.Fatalf("found only %q", scripts)
	}
	check := func(program string, arguments ...string) {
		cmd := exec.CommandContext(t.Context(), program, append(arguments, scripts...)...)
		cmd.Dir = root(t)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", program, err, out)
		}
	}
	check(bash, "-c", `for script; do bash -n "$script" || failed=1; done; exit ${failed:-0}`, "bash")
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("bash reads the scripts; shellcheck is not installed")
	}
	check(shellcheck, "--external-sources", "--severity=warning")
}

// TestContainersAreTheServersForTests compares docker-compose.yml with the servers
// that e2e/servers/up starts.
func TestContainersAreTheServersForTests(t *testing.T) {
	_, list, _ := strings.Cut(read(t, "e2e/servers/each"), "\nall=(")
	list, _, found := strings.Cut(list, ")\n")
	want := strings.Fields(list)
	if !found || len(want) < 5 {
		t.Fatalf("e2e/servers/each names only %q", want)
	}
	_, services, _ := strings.Cut(read(t, "e2e/servers/docker-compose.yml"), "\nservices:\n")
	services, _, _ = strings.Cut(services, "\nvolumes:\n")
	var got []string
	for _, match := range regexp.MustCompile(`(?m)^  ([a-z][\w.-]*):\n    image: \S+:\d\S*$`).FindAllStringSubmatch(services, -1) {
		got = append(got, match[1])
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("containers with a pinned image: %q, servers: %q", got, want)
	}
}

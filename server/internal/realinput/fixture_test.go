package realinput_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/server/internal/schema"
)

// unavailable is the exit code by which the script says that npm or its registry
// cannot be had.
const unavailable = 69

// example is one payload as the package has it.
type example struct {
	// origin is the product whose payload it is, such as "api.github.com", and
	// event its type, such as "issues".
	origin, event string
	// body is the value as it stands in the package's file, white space included.
	body []byte
}

// fixtures returns the examples in the order of the package, and the schema.
func fixtures(t *testing.T) ([]example, []byte) {
	t.Helper()
	script := filepath.Join("..", "..", "..", "e2e", "fixtures", "fetch")
	cmd := exec.CommandContext(t.Context(), "bash", script)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	missing := errors.Is(err, exec.ErrNotFound)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == unavailable {
		missing = true
	}
	reason := strings.TrimSpace(said.String())
	if missing && os.Getenv("REDRIVE_REQUIRE_SERVERS") != "1" {
		t.Skipf("GitHub's webhook examples cannot be fetched from npm: %v: %s", err, reason)
	}
	require.NoError(t, err, "GitHub's webhook examples cannot be fetched from npm: %s", reason)
	dir := strings.TrimSpace(string(out))

	var examples []example
	archive := unpack(t, filepath.Join(dir, "octokit-webhooks-examples-7.6.1.tgz"))
	for _, origin := range []string{"api.github.com", "ghes-31", "ghes-32", "ghes-33", "ghes-34", "ghes-35"} {
		raw := archive[path.Join("package", origin, "index.json")]
		require.NotEmpty(t, raw, "the package has no examples of %s", origin)
		delete(archive, path.Join("package", origin, "index.json"))
		var events []struct {
			Name     string
			Examples []json.RawMessage
		}
		require.NoError(t, json.Unmarshal(raw, &events))
		for _, event := range events {
			for _, body := range event.Examples {
				examples = append(examples, example{origin, event.Name, body})
			}
		}
	}
	for name := range archive {
		require.NotEqual(t, "index.json", path.Base(name), "%s holds examples that the test does not read", name)
	}
	published := unpack(t, filepath.Join(dir, "octokit-webhooks-schemas-7.6.1.tgz"))[path.Join("package", "schema.json")]
	require.NotEmpty(t, published, "the package has no schema.json")
	return examples, published
}

// unpack reads the files of an archive, whose digest the script has checked.
func unpack(t *testing.T, file string) map[string][]byte {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	unzipped, err := gzip.NewReader(f)
	require.NoError(t, err)
	files := map[string][]byte{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		files[header.Name], err = io.ReadAll(archive)
		require.NoError(t, err)
	}
}

// usable returns the published schema as the validator can use it: without the
// format uri-template where the validator takes a template of RFC 6570, such as
// GitHub's {/owner}, for a wrong one. Otherwise it is the schema as published.
func usable(t *testing.T, published []byte) []byte {
	t.Helper()
	format, err := schema.Compile("uri-template", []byte(`{"$schema":"http://json-schema.org/draft-07/schema#","format":"uri-template"}`))
	require.NoError(t, err)
	if format.Validate(t.Context(), []byte(`"https://api.github.com/users/octocat/starred{/owner}{/repo}"`), "") == nil {
		return published
	}
	var doc any
	require.NoError(t, json.Unmarshal(published, &doc))
	t.Logf("format uri-template is left out of %d places: the validator refuses valid templates", dropTemplates(doc))
	raw, err := json.Marshal(doc)
	require.NoError(t, err)
	return raw
}

// dropTemplates removes the keyword from a schema and returns how often.
func dropTemplates(node any) int {
	n := 0
	switch v := node.(type) {
	case map[string]any:
		if v["format"] == "uri-template" {
			delete(v, "format")
			n++
		}
		for _, inner := range v {
			n += dropTemplates(inner)
		}
	case []any:
		for _, inner := range v {
			n += dropTemplates(inner)
		}
	}
	return n
}

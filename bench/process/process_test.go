package process

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/redrive-dev/redrive/bench/rounds"
)

func TestTheRepositoryIsFoundFromHere(t *testing.T) {
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.work")); err != nil {
		t.Error(err)
	}
	t.Chdir(t.TempDir())
	if root, err := repository(); err == nil {
		t.Errorf("outside of it %s is found", root)
	}
}

func TestTheEndpointTellsItsFirstCall(t *testing.T) {
	e, err := serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.server.Close() }()
	for range 3 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusNoContent {
			t.Errorf("it answers %s", answer.Status)
		}
	}
	if len(e.called) != 1 {
		t.Errorf("%d calls are told, want the first", len(e.called))
	}
}

// TestABinaryThatEndsIsNoFigure starts something that is not redrive.
func TestABinaryThatEndsIsNoFigure(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho broken >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	measure := up(func(context.Context) (string, error) { return broken, nil }, false)
	if s, err := measure(t.Context()); err == nil {
		t.Errorf("measured %v", s)
	}
}

func TestTargetsNameWhatIsMeasured(t *testing.T) {
	for _, e := range Experiments(1, true) {
		for _, target := range e.Targets {
			found := false
			for _, s := range e.Subjects {
				found = found || s.Name == target.Of
			}
			if !found || target.Metric == rounds.Rate {
				t.Errorf("%s: target %q is about %q in %s", e.ID, target.Name, target.Of, target.Metric)
			}
		}
	}
}

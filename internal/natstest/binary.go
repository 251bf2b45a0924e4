package natstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const modulePath = "github.com/nats-io/nats-server/v2"

// binary finds or builds the server once per test process.
var binary = sync.OnceValues(findBinary)

// Binary returns the path of a nats-server, or skips or fails the test as the
// package documentation says.
func Binary(tb testing.TB) string {
	tb.Helper()
	path, err := binary()
	if err == nil {
		return path
	}
	if os.Getenv("REDRIVE_REQUIRE_SERVERS") == "1" {
		tb.Fatalf("nats-server is required by REDRIVE_REQUIRE_SERVERS=1 and cannot be had: %v", err)
	}
	tb.Skipf("nats-server cannot be had: %v", err)
	return ""
}

func findBinary() (string, error) {
	if path := os.Getenv("REDRIVE_NATS_SERVER"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("REDRIVE_NATS_SERVER: %w", err)
		}
		return path, nil
	}
	built, buildErr := buildBinary()
	if buildErr == nil {
		return built, nil
	}
	found, err := exec.LookPath("nats-server")
	if err != nil {
		return "", errors.Join(buildErr, err)
	}
	return found, nil
}

// buildBinary builds the pinned version next to other caches of the repository.
// Processes that build at the same time do the work twice and rename the same
// bytes into place, which needs no lock.
func buildBinary() (string, error) {
	root, err := repositoryRoot()
	if err != nil {
		return "", err
	}
	version, err := goCommand(root, "list", "-m", "-f", "{{.Version}}", modulePath)
	if err != nil {
		return "", err
	}
	target := filepath.Join(root, ".cache", "bin", "nats-server-"+version)
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return "", err
	}
	temporary := fmt.Sprintf("%s.%d", target, os.Getpid())
	if _, err := goCommand(root, "build", "-o", temporary, modulePath); err != nil {
		return "", err
	}
	if err := os.Rename(temporary, target); err != nil {
		return "", err
	}
	return target, nil
}

func goCommand(dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.work above the working directory")
		}
		dir = parent
	}
}

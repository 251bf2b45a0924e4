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

// binaries are found or built once per test process, by version.
var binaries sync.Map

// Binary returns the path of a nats-server of the version, or skips or fails the
// test as the package documentation says. The empty version is the one that the
// workspace pins.
func Binary(tb testing.TB, version string) string {
	tb.Helper()
	once, _ := binaries.LoadOrStore(version, sync.OnceValues(func() (string, error) { return findBinary(version) }))
	find, ok := once.(func() (string, error))
	if !ok {
		tb.Fatalf("natstest: unexpected %T", once)
	}
	path, err := find()
	if err == nil {
		return path
	}
	name := strings.TrimSpace("nats-server " + version)
	if os.Getenv("REDRIVE_REQUIRE_SERVERS") == "1" {
		tb.Fatalf("%s is required by REDRIVE_REQUIRE_SERVERS=1 and cannot be had: %v", name, err)
	}
	tb.Skipf("%s cannot be had: %v", name, err)
	return ""
}

func findBinary(version string) (string, error) {
	if version != "" {
		return installBinary(version)
	}
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
	version, err := goCommand(root, nil, "list", "-m", "-f", "{{.Version}}", modulePath)
	if err != nil {
		return "", err
	}
	return cached(root, version, func(temporary string) error {
		_, err := goCommand(root, nil, "build", "-o", temporary, modulePath)
		return err
	})
}

// installBinary builds a version that the workspace does not know, from the
// module proxy, which checks it against the checksum database.
func installBinary(version string) (string, error) {
	root, err := repositoryRoot()
	if err != nil {
		return "", err
	}
	return cached(root, version, func(temporary string) error {
		bin, err := os.MkdirTemp(filepath.Dir(temporary), "install-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(bin) }()
		// Outside the workspace: an old server has old dependencies of its own.
		env := []string{"GOWORK=off", "GOFLAGS=-mod=mod", "GOBIN=" + bin, "CGO_ENABLED=0"}
		if _, err := goCommand(bin, env, "install", modulePath+"@"+version); err != nil {
			return err
		}
		return os.Rename(filepath.Join(bin, "nats-server"), temporary)
	})
}

// cached returns the binary of a version, and makes it if it is not there.
func cached(root, version string, build func(temporary string) error) (string, error) {
	target := filepath.Join(root, ".cache", "bin", "nats-server-"+version)
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return "", err
	}
	temporary := fmt.Sprintf("%s.%d", target, os.Getpid())
	if err := build(temporary); err != nil {
		return "", err
	}
	if err := os.Rename(temporary, target); err != nil {
		return "", err
	}
	return target, nil
}

func goCommand(dir string, env []string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
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
		// A folder below may have a workspace of its own, and not the server.
		if _, err := os.Stat(filepath.Join(dir, "server", "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no server/go.mod above the working directory")
		}
		dir = parent
	}
}

package embednats

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// TokenFile is the name of the file in the data directory that holds the token.
const TokenFile = "nats.token"

const (
	urlFile = "nats.url"
	// lockFileName stays when the lock is given up.
	lockFileName = "nats.lock"
)

// ErrNotRunning says that no server was found in a data directory.
var ErrNotRunning = errors.New("no embedded nats server is running there")

// Found is how to reach a server.
type Found struct {
	// URL is where it listens, without credentials.
	URL string
	// Token is what it wants to see. It is a secret.
	Token string
}

// Discover finds the server that runs in a data directory, in whatever process
// of the same user. ErrNotRunning if it was stopped. A server that died without
// stopping leaves its URL behind: then connecting fails.
func Discover(dataDir string) (Found, error) {
	url, err := os.ReadFile(filepath.Join(dataDir, urlFile)) //nolint:gosec // The data directory is the operator's setting.
	if errors.Is(err, fs.ErrNotExist) {
		return Found{}, fmt.Errorf("data directory %s: %w", dataDir, ErrNotRunning)
	}
	if err != nil {
		return Found{}, fmt.Errorf("embednats: %w", err)
	}
	token, err := os.ReadFile(filepath.Join(dataDir, TokenFile)) //nolint:gosec // As above.
	if err != nil {
		return Found{}, fmt.Errorf("embednats: %w", err)
	}
	return Found{URL: strings.TrimSpace(string(url)), Token: strings.TrimSpace(string(token))}, nil
}

// ensureToken returns the token of a data directory and makes one if there is
// none: clients keep theirs over a restart. A file that others can read is
// replaced, since others may have read it.
func ensureToken(dataDir string) (string, error) {
	path := filepath.Join(dataDir, TokenFile)
	raw, err := os.ReadFile(path) //nolint:gosec // The data directory is the operator's setting.
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	token := strings.TrimSpace(string(raw))
	if err == nil && len(token) >= 26 && private(path) {
		return token, nil
	}
	token = rand.Text()
	return token, writePrivate(path, token+"\n")
}

// writePrivate replaces a file by one that only this user can read. A reader sees
// the old one or the new one.
func writePrivate(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // Mode 0600.
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncNames(filepath.Dir(path))
}

// syncNames makes the names in a directory durable. A token whose name a power
// failure takes away would be replaced, and clients that hold the old one could not
// come back. Windows has no such call and needs none.
func syncNames(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir) //nolint:gosec // The data directory is the operator's setting.
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

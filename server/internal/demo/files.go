package demo

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a run, beside those of the broker.
const (
	ledgerFile    = "published.log"
	confirmedFile = "confirmed.log"
	effectsFile   = "effects.log"
	eventsFile    = "events.jsonl"
	workerErrFile = "worker.log"
	takenFile     = "taken.jsonl"
)

// appendTo opens a file of a run for writing at its end.
func appendTo(dir, name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600) //nolint:gosec // the names are the constants above
}

// contents reads a file of a run. One that nobody has written to yet is empty.
func contents(dir, name string) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(dir, name)) //nolint:gosec // the names are the constants above
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return raw, err
}

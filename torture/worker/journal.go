package worker

import (
	"fmt"
	"os"

	"github.com/redrive-dev/redrive/torture/checker"
)

// journal appends records. It is safe for concurrent use: each record is one
// write to a file that is open for appending.
type journal struct{ f *os.File }

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // the parent's folder
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return &journal{f}, nil
}

// write writes down. A worker that cannot must not go on: what it does would be
// held against the library.
func (j *journal) write(r checker.Record) {
	if _, err := j.f.Write(r.Append(make([]byte, 0, checker.RecordSize))); err != nil {
		complain(fmt.Errorf("journal: %w", err))
		os.Exit(3) //nolint:forbidigo // at once is the point
	}
}

func (j *journal) close() error {
	if err := j.f.Close(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

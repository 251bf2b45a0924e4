package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const (
	// Version is the version of the formats that this release writes, and the
	// highest that it reads.
	Version = 1
	// MaxOutcome is the size of the largest outcome that is written and read, in
	// bytes.
	MaxOutcome = 16 << 10
	// MaxHeartbeat is the size of the largest heartbeat that is written and read, in
	// bytes.
	MaxHeartbeat = 64 << 10
)

// head is what every record begins with.
type head struct {
	Version int64  `json:"v"`
	Type    string `json:"type"`
}

func encode(kind string, limit int, record any) ([]byte, error) {
	raw, err := json.Marshal(record)
	if err != nil {
		return nil, &FormatError{Kind: kind, Problem: "cannot be written", Err: err}
	}
	if len(raw) > limit {
		return nil, &FormatError{Kind: kind, Problem: fmt.Sprintf("%d bytes are more than the limit of %d: shorten the names of source, group and worker", len(raw), limit)}
	}
	return raw, nil
}

// decode reads the head first, because a newer version may give the other fields
// another meaning.
func decode(kind string, limit int, raw []byte, record any) error {
	if len(raw) > limit {
		return &FormatError{Kind: kind, Problem: fmt.Sprintf("%d bytes are more than the limit of %d", len(raw), limit)}
	}
	var h head
	if err := json.Unmarshal(raw, &h); err != nil {
		return &FormatError{Kind: kind, Problem: "not readable", Err: err}
	}
	switch {
	case h.Type != kind:
		return &FormatError{Kind: kind, Problem: fmt.Sprintf("the type is %q", h.Type)}
	case h.Version < 1:
		return &FormatError{Kind: kind, Problem: "the version is missing or below 1"}
	case h.Version > Version:
		return &VersionError{Kind: kind, Version: h.Version}
	}
	if err := json.Unmarshal(raw, record); err != nil {
		return &FormatError{Kind: kind, Problem: "not readable", Err: err}
	}
	return nil
}

// wireTime is a time as it comes back from the wire.
func wireTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

// joined joins names with slashes and escapes slashes in them, so that different
// names never give the same text.
func joined(names ...string) string {
	escape := strings.NewReplacer("%", "%25", "/", "%2F")
	for i, name := range names {
		names[i] = escape.Replace(name)
	}
	return strings.Join(names, "/")
}

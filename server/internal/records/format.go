package records

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// Format says how a file holds its records.
type Format string

// The formats.
const (
	// Auto finds out: see [Detect].
	Auto Format = "auto"
	// Array is one JSON array; each element is a record.
	Array Format = "array"
	// NDJSON has one JSON value a line. Blank lines are no records.
	NDJSON Format = "ndjson"
	// Raw files are one record, whatever they hold.
	Raw Format = "raw"
)

// Formats returns the names of all formats.
func Formats() []string { return []string{string(Auto), string(Array), string(NDJSON), string(Raw)} }

// ParseFormat reads the name of a format.
func ParseFormat(name string) (Format, error) {
	if slices.Contains(Formats(), name) {
		return Format(name), nil
	}
	return "", fmt.Errorf("unknown format %q: want one of %s", name, strings.Join(Formats(), ", "))
}

// byteOrderMark stands in front of files that some editors write. It is not part
// of a record.
const byteOrderMark = "\xef\xbb\xbf"

// detectWindow is how much of a file is looked at to find out its format.
const detectWindow = 256 << 10

// detect looks at the beginning of a file: a name that ends in .ndjson or .jsonl
// is NDJSON; else "[" begins an array, a first line that is a JSON value by itself
// means NDJSON, and everything else is raw. It consumes nothing.
func detect(name string, in *bufio.Reader) (Format, error) {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".ndjson", ".jsonl":
		return NDJSON, nil
	}
	head, err := in.Peek(detectWindow)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	whole := err != nil
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte(byteOrderMark)), whitespace)
	if len(head) > 0 && head[0] == '[' {
		return Array, nil
	}
	line, _, ended := bytes.Cut(head, []byte("\n"))
	if (ended || whole) && json.Valid(line) {
		return NDJSON, nil
	}
	return Raw, nil
}

// whitespace is what JSON allows between values.
const whitespace = " \t\r\n"

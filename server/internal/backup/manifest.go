package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// Format is the version of the file format that this package writes and reads.
const Format = 1

// Names in the archive.
const (
	headerName   = "redrive-backup.json"
	manifestName = "manifest.json"
	dataFolder   = "data"
	configFolder = "config"
)

// Bounds of what is read from a backup that somebody else made.
const (
	maxEntries  = 5_000_000
	maxHeader   = 1 << 16
	maxManifest = 1 << 30
	maxName     = 4096
)

// Manifest says what a backup holds.
type Manifest struct {
	Header

	// Files are the files, in the order of the archive.
	Files []File `json:"files"`
}

// Header says what a backup is.
type Header struct {
	// Format is the version of the file format.
	Format int `json:"format"`
	// Created is when the copy began.
	Created time.Time `json:"created"`
	// RedriveVersion is the version of the program that wrote it.
	RedriveVersion string `json:"redrive_version"`
}

// File is one file of a backup.
type File struct {
	// Path is relative, with slashes, and begins with data/ or config/.
	Path string `json:"path"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// SHA256 is in hexadecimal digits.
	SHA256 string `json:"sha256"`
}

// bytes is the size of all files together.
func (m Manifest) bytes() int64 {
	total := int64(0)
	for _, f := range m.Files {
		total += f.Size
	}
	return total
}

// config lists the configuration files.
func (m Manifest) config() []string {
	out := []string{}
	for _, f := range m.Files {
		if name, ok := strings.CutPrefix(f.Path, configFolder+"/"); ok {
			out = append(out, name)
		}
	}
	return out
}

// Error is what is wrong, and what to do.
type Error struct {
	// Err is what is wrong.
	Err error
	// Remedy says what to do, in one sentence without a full stop.
	Remedy string
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns Remedy.
func (e *Error) Hint() string { return e.Remedy }

// ErrDamaged says that a file is no backup or not as it was written.
var ErrDamaged = errors.New("the backup is damaged")

func damaged(format string, args ...any) error {
	return &Error{
		Err:    fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...)),
		Remedy: "nothing was written; use another backup, or copy this one again from where it came",
	}
}

// entry is one file or folder of an archive, with its content.
type entry struct {
	path    string
	folder  bool
	size    int64
	content io.Reader
}

// scan reads a whole backup, checks everything, and gives each entry of the data
// and config folders to visit, which may leave content unread. An archive is only
// good if scan returns nil: the manifest comes last.
func scan(r io.Reader, visit func(entry) error) (Manifest, error) {
	reader, err := uncompressed(r)
	if err != nil {
		return Manifest{}, err
	}
	s := &scanner{tar: tar.NewReader(reader), seen: map[string]bool{}, visit: visit}
	manifest, err := s.run()
	if err != nil {
		return Manifest{}, err
	}
	// To the end, where gzip has its own sum.
	rest, err := io.Copy(io.Discard, io.LimitReader(reader, maxHeader))
	if err != nil || rest == maxHeader {
		return Manifest{}, damaged("what follows the manifest cannot be read, or is too much")
	}
	return manifest, nil
}

type scanner struct {
	tar    *tar.Reader
	header Header
	files  []File
	seen   map[string]bool
	visit  func(entry) error
}

func (s *scanner) run() (Manifest, error) {
	if err := s.first(); err != nil {
		return Manifest{}, err
	}
	for range maxEntries {
		h, err := s.tar.Next()
		if errors.Is(err, io.EOF) {
			return Manifest{}, damaged("it has no manifest at its end: it was cut off")
		}
		if err != nil {
			return Manifest{}, damaged("after %d files: %w", len(s.files), err)
		}
		if h.Name == manifestName && h.Typeflag == tar.TypeReg {
			return s.manifest(h.Size)
		}
		if err := s.entry(h); err != nil {
			return Manifest{}, err
		}
	}
	return Manifest{}, damaged("it has more than %d entries", maxEntries)
}

// first reads the header, which tells a backup from any other archive.
func (s *scanner) first() error {
	h, err := s.tar.Next()
	if err != nil || h.Name != headerName || h.Typeflag != tar.TypeReg || h.Size > maxHeader {
		return damaged("it does not begin as a backup of redrive does")
	}
	if err := decode(s.tar, h.Size, &s.header); err != nil {
		return damaged("its header: %w", err)
	}
	if s.header.Format != Format {
		return &Error{
			Err:    fmt.Errorf("the backup has format %d, written by redrive %s; this program reads format %d", s.header.Format, s.header.RedriveVersion, Format),
			Remedy: "use a version of redrive that reads it",
		}
	}
	return nil
}

func (s *scanner) entry(h *tar.Header) error {
	name := strings.TrimSuffix(h.Name, "/")
	if !legalName(name) {
		return damaged("the name %.200q has no place in it", name)
	}
	if s.seen[name] {
		return damaged("%q is in it twice", name)
	}
	s.seen[name] = true
	switch h.Typeflag {
	case tar.TypeDir:
		return s.visit(entry{path: name, folder: true})
	case tar.TypeReg:
	default:
		return damaged("%q is neither a file nor a folder", name)
	}
	sum := sha256.New()
	content := io.TeeReader(s.tar, sum)
	if err := s.visit(entry{path: name, size: h.Size, content: content}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, content); err != nil {
		return damaged("%s: %w", name, err)
	}
	s.files = append(s.files, File{Path: name, Size: h.Size, SHA256: hex.EncodeToString(sum.Sum(nil))})
	return nil
}

// manifest compares what was read with what should have been there.
func (s *scanner) manifest(size int64) (Manifest, error) {
	var m Manifest
	if size > maxManifest {
		return m, damaged("its manifest has %d bytes", size)
	}
	if err := decode(s.tar, size, &m); err != nil {
		return m, damaged("its manifest: %w", err)
	}
	if m.Header != s.header {
		return m, damaged("its manifest belongs to another backup")
	}
	for i, f := range s.files {
		if i >= len(m.Files) || m.Files[i].Path != f.Path {
			return m, damaged("%s is not where the manifest has it", f.Path)
		}
		if m.Files[i] != f {
			return m, damaged("%s is not as it was written: it has %d bytes and the SHA-256 %s, the manifest says %d and %s",
				f.Path, f.Size, f.SHA256, m.Files[i].Size, m.Files[i].SHA256)
		}
	}
	if len(m.Files) > len(s.files) {
		return m, damaged("%s is missing", m.Files[len(s.files)].Path)
	}
	if _, err := s.tar.Next(); !errors.Is(err, io.EOF) {
		return m, damaged("something follows its manifest")
	}
	return m, nil
}

// legalName refuses names that lead out of the folder that they are written to,
// or that mean something else on another system.
func legalName(name string) bool {
	top, rest, _ := strings.Cut(name, "/")
	switch {
	case len(name) > maxName, !fs.ValidPath(name), strings.ContainsAny(name, "\\\x00"):
		return false
	case top == configFolder:
		return !strings.Contains(rest, "/")
	}
	return top == dataFolder
}

// decode reads exactly one JSON value of a size.
func decode(r io.Reader, size int64, to any) error {
	raw, err := io.ReadAll(io.LimitReader(r, size))
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(to)
}

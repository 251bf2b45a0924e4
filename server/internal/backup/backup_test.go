package backup_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/server/internal/backup"
)

var errHeld = errors.New("held")

// platform holds a folder with a file, and copies databases byte by byte.
func platform() backup.Platform {
	return backup.Platform{
		Hold: func(dir string) (func() error, error) {
			f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, fs.ErrExist) {
				return nil, errHeld
			}
			if err != nil {
				return nil, err
			}
			return func() error { return errors.Join(f.Close(), remove(dir)) }, nil
		},
		Transient: func(name string) bool { return name == "lock" || name == "token" },
		CopyDatabase: func(_ context.Context, from, to string) error {
			b, err := os.ReadFile(from)
			return errors.Join(err, os.WriteFile(to, append(b, " copied"...), 0o600))
		},
		Free: func(string) (int64, error) { return math.MaxInt64, nil },
	}
}

// remove takes a lock away, unless its folder has moved with it.
func remove(dir string) error {
	err := os.Remove(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// entries lists the names in a backup, in its order.
func entries(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	var out []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		out = append(out, h.Name)
	}
}

// What a database calls handled may still be in a stream, which makes it
// a duplicate; a message that is gone must not be unknown to the database.
func TestDatabasesAreCopiedAfterTheStreams(t *testing.T) {
	t.Parallel()
	_, file := made(t)
	names := entries(t, file)
	require.Equal(t, "redrive-backup.json", names[0])
	require.Equal(t, "manifest.json", names[len(names)-1])
	database, last := slices.Index(names, "data/inbox.db"), 0
	for i, name := range names {
		if strings.HasPrefix(name, "data/nats/") {
			last = i
		}
	}
	require.Greater(t, database, last)
}

// tree lists the files of a folder with their content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			out[rel+"/"] = ""
			return nil
		}
		b, err := os.ReadFile(name)
		out[rel] = string(b)
		return err
	}))
	return out
}

func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o700))
		require.NoError(t, os.WriteFile(full, []byte(text), 0o600))
	}
}

// made is a data directory and a backup of it.
func made(t *testing.T) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	data := filepath.Join(dir, "data")
	put(t, data, map[string]string{
		"nats/streams/$G/a/1.blk": strings.Repeat("block", 1000), "nats/streams/$G/A/1.blk": "", "token": "secret",
		"inbox.db": "SQLite format 3\x00rows", "inbox.db-wal": "half", "notes.db-wal": "kept",
	})
	require.NoError(t, os.Mkdir(filepath.Join(data, "nats", "empty"), 0o700))
	put(t, dir, map[string]string{"redrive.yaml": "version: 1\n", "user/redrive.yaml": "version: 1 # user\n"})
	file = filepath.Join(dir, "b.tar.gz")
	s, err := backup.Write(t.Context(), platform(), backup.Source{
		DataDir: data, Config: []string{filepath.Join(dir, "redrive.yaml"), filepath.Join(dir, "user", "redrive.yaml")},
		File: file, Version: "v1", Now: time.Unix(1, 5),
	})
	require.NoError(t, err)
	require.Equal(t, 6, s.Files)
	require.Equal(t, []string{"redrive.yaml", "2-redrive.yaml"}, s.Config)
	return data, file
}

func TestABackupComesBackAsItWas(t *testing.T) {
	t.Parallel()
	data, file := made(t)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	verified, err := backup.Verify(t.Context(), file, nil)
	require.NoError(t, err)
	require.Equal(t, "v1", verified.RedriveVersion)

	to, config := filepath.Join(t.TempDir(), "new", "data"), t.TempDir()
	restored, err := backup.Restore(t.Context(), platform(), backup.Target{File: file, DataDir: to, ConfigTo: config})
	require.NoError(t, err)
	require.Equal(t, verified.Bytes, restored.Bytes)
	want := tree(t, data)
	delete(want, "token")
	delete(want, "inbox.db-wal")
	want["inbox.db"] += " copied"
	got := tree(t, to)
	delete(got, "lock")
	require.Equal(t, want, got)
	require.Equal(t, map[string]string{"./": "", "redrive.yaml": "version: 1\n", "2-redrive.yaml": "version: 1 # user\n"}, tree(t, config))
	require.NoDirExists(t, to+".restoring")
}

func TestWhatIsThereIsNeverChanged(t *testing.T) {
	t.Parallel()
	data, file := made(t)
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	source := backup.Source{DataDir: data, File: file, Now: time.Unix(1, 0)}
	_, err = backup.Write(t.Context(), platform(), source)
	require.ErrorContains(t, err, "exists already")
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, before, after)

	_, err = backup.Restore(t.Context(), platform(), backup.Target{File: file, DataDir: data})
	require.ErrorContains(t, err, "is not empty")

	config := t.TempDir()
	put(t, config, map[string]string{"redrive.yaml": "mine"})
	to := filepath.Join(t.TempDir(), "data")
	_, err = backup.Restore(t.Context(), platform(), backup.Target{File: file, DataDir: to, ConfigTo: config})
	require.ErrorContains(t, err, "redrive.yaml exists already")
	require.NoDirExists(t, to)
	require.NoDirExists(t, to+".restoring")
}

func TestAHeldDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	data, file := made(t)
	release, err := platform().Hold(data)
	require.NoError(t, err)
	other := file + ".2"
	_, err = backup.Write(t.Context(), platform(), backup.Source{DataDir: data, File: other})
	require.ErrorIs(t, err, errHeld)
	require.NoFileExists(t, other)
	require.NoError(t, release())

	to := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.Mkdir(to+".restoring", 0o700))
	_, err = platform().Hold(to + ".restoring")
	require.NoError(t, err)
	_, err = backup.Restore(t.Context(), platform(), backup.Target{File: file, DataDir: to})
	require.ErrorContains(t, err, "another restore is at work")
}

func TestWhatAKilledRestoreLeftIsRemoved(t *testing.T) {
	t.Parallel()
	_, file := made(t)
	to := filepath.Join(t.TempDir(), "data")
	put(t, to+".restoring", map[string]string{"nats/streams/$G/a/1.blk": "torn", "more": "x"})
	_, err := backup.Restore(t.Context(), platform(), backup.Target{File: file, DataDir: to})
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(to, "more"))
	require.Len(t, tree(t, to)["nats/streams/$G/a/1.blk"], 5000)
}

func TestAFailedBackupLeavesNothing(t *testing.T) {
	t.Parallel()
	data, _ := made(t)
	out := t.TempDir()
	file := filepath.Join(out, "b.tar.gz")
	broken := platform()
	broken.CopyDatabase = func(context.Context, string, string) error { return errors.New("malformed") }
	_, err := backup.Write(t.Context(), broken, backup.Source{DataDir: data, File: file})
	require.ErrorContains(t, err, "malformed")
	require.Equal(t, map[string]string{"./": ""}, tree(t, out))

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errHeld)
	_, err = backup.Write(ctx, platform(), backup.Source{DataDir: data, File: file})
	require.ErrorIs(t, err, errHeld)
	require.Equal(t, map[string]string{"./": ""}, tree(t, out))

	require.NoError(t, os.Symlink("/etc", filepath.Join(data, "elsewhere")))
	_, err = backup.Write(t.Context(), platform(), backup.Source{DataDir: data, File: file})
	require.ErrorContains(t, err, "neither a file nor a folder")
	_, err = backup.Write(t.Context(), platform(), backup.Source{DataDir: data, File: filepath.Join(data, "nats", "b")})
	require.ErrorContains(t, err, "inside of the data directory")
	_, err = backup.Write(t.Context(), platform(), backup.Source{DataDir: filepath.Join(data, "missing"), File: file})
	require.ErrorContains(t, err, "there is no data directory")
}

// A prefix or a changed bit of the file is refused before anything is written,
// unless the bit is one that gzip gives no meaning.
func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	_, file := made(t)
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	dir := t.TempDir()
	right := filepath.Join(dir, "right")
	_, err = backup.Restore(t.Context(), platform(), backup.Target{File: file, DataDir: right})
	require.NoError(t, err)
	try := func(what string, b []byte) {
		bad, to := filepath.Join(dir, "bad"), filepath.Join(dir, "to")
		require.NoError(t, os.WriteFile(bad, b, 0o600))
		_, err := backup.Restore(t.Context(), platform(), backup.Target{File: bad, DataDir: to})
		if err == nil && what == "flip" {
			require.Equal(t, tree(t, right), tree(t, to))
			require.NoError(t, os.RemoveAll(to))
			return
		}
		// A flipped bit can also make it look like another format.
		if err == nil || !strings.Contains(err.Error(), "this program reads format") {
			require.ErrorIs(t, err, backup.ErrDamaged, what)
		}
		require.NoDirExists(t, to, what)
		require.NoDirExists(t, to+".restoring", what)
	}
	for n := 0; n < len(good); n += 7 {
		try("cut", good[:n])
	}
	for n := 10; n < len(good); n += 5 { // The first ten are gzip's own header, with fields that mean nothing here.
		b := bytes.Clone(good)
		b[n] ^= 1
		try("flip", b)
	}
}

type member struct {
	h    tar.Header
	text string
}

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// forged writes an archive whose sums are right.
func forged(t *testing.T, file string, members []member, change func(*backup.Manifest)) {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	add := func(h tar.Header, text string) {
		h.Size, h.Mode = int64(len(text)), 0o777
		require.NoError(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(text))
		require.NoError(t, err)
	}
	m := backup.Manifest{Header: backup.Header{Format: 1, RedriveVersion: "v1"}}
	for _, x := range members {
		if x.h.Typeflag == tar.TypeReg {
			m.Files = append(m.Files, backup.File{Path: x.h.Name, Size: int64(len(x.text)), SHA256: sum(x.text)})
		}
	}
	if change != nil {
		change(&m)
	}
	head, err := json.Marshal(m.Header)
	require.NoError(t, err)
	add(tar.Header{Name: "redrive-backup.json", Typeflag: tar.TypeReg}, string(head))
	for _, x := range members {
		add(x.h, x.text)
	}
	tail, err := json.Marshal(m)
	require.NoError(t, err)
	add(tar.Header{Name: "manifest.json", Typeflag: tar.TypeReg}, string(tail))
	require.NoError(t, errors.Join(w.Close(), z.Close()))
	require.NoError(t, os.WriteFile(file, out.Bytes(), 0o600))
}

func TestAHostileArchiveWritesNothing(t *testing.T) {
	t.Parallel()
	regular := func(name string) member { return member{tar.Header{Name: name, Typeflag: tar.TypeReg}, "x"} }
	tests := map[string]struct {
		members []member
		change  func(*backup.Manifest)
	}{
		"up":               {members: []member{regular("data/../../evil")}},
		"up at once":       {members: []member{regular("../evil")}},
		"absolute":         {members: []member{regular("/evil")}},
		"elsewhere":        {members: []member{regular("etc/evil")}},
		"backslash":        {members: []member{regular(`data/..\..\evil`)}},
		"zero":             {members: []member{regular("data/a//b")}},
		"folder of config": {members: []member{regular("config/a/b")}},
		"symbolic link":    {members: []member{{tar.Header{Name: "data/l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, ""}, regular("data/l/x")}},
		"hard link":        {members: []member{{tar.Header{Name: "data/l", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}, ""}}},
		"device":           {members: []member{{tar.Header{Name: "data/d", Typeflag: tar.TypeChar}, ""}}},
		"twice":            {members: []member{regular("data/a"), regular("data/a")}},
		"a token":          {members: []member{regular("data/token")}},
		"one too many":     {members: []member{regular("data/a")}, change: func(m *backup.Manifest) { m.Files = nil }},
		"one missing":      {change: func(m *backup.Manifest) { m.Files = []backup.File{{Path: "data/a"}} }},
		"another sum":      {members: []member{regular("data/a")}, change: func(m *backup.Manifest) { m.Files[0].SHA256 = sum("y") }},
		"another size":     {members: []member{regular("data/a")}, change: func(m *backup.Manifest) { m.Files[0].Size = 2 }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file, to := filepath.Join(dir, "b"), filepath.Join(dir, "in", "to")
			forged(t, file, tt.members, tt.change)
			_, err := backup.Restore(t.Context(), platform(), backup.Target{File: file, DataDir: to})
			require.ErrorIs(t, err, backup.ErrDamaged)
			require.Equal(t, []string{"./", "b"}, names(tree(t, dir)))
		})
	}
}

func names(files map[string]string) []string {
	var out []string
	for name := range files {
		out = append(out, name)
	}
	if len(out) == 2 && out[0] > out[1] {
		out[0], out[1] = out[1], out[0]
	}
	return out
}

func TestAFileOverAFolderIsRefusedCleanly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, to := filepath.Join(dir, "b"), filepath.Join(dir, "to")
	forged(t, file, []member{
		{tar.Header{Name: "data/a", Typeflag: tar.TypeReg}, "x"}, {tar.Header{Name: "data/a/b", Typeflag: tar.TypeReg}, "y"},
	}, nil)
	_, err := backup.Restore(t.Context(), platform(), backup.Target{File: file, DataDir: to})
	require.Error(t, err)
	require.NoDirExists(t, to)
	require.NoDirExists(t, to+".restoring")
}

func TestANewerFormatIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "b")
	forged(t, file, nil, func(m *backup.Manifest) { m.Format = 2 })
	_, err := backup.Verify(t.Context(), file, nil)
	require.ErrorContains(t, err, "format 2, written by redrive v1; this program reads format 1")
	require.NotErrorIs(t, err, backup.ErrDamaged)
}

func TestNoRoomIsToldBefore(t *testing.T) {
	t.Parallel()
	_, file := made(t)
	p := platform()
	p.Free = func(string) (int64, error) { return 4999, nil }
	to := filepath.Join(t.TempDir(), "to")
	_, err := backup.Restore(t.Context(), p, backup.Target{File: file, DataDir: to})
	require.ErrorContains(t, err, "has 4999 free")
	require.NoDirExists(t, to+".restoring")
}

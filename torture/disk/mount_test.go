//go:build linux

package disk_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/redrive-dev/redrive/torture/disk"
)

// mounted shows a disk in a directory for the time of the test. The function that
// it returns cuts the power.
func mounted(t *testing.T) (dir string, cut func() disk.Loss) {
	t.Helper()
	dir = t.TempDir()
	d := disk.New()
	m, err := disk.Mount(d, dir)
	if err != nil {
		if disk.Available() && os.Getenv("REDRIVE_REQUIRE_SERVERS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() {
		if m != nil {
			if err := m.Unmount(); err != nil {
				t.Error(err)
			}
		}
	})
	return dir, func() disk.Loss {
		after, lost := d.Cut()
		if err := m.Unmount(); err != nil {
			t.Fatal(err)
		}
		d = after
		if m, err = disk.Mount(d, dir); err != nil {
			t.Fatal(err)
		}
		return lost
	}
}

func write(t *testing.T, path string, flags int, sync bool) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(filepath.Base(path)); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Programs that use the mounted disk find what the model says.
func TestMountedDisk(t *testing.T) {
	dir, cut := mounted(t)
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, "a", "b", name) }
	write(t, in("plain"), 0, false)
	write(t, in("fsync"), 0, true)
	write(t, in("o-sync"), os.O_SYNC, false)
	write(t, in("o-dsync"), syscall.O_DSYNC, false)
	write(t, in("temporary"), 0, true)
	if err := os.Rename(in("temporary"), in("renamed")); err != nil {
		t.Fatal(err)
	}
	if body, err := os.ReadFile(in("plain")); err != nil || string(body) != "plain" {
		t.Errorf("before the cut: %q, %v", body, err)
	}
	if lost := cut(); lost.Files != 1 || lost.Bytes != int64(len("plain")) {
		t.Errorf("the cut took %+v, want the file that nobody synchronised", lost)
	}
	for name, body := range map[string]string{"fsync": "fsync", "o-sync": "o-sync", "o-dsync": "o-dsync", "temporary": "temporary"} {
		if got, err := os.ReadFile(in(name)); err != nil || string(got) != body {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"plain", "renamed"} {
		if _, err := os.Stat(in(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s survived: %v", name, err)
		}
	}
	if err := os.Remove(in("fsync")); err != nil {
		t.Fatal(err)
	}
	folder, err := os.Open(filepath.Dir(in("fsync")))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		t.Fatal(err)
	}
	cut()
	if _, err := os.Stat(in("fsync")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removed file is back: %v", err)
	}
}

package disk_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/torture/disk"
)

// tree is the content of a disk by path.
func tree(t interface{ Fatal(...any) }, d *disk.Disk) map[string]string {
	out := map[string]string{}
	var walk func(prefix string, in *disk.File)
	walk = func(prefix string, in *disk.File) {
		for name, f := range d.Names(in) {
			if sub := d.Names(f); sub != nil {
				walk(prefix+name+"/", f)
				continue
			}
			body := make([]byte, d.Size(f))
			if n := d.Read(f, body, 0); n != len(body) {
				t.Fatal("short read")
			}
			out[prefix+name] = string(body)
		}
	}
	walk("", d.Root())
	return out
}

func create(t *testing.T, d *disk.Disk, in *disk.File, name, body string) *disk.File {
	t.Helper()
	f, err := d.Create(in, name, false, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	d.Write(f, []byte(body), 0)
	return f
}

func TestWhatIsDurable(t *testing.T) {
	for _, c := range []struct {
		rule string
		do   func(t *testing.T, d *disk.Disk)
		want map[string]string
	}{
		{"a write alone is not", func(t *testing.T, d *disk.Disk) {
			t.Helper()
			create(t, d, d.Root(), "a", "1")
		}, nil},
		{"a synchronised file is, with its folders", func(t *testing.T, d *disk.Disk) {
			t.Helper()
			dir, _ := d.Create(d.Root(), "dir", true, 0o700)
			d.Sync(create(t, d, dir, "a", "1"))
			create(t, d, dir, "b", "2")
		}, map[string]string{"dir/a": "1"}},
		{"a synchronised directory has names, and files without bytes", func(t *testing.T, d *disk.Disk) {
			t.Helper()
			create(t, d, d.Root(), "a", "1")
			d.Sync(d.Root())
		}, map[string]string{"a": ""}},
		{"a later write is not", func(t *testing.T, d *disk.Disk) {
			t.Helper()
			f := create(t, d, d.Root(), "a", "one")
			d.Sync(f)
			d.Write(f, []byte("two and more"), 0)
		}, map[string]string{"a": "one"}},
		{"a length is as the bytes are", func(t *testing.T, d *disk.Disk) {
			t.Helper()
			f := create(t, d, d.Root(), "a", "one")
			d.Sync(f)
			d.Truncate(f, 0)
		}, map[string]string{"a": "one"}},
		{"what was cut off does not come back", func(t *testing.T, d *disk.Disk) {
			t.Helper()
			f := create(t, d, d.Root(), "a", "one")
			d.Sync(f)
			d.Truncate(f, 1)
			d.Truncate(f, 3)
			d.Sync(f)
		}, map[string]string{"a": "o\x00\x00"}},
		{"a rename is not", func(t *testing.T, d *disk.Disk) {
			t.Helper()
			d.Sync(create(t, d, d.Root(), "old", "1"))
			d.Sync(create(t, d, d.Root(), "new", "2"))
			if err := d.Rename(d.Root(), "new", d.Root(), "old"); err != nil {
				t.Fatal(err)
			}
		}, map[string]string{"old": "1", "new": "2"}},
		{"a rename whose directory is synchronised is", func(t *testing.T, d *disk.Disk) {
			t.Helper()
			d.Sync(create(t, d, d.Root(), "old", "1"))
			d.Sync(create(t, d, d.Root(), "new", "2"))
			if err := d.Rename(d.Root(), "new", d.Root(), "old"); err != nil {
				t.Fatal(err)
			}
			d.Sync(d.Root())
		}, map[string]string{"old": "2"}},
		{"a renamed file that is synchronised has one name", func(t *testing.T, d *disk.Disk) {
			t.Helper()
			f := create(t, d, d.Root(), "old", "1")
			d.Sync(f)
			if err := d.Rename(d.Root(), "old", d.Root(), "new"); err != nil {
				t.Fatal(err)
			}
			d.Sync(f)
		}, map[string]string{"new": "1"}},
		{"a removal is not", func(t *testing.T, d *disk.Disk) {
			t.Helper()
			d.Sync(create(t, d, d.Root(), "a", "1"))
			if err := d.Remove(d.Root(), "a"); err != nil {
				t.Fatal(err)
			}
		}, map[string]string{"a": "1"}},
		{"a removal whose directory is synchronised is", func(t *testing.T, d *disk.Disk) {
			t.Helper()
			d.Sync(create(t, d, d.Root(), "a", "1"))
			if err := d.Remove(d.Root(), "a"); err != nil {
				t.Fatal(err)
			}
			d.Sync(d.Root())
		}, nil},
	} {
		d := disk.New()
		c.do(t, d)
		after, _ := d.Cut()
		if got := tree(t, after); !maps.Equal(got, c.want) {
			t.Errorf("%s: after the cut there is %q, want %q", c.rule, got, c.want)
		}
	}
}

// However a file was written, what a cut leaves is what it was at its last
// synchronisation, and a second cut takes nothing more.
func TestACutGoesBackToTheLastSynchronisation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := disk.New()
		f, err := d.Create(d.Root(), "f", false, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		d.Sync(f)
		var live, durable []byte
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			switch at := rapid.IntRange(0, 40).Draw(t, "at"); rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				durable = slices.Clone(live)
				d.Sync(f)
			case 1:
				d.Truncate(f, int64(at))
				live = append(slices.Clone(live), make([]byte, 50)...)[:at]
			default:
				data := rapid.SliceOfN(rapid.Byte(), 1, 10).Draw(t, "data")
				d.Write(f, data, int64(at))
				if end := at + len(data); end > len(live) {
					live = append(slices.Clone(live), make([]byte, end-len(live))...)
				}
				copy(live[at:], data)
			}
			if got := tree(t, d)["f"]; got != string(live) {
				t.Fatalf("live %q, want %q", got, live)
			}
		}
		after, lost := d.Cut()
		if got := tree(t, after)["f"]; got != string(durable) {
			t.Fatalf("after the cut %q, want %q", got, durable)
		}
		if string(live) != string(durable) && lost.Files != 1 {
			t.Fatalf("lost %+v", lost)
		}
		if again, lost := after.Cut(); tree(t, again)["f"] != string(durable) || lost != (disk.Loss{}) {
			t.Fatalf("a second cut took %+v", lost)
		}
	})
}

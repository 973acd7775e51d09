package wal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
)

// TestOwnerFile is golden: a file is read by later versions too.
func TestOwnerFile(t *testing.T) {
	const golden = `7d3c0f52-9a41-4c0e-8f0e-2b6a5d1f9c11 used "/mnt/second/spillway"
1b9e4a70-52cd-4f63-b1c2-90d7e8a6f3d4 free "/mnt/a \"b\"\nc d"
`
	lines := owners{
		{"7d3c0f52-9a41-4c0e-8f0e-2b6a5d1f9c11", true, "/mnt/second/spillway"},
		{"1b9e4a70-52cd-4f63-b1c2-90d7e8a6f3d4", false, "/mnt/a \"b\"\nc d"},
	}
	if got := string(lines.encode()); got != golden {
		t.Errorf("got\n%s", got)
	}
	if got, err := parseOwners([]byte(golden)); err != nil || !slices.Equal(got, lines) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, text := range []string{"x", "a used", "a usee \"/b\"", "a used /b", "a used \"/b\n", "\n"} {
		if got, err := parseOwners([]byte(text)); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

func TestFindOwner(t *testing.T) {
	used, free := owner{"1", true, "/a"}, owner{"2", false, "/b"}
	for name, c := range map[string]struct {
		own     owners
		dir     string
		theirs  owners
		line    owner
		verdict verdict
	}{
		"first start":                 {nil, "/a", nil, owner{}, fresh},
		"of another log":              {nil, "/a", owners{{"9", true, "/a"}}, owner{}, foreign},
		"as it was":                   {owners{used, free}, "/a", owners{{"1", false, "/a"}}, used, ours},
		"not mounted":                 {owners{used}, "/a", nil, owner{}, absent},
		"another disk mounted":        {owners{used}, "/a", owners{{"9", true, "/a"}}, owner{}, foreign},
		"that of another time":        {owners{used, free}, "/a", owners{{"2", true, "/b"}}, owner{}, foreign},
		"another folder":              {owners{used}, "/c", nil, owner{}, fresh},
		"an earlier folder":           {owners{used, free}, "/b", owners{{"2", true, "/b"}}, free, ours},
		"an earlier folder, emptied":  {owners{used, free}, "/b", nil, owner{}, fresh},
		"another mount point":         {owners{used}, "/c", owners{{"1", true, "/a"}}, used, ours},
		"taken, but crashed in it":    {owners{{"1", false, "/a"}}, "/a", nil, owner{}, fresh},
		"taken, but crashed after it": {owners{{"1", false, "/a"}}, "/a", owners{{"1", false, "/a"}}, owner{"1", false, "/a"}, ours},
	} {
		if line, v := c.own.find(c.dir, c.theirs); line != c.line || v != c.verdict {
			t.Errorf("%s: got %+v, %d, want %+v, %d", name, line, v, c.line, c.verdict)
		}
	}
}

// TestSecondDiskNotMounted: a start without the folder that may hold records is
// refused, and makes no folder, whether the setting still names it or not. An
// operator who copies the owner file goes on without them.
func TestSecondDiskNotMounted(t *testing.T) {
	for name, next := range map[string]string{"same setting": "/other/log", "no setting": "", "another setting": "/third/log"} {
		for _, empty := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				config, mem := inSecondFolder(t)
				config.FailoverDir = next
				unmount(t, mem, "/other/log", empty)
				refusesAbsent(t, config)
				if _, err := mem.Stat("/other/log"); errors.Is(err, fs.ErrNotExist) == empty {
					t.Errorf("the folder: %v", err)
				}

				copyOwner(t, mem, config.Dir, "/other/log")
				if l := open(t, config); l.Head(Bulk) != 0 {
					t.Errorf("head %d", l.Head(Bulk))
				}
			})
		}
	}
}

// unmount leaves of a folder nothing, or an empty one.
func unmount(t *testing.T, mem *vfs.MemFS, dir string, empty bool) {
	t.Helper()
	err := mem.RemoveAll(dir)
	if empty {
		err = errors.Join(err, mem.MkdirAll(dir, 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func copyOwner(t *testing.T, mem *vfs.MemFS, from, to string) {
	t.Helper()
	if err := mem.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := vfs.Copy(mem, mem.PathJoin(from, FailoverOwner), mem.PathJoin(to, FailoverOwner)); err != nil {
		t.Fatal(err)
	}
}

// refusesAbsent: the log does not open, because records may be in /other/log.
func refusesAbsent(t *testing.T, config Config) {
	t.Helper()
	_, err := Open(config, nil, nil)
	_, errReadOnly := OpenReadOnly(config, nil)
	for _, err := range []error{err, errReadOnly} {
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("got %v", err)
		}
		for _, part := range []string{"log.failover_dir", "records may be in /other/log,", "is its disk mounted?", "copy /data/log/FAILOVER-OWNER into it"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("no %q in %v", part, err)
			}
		}
	}
}

// TestSecondFolderComesAndGoes: a folder that holds no records any more may go,
// come back and be exchanged. One that was taken while a disk was not mounted is
// not mistaken for that on the disk.
func TestSecondFolderComesAndGoes(t *testing.T) {
	config := failoverConfig()
	mem := config.FS.(*vfs.MemFS)
	use := func(dir string) {
		t.Helper()
		config.FailoverDir = dir
		l, err := Open(config, nil, nil)
		if err != nil {
			t.Fatalf("%q: %v", dir, err)
		}
		appendMany(t, l, Bulk, 1, 10)
		closeLog(t, l)
	}
	for _, dir := range []string{"/other/log", "", "/other/log", "/third/log", "/other/log", "/third/log", ""} {
		use(dir)
	}
	// Not used: whether it is mounted does not matter.
	if err := mem.MkdirAll("/away", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mem.Rename("/other/log", "/away/log"); err != nil {
		t.Fatal(err)
	}
	use("/other/log") // below the mount point
	if err := mem.Rename("/other/log", "/below"); err != nil {
		t.Fatal(err)
	}
	refusesAbsent(t, config)
	if err := mem.Rename("/away/log", "/other/log"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(config, nil, nil); err == nil || !strings.Contains(err.Error(), "not the folder that was there before") {
		t.Errorf("opened with the folder of another time: %v", err)
	}
	if err := errors.Join(mem.RemoveAll("/other/log"), mem.Rename("/below", "/other/log")); err != nil {
		t.Fatal(err)
	}
	if l := open(t, config); l.Head(Bulk) != 8 {
		t.Errorf("head %d", l.Head(Bulk))
	}
}

// TestSecondFolderMoved: a folder that is mounted elsewhere is read from there, for
// reading alone as well, even where another log's is at its old path; a folder
// that is not the one is not.
func TestSecondFolderMoved(t *testing.T) {
	for name, stranger := range map[string]bool{"old path gone": false, "another log's at the old path": true} {
		t.Run(name, func(t *testing.T) {
			config, mem := inSecondFolder(t)
			if err := errors.Join(mem.MkdirAll("/mnt", 0o700), mem.Rename("/other/log", "/mnt/log")); err != nil {
				t.Fatal(err)
			}
			another := failoverConfig()
			another.FS, another.Dir, another.FailoverDir = mem, "/another/log", "/stranger"
			if stranger {
				another.FailoverDir = "/other/log"
			}
			closeLog(t, open(t, another))

			for _, wrong := range []string{"", another.FailoverDir, "/empty"} {
				config.FailoverDir = wrong
				if _, err := OpenReadOnly(config, nil); err == nil || !strings.Contains(err.Error(), "/other/log") {
					t.Errorf("read-only with %q: %v", wrong, err)
				}
				if _, err := Open(config, nil, nil); err == nil || !strings.Contains(err.Error(), "log.failover_dir") {
					t.Errorf("with %q: %v", wrong, err)
				}
			}
			config.FailoverDir = "/mnt/log"
			readOnly, err := OpenReadOnly(config, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(readAll(t, readOnly, Bulk, 100)); got != 100 {
				t.Errorf("%d records read-only", got)
			}
			closeLog(t, readOnly)
			for range 2 {
				l, err := Open(config, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := len(readAll(t, l, Bulk, 100)); got != 100 {
					t.Errorf("%d records", got)
				}
				closeLog(t, l)
			}
			// And back again, where that path is free.
			if stranger {
				return
			}
			if err := mem.Rename("/mnt/log", "/other/log"); err != nil {
				t.Fatal(err)
			}
			config.FailoverDir = "/other/log"
			if l := open(t, config); l.Head(Bulk) != 100 {
				t.Errorf("head %d", l.Head(Bulk))
			}
		})
	}
}

// TestOwnerFileGone: without the log's own file nothing tells whether the folder
// is the right one.
func TestOwnerFileGone(t *testing.T) {
	config, mem := inSecondFolder(t)
	if err := mem.Remove(mem.PathJoin(config.Dir, FailoverOwner)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(config, nil, nil); err == nil || !strings.Contains(err.Error(), "another log") {
		t.Errorf("got %v", err)
	}
	unmount(t, mem, "/other/log", true)
	config.FailoverDir = ""
	if _, err := Open(config, nil, nil); err == nil || !strings.Contains(err.Error(), "records may be in /other/log") || !strings.Contains(err.Error(), "on purpose, set log.failover_dir to it") {
		t.Errorf("got %v", err)
	}
}

// TestRelativeFolders: a later start has another working folder.
func TestRelativeFolders(t *testing.T) {
	base := t.TempDir()
	config := DefaultConfig()
	config.Dir, config.FailoverDir, config.MinFree = "data/log", "other/log", 0
	t.Chdir(base)
	l, err := Open(config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	appendMany(t, l, Bulk, 10, 10)
	closeLog(t, l)
	t.Chdir(t.TempDir())
	config.Dir, config.FailoverDir = filepath.Join(base, "data/log"), filepath.Join(base, "other/log")
	if l := open(t, config); l.Head(Bulk) != 10 {
		t.Errorf("head %d", l.Head(Bulk))
	}
	b, err := os.ReadFile(filepath.Join(config.Dir, FailoverOwner))
	if err != nil {
		t.Fatal(err)
	}
	own, err := parseOwners(b)
	if err != nil || len(own) != 1 || own[0].dir != config.FailoverDir || !own[0].used || uuid.Validate(own[0].id) != nil {
		t.Errorf("got %+v, %v", own, err)
	}
	config.Dir, config.FailoverDir = "data/log", filepath.Join(base, "data/log/second")
	t.Chdir(base)
	if _, err := Open(config, nil, nil); err == nil || !strings.Contains(err.Error(), "inside it") {
		t.Errorf("a folder inside the log's: %v", err)
	}
}

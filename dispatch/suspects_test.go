package dispatch

import (
	"os"
	"path/filepath"
	"testing"

	"spillway/wal"
)

// TestSuspects ends the process, as far as the file can tell, while records are
// being decoded: the one that it happens to three times is set aside.
func TestSuspects(t *testing.T) {
	path := filepath.Join(t.TempDir(), "suspects")
	die := func(lane wal.Lane, late bool, hash uint64) {
		t.Helper()
		s, err := openSuspects(path)
		if err != nil {
			t.Fatal(err)
		}
		s.mark(slotOf(lane, late), hash)
		s.close()
	}
	deadly := func(hash uint64) bool {
		t.Helper()
		s, err := openSuspects(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		return s.deadly(hash)
	}

	die(wal.Express, false, 7)
	die(wal.Bulk, false, 8)
	die(wal.Express, true, 7)
	if deadly(7) {
		t.Error("set aside after two deaths")
	}
	for i := range uint64(40) { // more than the table holds, each once
		die(wal.Bulk, true, 100+i)
	}
	die(wal.Express, false, 7)
	if !deadly(7) {
		t.Error("not set aside after three deaths")
	}
	if deadly(8) || deadly(100) {
		t.Error("a record is set aside that did not end the process three times")
	}
	if !deadly(7) {
		t.Error("forgotten after another start")
	}
}

func TestSuspectsUnreadable(t *testing.T) {
	dir := t.TempDir()
	if _, err := openSuspects(filepath.Join(dir, "missing", "suspects")); err == nil {
		t.Error("no error without a folder")
	}
	path := filepath.Join(dir, "suspects")
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openSuspects(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if s.deadly(1) {
		t.Error("a damaged file names a record")
	}
}

package dispatch

import (
	"path/filepath"
	"strings"
	"testing"

	"spillway/wal"
)

// TestPoisonedRecord starts as after three deaths of the process in the middle
// of one record: it is set aside, and what comes after it goes on.
func TestPoisonedRecord(t *testing.T) {
	r := newRig(t)
	r.messages(3)
	hash, err := r.log.Hash(wal.Express, 2)
	if err != nil {
		t.Fatal(err)
	}
	r.startIn(poisoned(t, hash))
	r.wantMessages(2)
	dead := 0
	if err := r.log.Dead(func(letter wal.DeadLetter) error {
		dead++
		if letter.Seq != 2 || !strings.Contains(letter.Reason, "three times") || len(letter.Body) == 0 {
			t.Errorf("dead letter %d: %q with %d bytes", letter.Seq, letter.Reason, len(letter.Body))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if dead != 1 {
		t.Errorf("%d dead letters, want 1", dead)
	}
}

// TestPoisonOfAnotherLog: a mark names the record and not its sequence, which is
// another's in a log that was made anew.
func TestPoisonOfAnotherLog(t *testing.T) {
	old, r := newRig(t), newRig(t)
	old.message(1)
	hash, err := old.log.Hash(wal.Express, 1)
	if err != nil {
		t.Fatal(err)
	}
	r.message(2)
	r.startIn(poisoned(t, hash))
	r.wantMessages(1)
}

// poisoned is a folder with the marks of a record that ended the process as
// often as is allowed.
func poisoned(t *testing.T, hash uint64) string {
	t.Helper()
	dir := t.TempDir()
	for range deathsAllowed {
		s, err := openSuspects(filepath.Join(dir, "suspects"))
		if err != nil {
			t.Fatal(err)
		}
		s.mark(slotOf(wal.Express, false), hash)
		s.close()
	}
	return dir
}

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
	dir := t.TempDir()
	for range deathsAllowed {
		s, err := openSuspects(filepath.Join(dir, "suspects"))
		if err != nil {
			t.Fatal(err)
		}
		s.mark(slotOf(wal.Express, false), 2)
		s.close()
	}
	r.startIn(dir)
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

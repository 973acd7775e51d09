package receiver

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestRecords: what is whole is read, wherever the file was cut.
func TestRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	all := appendRecord(appendRecord(appendRecord(nil, []byte("one")), nil), []byte("three"))
	if string(all) != "\x00\x00\x00\x03one\x00\x00\x00\x00\x00\x00\x00\x05three" {
		t.Errorf("records are %q", all)
	}
	ends := []int{0, 7, 11, 20}
	for cut := range len(all) + 1 {
		if err := os.WriteFile(path, all[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := readRecords(path, func(record []byte) { got = append(got, string(record)) }); err != nil {
			t.Errorf("cut at %d: %v", cut, err)
		}
		whole := 0
		for whole < 3 && ends[whole+1] <= cut {
			whole++
		}
		if want := []string{"one", "", "three"}[:whole]; !slices.Equal(got, want) {
			t.Errorf("cut at %d: %q, want %q", cut, got, want)
		}
	}
	if err := readRecords(path+" not there", nil); err == nil {
		t.Error("a file that is not there is read")
	}
}

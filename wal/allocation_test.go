//go:build !race

// The race detector makes pools forget on purpose.

package wal

import "testing"

// TestAppendAllocations holds an append to none: what it needs is pooled.
func TestAppendAllocations(t *testing.T) {
	const most = 0.5
	l := open(t, memConfig())
	r := testRecord(600)
	if got := testing.AllocsPerRun(5000, func() {
		if err := l.Append(Bulk, r); err != nil {
			t.Fatal(err)
		}
	}); got > most {
		t.Errorf("%.1f allocations an append, %.1f allowed", got, most)
	}
}

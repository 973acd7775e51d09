//go:build !race

package post

import "testing"

// TestSignAllocations: nothing but both values.
func TestSignAllocations(t *testing.T) {
	s := must(newSigner([]string{secretOf("a"), secretOf("b")}))
	body := []byte(testBody)
	if got := testing.AllocsPerRun(1000, func() { s.sign(testID, 1700000000, body) }); got > 2 {
		t.Errorf("%v allocations, want 2", got)
	}
}

//go:build !race

// The race detector makes pools forget on purpose.

package ingest

import "testing"

// acceptAllocations is all that taking a webhook may allocate: verify, append,
// answer.
const acceptAllocations = 0

func TestAcceptAllocates(t *testing.T) {
	s, accept := acceptor(t, []byte(inChanges(statusChange)))
	accept()
	if got := testing.AllocsPerRun(1000, accept); got > acceptAllocations {
		t.Errorf("%v allocations a webhook, want at most %d", got, acceptAllocations)
	}
	if lent := s.buffers.inFlight.Load(); lent != 0 {
		t.Errorf("%d bytes still in flight", lent)
	}
}

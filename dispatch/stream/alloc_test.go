//go:build !race

// The race detector allocates on its own.

package stream

import (
	"testing"

	"github.com/google/uuid"
)

// TestUntracedAllocations: what is not sampled allocates nothing, and where tracing
// is off nothing is asked.
func TestUntracedAllocations(t *testing.T) {
	round := func(tracer Tracer) float64 {
		h, sockets, round := loadedHubTraced(100, tracer)
		return testing.AllocsPerRun(200, func() {
			_ = h.emit(round)
			for _, k := range sockets {
				takeAll(&k.queue)
			}
		})
	}
	off, none := round(nil), round(&recorder{samples: func(uuid.UUID) bool { return false }})
	all := round(&recorder{samples: func(uuid.UUID) bool { return true }})
	if none > off+1 { // chunks do not begin at the same event in all runs
		t.Errorf("a round allocates %v times, %v where tracing is on and samples none", off, none)
	}
	if all < off+32 {
		t.Errorf("a round of 32 traced events allocates %v times, %v where tracing is off: nothing is traced", all, off)
	}
	k := &queue{}
	k.begin(newTape())
	if n := testing.AllocsPerRun(100, func() { k.written(run{}) }); n > 0 {
		t.Errorf("a write allocates %v times", n)
	}
}

//go:build !race

// The race detector allocates on its own.

package main

import (
	"strings"
	"testing"
	"time"
)

// acceptAllocations is how many allocations a webhook may cost on its way
// through verification, append and answer, the committer's share included.
const acceptAllocations = 2

func TestAcceptAllocations(t *testing.T) {
	for name, acked := range map[string]func(time.Time){"not traced": nil, "traced": newTracer(t, 0.001).Acked} {
		a := newAccepter(t, acked)
		wire := request(statusWebhook("wamid."+strings.Repeat("x", 50), "15550001001", "delivered"))
		for range 200 {
			a.accept(t, wire)
		}
		got := testing.AllocsPerRun(2000, func() { a.accept(t, wire) })
		t.Logf("%s: %.1f allocations a webhook", name, got)
		if got > acceptAllocations {
			t.Errorf("%s: %.1f allocations a webhook, want at most %d", name, got, acceptAllocations)
		}
	}
}

package embedded

import (
	"slices"
	"sort"
	"sync"

	"spillway/dispatch/store"
)

// tailBytes is what the tails of all partitions may hold.
const tailBytes = 8 << 20

// tail is the newest entries of a partition, for those who follow it: they need
// not read from Pebble what was only just written. It is filled while somebody
// follows, and covers all ids after base.
type tail struct {
	limit int

	mu      sync.Mutex
	base    uint64
	entries []store.Entry
	bytes   int
}

// add appends entries that were committed.
func (t *tail) add(entries []store.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = append(t.entries, entries...)
	for i := range entries {
		t.bytes += entryMemory(&entries[i])
	}
	n := 0
	for ; n < len(t.entries) && t.bytes > t.limit; n++ {
		t.bytes -= entryMemory(&t.entries[n])
		t.base = idOf(t.entries[n].Place)
	}
	clear(t.entries[:n])
	t.entries = t.entries[n:]
}

// entryMemory is what an entry takes, with its fields.
func entryMemory(e *store.Entry) int { return len(e.Payload) + 96 }

// reset empties the tail: it covers what comes after last.
func (t *tail) reset(last uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.entries)
	t.base, t.entries, t.bytes = last, t.entries[:0], 0
}

// after gives the entries after one id and up to another, as many as one round
// takes; more tells that these were not all. Not ok: the tail does not go back
// that far.
func (t *tail) after(after, upTo uint64) (entries []store.Entry, more, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if after < t.base {
		return nil, false, false
	}
	i := sort.Search(len(t.entries), func(i int) bool { return idOf(t.entries[i].Place) > after })
	j := i
	for bytes := 0; j < len(t.entries) && idOf(t.entries[j].Place) <= upTo; j++ {
		if j-i == roundEntries || bytes >= roundBytes {
			more = true
			break
		}
		bytes += len(t.entries[j].Payload)
	}
	return slices.Clone(t.entries[i:j]), more, true
}

package dispatch

import (
	"spillway/dispatch/store"
)

// verdict is what a stored cursor says about the store.
type verdict uint8

const (
	// covered: the store has the step, by a lost reply or a second run.
	covered verdict = iota
	// behind: the store lost a suffix, or a step before this one did not run.
	behind
	// empty: the store has no cursor.
	empty
	// gap: records the store still needs are gone from the log.
	gap
	// foreign: the cursor is of another log, or of this one in another state.
	foreign
)

// extent is what a lane of the log holds: records first to head, none where
// head is first-1. The hash of record first-1 is known as well.
type extent struct {
	first, head uint64
}

// judge says what a stored cursor means for a step that ends at record to.
// hashOf gives the hash of a record from first-1 to head, 0 being none.
func judge(stored store.Cursor, to uint64, log extent, hashOf func(seq uint64) (uint64, error)) (verdict, error) {
	switch {
	case stored.IsZero():
		return empty, nil
	case stored.Seq > log.head:
		return foreign, nil
	case stored.Seq+1 < log.first:
		return gap, nil
	}
	hash, err := hashOf(stored.Seq)
	switch {
	case err != nil:
		return 0, err
	case hash != stored.Hash:
		return foreign, nil
	case stored.Seq >= to:
		return covered, nil
	}
	return behind, nil
}

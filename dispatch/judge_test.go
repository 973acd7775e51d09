package dispatch

import (
	"errors"
	"testing"

	"spillway/dispatch/store"
)

func TestJudge(t *testing.T) {
	// A log of records 11 to 20; the hash of a record is its sequence plus 1000.
	log := extent{first: 11, head: 20}
	hashOf := func(seq uint64) (uint64, error) { return seq + 1000, nil }
	at := func(seq uint64) store.Cursor { return store.Cursor{Seq: seq, Hash: seq + 1000} }
	for _, c := range []struct {
		name   string
		stored store.Cursor
		to     uint64
		want   verdict
	}{
		{"the reply was lost", at(15), 15, covered},
		{"the step ran twice, others after it", at(17), 15, covered},
		{"a step before did not run", at(14), 15, behind},
		{"the store lost all but what was trimmed", at(10), 15, behind},
		{"records are gone", at(9), 15, gap},
		{"an empty store", store.Cursor{}, 15, empty},
		{"beyond the head", at(21), 15, foreign},
		{"another record at that place", store.Cursor{Seq: 14, Hash: 7}, 15, foreign},
		{"another record at the step's end", store.Cursor{Seq: 15, Hash: 7}, 15, foreign},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := judge(c.stored, c.to, log, hashOf)
			if err != nil || got != c.want {
				t.Errorf("judge(%s, %d) = %d, %v, want %d", c.stored, c.to, got, err, c.want)
			}
		})
	}

	failing := errors.New("disk")
	if _, err := judge(at(14), 15, log, func(uint64) (uint64, error) { return 0, failing }); !errors.Is(err, failing) {
		t.Errorf("judge with a log that fails: %v, want its error", err)
	}
}

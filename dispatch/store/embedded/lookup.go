package embedded

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// lookup gets many keys from the database as it was at the first get. That costs
// less than half of as many calls of Pebble's Get, which opens each table anew
// and asks no filter of the lowest level, where most keys are.
type lookup struct {
	db *pebble.DB
	it *pebble.Iterator
}

// get gives the value of a key until the next get, nil where there is none.
func (l *lookup) get(k []byte) ([]byte, error) {
	if l.it == nil {
		it, err := l.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
		if err != nil {
			return nil, fmt.Errorf("look up keys: %w", err)
		}
		l.it = it
	}
	if !l.it.SeekPrefixGE(k) {
		return nil, l.it.Error()
	}
	return l.it.ValueAndErr()
}

// close forgets the state; the next get takes a new one.
func (l *lookup) close() error {
	it := l.it
	if it == nil {
		return nil
	}
	l.it = nil
	return it.Close()
}

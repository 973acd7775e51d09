package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// reportDamage says which file is damaged, and goes on: whoever reads from it
// gets an error, and all else is as good as it was. Pebble's own way is to end
// the process. Who only reads has the error, and needs no line in the log.
func (l *Log) reportDamage(info pebble.DataCorruptionInfo) {
	if l.readOnly {
		return
	}
	l.logger.Error("a file of the log is damaged: check it with spillway log verify, copy the folder, then restore it or start with an empty one",
		"file", info.Path)
}

const afterDamage = "copy the folder, then restore it or move it away and start with an empty one"

// explain adds to an error of a read what is damaged, and what to do.
func (l *Log) explain(err error) error {
	if err == nil || !pebble.IsCorruptionError(err) {
		return err
	}
	file := "a file"
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		file = info.Path
	}
	return fmt.Errorf("%w: %s is damaged (%s): %w", ErrCorrupt, file, afterDamage, err)
}

// explainOpen does so for an error of opening. Whatever is not known to be damage
// stays as it is: to restore a folder that is whole, or to leave it for an empty
// one, would lose records.
func (l *Log) explainOpen(err error) error {
	if err == nil || l.hasFailed() || !isDamage(err) {
		return err
	}
	// The cause is not wrapped: a file that is missing is no missing log.
	return fmt.Errorf("%w: a file is damaged or missing (%s): %v", ErrCorrupt, afterDamage, err)
}

// isDamage reports whether an error of opening means that a file is damaged or
// missing. For a table of the wrong size Pebble has no error to compare with.
func isDamage(err error) bool {
	return pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, pebble.ErrDBNotPristine) || strings.Contains(err.Error(), "object size mismatch")
}

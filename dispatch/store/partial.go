package store

import (
	"errors"
	"fmt"
	"slices"
)

// PartitionsError comes beside an answer about all partitions of which some are
// not known, because what holds them does not answer.
type PartitionsError struct {
	// Missing has the error of each partition that is not known.
	Missing map[int]error
}

// Error tells how many are missing, and why the first of them is.
func (e *PartitionsError) Error() string {
	first := len(e.Missing)
	for p := range e.Missing {
		first = p
		break
	}
	for p := range e.Missing {
		first = min(first, p)
	}
	return fmt.Sprintf("%d partitions do not answer, the first is %d: %v", len(e.Missing), first, e.Missing[first])
}

// Unwrap gives the errors of the partitions.
func (e *PartitionsError) Unwrap() []error {
	var errs []error
	for _, err := range e.Missing {
		if !slices.ContainsFunc(errs, func(known error) bool { return errors.Is(known, err) }) {
			errs = append(errs, err)
		}
	}
	return errs
}

// MissingPartitions is nil where none is missing, one of their errors where all
// are, else a *PartitionsError.
func MissingPartitions(missing map[int]error, partitions int) error {
	switch len(missing) {
	case 0:
		return nil
	case partitions:
		for _, err := range missing {
			return fmt.Errorf("no partition answers: %w", err)
		}
	}
	return &PartitionsError{Missing: missing}
}

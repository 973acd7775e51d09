package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// The units a Size is written in.
const (
	KiB Size = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

// units are the units by name, the largest first.
var units = []struct {
	name string
	size Size
}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}}

// String gives the largest unit that leaves no fraction: 20GiB, 1536MiB, 100.
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

var errSize = errors.New("not a size")

// ParseSize reads a whole number of bytes, or of the unit that follows it.
func ParseSize(text string) (Size, error) {
	unit, digits := Size(1), text
	for _, u := range units {
		if before, ok := strings.CutSuffix(text, u.name); ok {
			unit, digits = u.size, before
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > math.MaxInt64/uint64(unit) {
		return 0, fmt.Errorf("parse size %q: %w", text, errSize)
	}
	return Size(n) * unit, nil
}

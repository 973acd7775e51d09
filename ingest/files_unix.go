//go:build unix

package ingest

import "syscall"

// fileLimit is how many descriptors the process may open, after raising the soft
// limit to the hard one where it is below need.
func fileLimit(need uint64) (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if uint64(limit.Cur) >= need || limit.Cur == limit.Max {
		return uint64(limit.Cur), nil
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	return uint64(limit.Cur), nil
}

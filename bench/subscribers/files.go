package subscribers

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// otherFiles is what a process needs besides its sockets.
const otherFiles = 512

// RaiseFiles lets this process, and those it starts, open files for so many
// sockets: it raises the soft limit to the hard one, and that one too where it may.
func RaiseFiles(sockets int) error {
	need := uint64(sockets + otherFiles)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read limit of open files: %w", err)
	}
	if limit.Cur >= need {
		return nil
	}
	if limit.Max < need {
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: need, Max: need}) == nil {
			return nil
		}
		return fmt.Errorf("%d sockets need %d open files, and the hard limit is %d: ask for at most %d sockets, or raise it (ulimit -Hn, LimitNOFILE)",
			sockets, need, limit.Max, max(0, int64(limit.Max)-otherFiles))
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit.Max, Max: limit.Max}); err != nil {
		return fmt.Errorf("raise limit of open files: %w", err)
	}
	return nil
}

//go:build unix

package stream

import "syscall"

// canWriteNow tells that writeFile works here.
const canWriteNow = true

// writeFile writes to a descriptor that does not block; below 0 for nothing.
func writeFile(fd uintptr, b []byte) int {
	for {
		n, err := syscall.Write(int(fd), b)
		if err != syscall.EINTR {
			return n
		}
	}
}

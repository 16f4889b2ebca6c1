//go:build unix

package tunnel

import (
	"math"
	"syscall"
)

// openFileLimit returns how many files the process may open: RLIMIT_NOFILE, which Go has
// raised to the hard limit.
func openFileLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return int(min(limit.Cur, math.MaxInt32))
}

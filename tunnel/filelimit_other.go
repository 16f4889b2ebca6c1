//go:build !unix

package tunnel

import "math"

// openFileLimit returns a large number: the system has no limit of open files.
func openFileLimit() int { return math.MaxInt32 }

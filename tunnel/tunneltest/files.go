package tunneltest

import (
	"os"
	"testing"
	"time"
)

// openFiles counts the open file descriptors of the process.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc/self/fd here")
	}
	return len(entries)
}

// CheckFiles fails the test if it leaves file descriptors open. The test must not run
// in parallel with others.
func CheckFiles(t *testing.T) {
	t.Helper()
	before := openFiles(t)
	t.Cleanup(func() {
		deadline := time.Now().Add(Patience)
		for openFiles(t) > before {
			if time.Now().After(deadline) {
				t.Errorf("%d file descriptors left open", openFiles(t)-before)
				return
			}
			<-time.After(10 * time.Millisecond)
		}
	})
}

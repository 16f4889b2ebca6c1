//go:build unix && !aix && !solaris

package recording

import (
	"errors"
	"os"
	"syscall"
)

// lock locks f until it is closed, so that no other process rotates it. It returns
// errLocked if another one has locked it. Where that isn't possible, it does nothing.
func lock(f *os.File) error {
	if errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK) {
		return errLocked
	}
	return nil
}

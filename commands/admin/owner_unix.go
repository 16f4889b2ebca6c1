//go:build unix

package admin

import (
	"os"
	"syscall"
)

// isOwn reports whether a file is this user's.
func isOwn(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

//go:build unix

package endpoint

import "syscall"

// restrictNewFiles makes new files this user's alone until the returned
// function is called. A socket has no mode to give at its making, and to change
// it afterwards leaves a moment in which others can connect.
func restrictNewFiles() (restore func()) {
	old := syscall.Umask(0o177)
	return func() { syscall.Umask(old) }
}

//go:build !unix

package admin

import (
	"errors"
	"os"
	"syscall"
)

// isOwn reports whether a file is this user's. On Windows, the folder for temporary files is.
func isOwn(os.FileInfo) bool { return true }

// isRefused reports whether nobody listens at a socket.
func isRefused(err error) bool {
	const refused = syscall.Errno(10061) // WSAECONNREFUSED
	return errors.Is(err, refused)
}

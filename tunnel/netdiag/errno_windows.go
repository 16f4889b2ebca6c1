package netdiag

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// errnos has the errors of Windows for which package syscall has another number, the one
// that code for all systems compares with, and a text as on Unix.
var errnos = map[syscall.Errno]syscall.Errno{
	windows.WSAEADDRINUSE:     syscall.EADDRINUSE,
	windows.WSAEADDRNOTAVAIL:  syscall.EADDRNOTAVAIL,
	windows.WSAECONNABORTED:   syscall.ECONNABORTED,
	windows.WSAECONNREFUSED:   syscall.ECONNREFUSED,
	windows.WSAECONNRESET:     syscall.ECONNRESET,
	windows.WSAEHOSTUNREACH:   syscall.EHOSTUNREACH,
	windows.WSAEMFILE:         syscall.EMFILE,
	windows.WSAENETUNREACH:    syscall.ENETUNREACH,
	windows.WSAETIMEDOUT:      syscall.ETIMEDOUT,
	windows.ERROR_BROKEN_PIPE: syscall.EPIPE,
	windows.ERROR_NO_DATA:     syscall.EPIPE,
}

// portable returns the error that all systems have for err, or err.
func portable(err error) error {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		if p, ok := errnos[e]; ok {
			return p
		}
	}
	return err
}

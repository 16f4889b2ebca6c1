//go:build linux || darwin

package tunnel

import "golang.org/x/sys/unix"

// setMaxUnsent sets TCP_NOTSENT_LOWAT, see tcp(7). It has no effect on other sockets.
func setMaxUnsent(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
}

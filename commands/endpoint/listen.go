package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
)

// Listen listens at addr, the value of flag, in the form of [outbound.ParseAddr].
func Listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	a, err := outbound.ParseAddr(addr)
	if err != nil {
		return nil, usage.Errorf("%s %w", flag, err)
	}
	var l net.Listener
	if a.Network == "unix" {
		l, err = listenUnix(ctx, a.Address)
	} else {
		l, err = new(net.ListenConfig).Listen(ctx, a.Network, a.Address)
	}
	if err != nil {
		return nil, &listenError{a.Network, addr, netdiag.Cause(err)}
	}
	return l, nil
}

// listenError reports that listening at an ADDR failed.
type listenError struct {
	network, addr string
	err           error
}

func (e *listenError) Error() string { return fmt.Sprintf("listen on %s: %v", e.addr, e.err) }
func (e *listenError) Unwrap() error { return e.err }

// Hint returns advice, "" if there is none.
func (e *listenError) Hint() string {
	switch {
	case errors.Is(e.err, syscall.EADDRINUSE) && e.network == "unix":
		return "another process listens there: choose another path"
	case errors.Is(e.err, syscall.EADDRINUSE):
		return "another process listens there: choose another port, or 0 for any that is free"
	case errors.Is(e.err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address: :port is on loopback, 0.0.0.0:port on all"
	case errors.Is(e.err, syscall.ENOENT):
		return "make the folder for the socket first"
	case errors.Is(e.err, syscall.EINVAL) && e.network == "unix":
		return "the path may be too long for a socket: 100 bytes are fine"
	case errors.Is(e.err, syscall.EACCES) && e.network == "tcp":
		return "this port is for root: choose one from 1024 on, or 0 for any that is free"
	}
	return ""
}

// listenUnix makes a socket that only this user can connect to. It replaces one
// that a dead process has left, but not one in use.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, errors.New("there is a file that is not a socket")
		}
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil {
			_ = conn.Close()
			return nil, syscall.EADDRINUSE
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, err
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	defer restrictNewFiles()()
	return new(net.ListenConfig).Listen(ctx, "unix", path)
}

// Addr returns the address of a listener in the form of [outbound.ParseAddr].
func Addr(l net.Listener) string {
	return outbound.Addr{Network: l.Addr().Network(), Address: l.Addr().String()}.String()
}

// IsLoopback reports whether only this machine can connect to l.
func IsLoopback(l net.Listener) bool {
	tcp, ok := l.Addr().(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

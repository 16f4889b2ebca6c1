package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
)

// Listen listens at addr, the value of flag, in the form of [outbound.ParseAddr]: 0.0.0.0
// means all IPv4 addresses, and [::] those of IPv4 and IPv6.
func Listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	a, err := outbound.ParseAddr(addr)
	if err != nil {
		return nil, usage.Errorf("%s %w", flag, err)
	}
	var l net.Listener
	switch {
	case a.Network == "tcp":
		l, err = listenTCP(ctx, a)
	case a.Abstract():
		l, err = new(net.ListenConfig).Listen(ctx, a.Network, a.Address)
	default:
		l, err = listenUnix(ctx, a.Address)
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

// listenTCP listens at a. The address of the listener has the host as given.
func listenTCP(ctx context.Context, a outbound.Addr) (net.Listener, error) {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return nil, err
	}
	network := "tcp"
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().Is4() {
		network = "tcp4" // with tcp, 0.0.0.0 is also [::]
	}
	l, err := new(net.ListenConfig).Listen(ctx, network, a.Address)
	if err != nil {
		return nil, err
	}
	return &namedListener{l, host}, nil
}

// namedListener is a TCP listener whose address has the host as given to Listen.
type namedListener struct {
	net.Listener
	host string
}

func (l *namedListener) Addr() net.Addr { return &namedAddr{l.Listener.Addr(), l.host} }

type namedAddr struct {
	net.Addr
	host string
}

func (a *namedAddr) String() string {
	_, port, _ := net.SplitHostPort(a.Addr.String())
	return net.JoinHostPort(a.host, port)
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
		if !netdiag.Is(err, syscall.ECONNREFUSED) {
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
	named, ok := l.Addr().(*namedAddr)
	if !ok {
		return true
	}
	tcp, ok := named.Addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

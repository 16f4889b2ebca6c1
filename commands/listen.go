package commands

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/wstun/wstun/tunnel/netdiag"
)

// splitAddr reads an ADDR: host:port, :port and port (on loopback), or
// unix:PATH.
func splitAddr(addr string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		path = strings.TrimPrefix(path, "//") // unix:///path, as gRPC writes it
		if path == "" {
			return "", "", fmt.Errorf("%q: no path behind unix", addr)
		}
		return "unix", path, nil
	}
	hostPort := addr
	if _, err := strconv.ParseUint(addr, 10, 64); err == nil {
		hostPort = ":" + addr
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil || port == "" {
		return "", "", fmt.Errorf("%q: want host:port, :port or unix:PATH", addr)
	}
	if _, err := net.LookupPort("tcp", port); err != nil { //nolint:noctx // a local file at most
		return "", "", fmt.Errorf("%q: there is no port %s", addr, port)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return "tcp", net.JoinHostPort(host, port), nil
}

// listen listens at an ADDR that was given with flag.
func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	network, address, err := splitAddr(addr)
	if err != nil {
		return nil, usagef("%s %w", flag, err)
	}
	var l net.Listener
	if network == "unix" {
		l, err = listenUnix(ctx, address)
	} else {
		l, err = new(net.ListenConfig).Listen(ctx, network, address)
	}
	if err != nil {
		return nil, &listenError{network, addr, netdiag.Cause(err)}
	}
	return l, nil
}

// listenError is why an ADDR can't be listened on.
type listenError struct {
	network, addr string
	err           error
}

func (e *listenError) Error() string { return fmt.Sprintf("listen on %s: %v", e.addr, e.err) }
func (e *listenError) Unwrap() error { return e.err }

// hint is what to do about it, or nothing.
func (e *listenError) hint() string {
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

// listenUnix makes a socket that only this user can connect to. One that a
// dead process has left is replaced, one that is in use is not.
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

// addrOf is how to write down the address of a listener, as an ADDR.
func addrOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

// isLoopback reports whether only this machine reaches l.
func isLoopback(l net.Listener) bool {
	tcp, ok := l.Addr().(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

package outbound

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Addr is an address to dial or listen on: two arguments for package net.
type Addr struct {
	Network string // "tcp" or "unix"
	Address string // host:port, or the path of the socket
}

// ParseAddr parses host:port, :port and port (the host is then 127.0.0.1), unix:PATH,
// and gRPC's unix:///PATH. The port may be a service name or 0.
func ParseAddr(text string) (Addr, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if strings.HasPrefix(path, "//") { // String would look like unix://HOST
			path = "/" + strings.TrimLeft(path, "/")
		}
		if path == "" {
			return Addr{}, fmt.Errorf("%q: no path after unix", text)
		}
		return Addr{"unix", path}, nil
	}
	hostPort := text
	if _, err := strconv.ParseUint(text, 10, 64); err == nil {
		hostPort = ":" + text
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil || port == "" {
		return Addr{}, fmt.Errorf("%q: want host:port, :port or unix:PATH", text)
	}
	if _, err := net.LookupPort("tcp", port); err != nil { //nolint:noctx // it only reads a local file
		return Addr{}, fmt.Errorf("%q: there is no port %s", text, port)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return Addr{"tcp", net.JoinHostPort(host, port)}, nil
}

// String returns host:port or unix:PATH, the syntax of ParseAddr.
func (a Addr) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Address
	}
	return a.Address
}

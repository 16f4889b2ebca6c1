package outbound

import (
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
)

// abstract is the scheme of sockets in Linux' abstract namespace, which have no file.
const abstract = "unix-abstract:"

// Addr is an address to dial or listen on: two arguments for package net.
type Addr struct {
	Network string // "tcp" or "unix"
	Address string // host:port, as [ASCIIHost] returns it, or the path of the socket

	given string // host:port with an internationalized host; otherwise empty
}

// ParseAddr parses host:port, :port and port (the host is then 127.0.0.1), and the names
// of gRPC for sockets: unix:PATH, unix:///PATH, and on Linux unix-abstract:NAME. The port
// may be a service name or 0.
func ParseAddr(text string) (Addr, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return parseUnix(text, path)
	}
	if name, ok := strings.CutPrefix(text, abstract); ok {
		if runtime.GOOS != "linux" {
			return Addr{}, fmt.Errorf("%q: only Linux has abstract sockets", text)
		}
		a, err := parseUnix(text, name)
		if err != nil {
			return Addr{}, err
		}
		a.Address = "@" + a.Address
		return a, nil
	}
	hostPort := text
	if _, err := strconv.ParseUint(text, 10, 64); err == nil {
		hostPort = ":" + text
	}
	if want := withBrackets(hostPort); want != "" {
		if strings.HasSuffix(want, "]") {
			want += ":PORT"
		}
		return Addr{}, fmt.Errorf("%q: an IPv6 address needs brackets: want %s", text, want)
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
	a := Addr{Network: "tcp", given: net.JoinHostPort(host, port)}
	if a.Address, err = ASCIIHost(a.given); err != nil {
		return Addr{}, err
	}
	if a.Address == a.given {
		a.given = ""
	}
	return a, nil
}

// parseUnix parses the path of a socket, the part of text after the scheme.
func parseUnix(text, path string) (Addr, error) {
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		if !strings.HasPrefix(rest, "/") { // gRPC would take the first part for a host
			return Addr{}, fmt.Errorf("%q: want unix:PATH, or unix:///PATH with three slashes", text)
		}
		path = "/" + strings.TrimLeft(rest, "/") // with two slashes String would look like unix://HOST
	}
	if path == "" {
		return Addr{}, fmt.Errorf("%q: no path after the colon", text)
	}
	return Addr{Network: "unix", Address: path}, nil
}

// String returns host:port, unix:PATH or unix-abstract:NAME, the syntax of ParseAddr. It
// returns an internationalized host as given.
func (a Addr) String() string {
	switch {
	case a.given != "":
		return a.given
	case a.Network != "unix":
		return a.Address
	case a.Abstract():
		return abstract + a.Address[1:]
	}
	return "unix:" + a.Address
}

// Abstract reports whether a is a socket in Linux' abstract namespace. Every user of this
// machine can connect to it.
func (a Addr) Abstract() bool {
	return a.Network == "unix" && runtime.GOOS == "linux" && strings.HasPrefix(a.Address, "@")
}

// Authority returns the authority of a gRPC server at a: host:port without the zone of an
// IPv6 address (RFC 6874 §1), or localhost for a socket.
func (a Addr) Authority() string {
	if a.Network == "unix" {
		return "localhost"
	}
	if address, rest, ok := strings.Cut(a.Address, "%"); ok {
		return address + rest[strings.IndexByte(rest, ']'):]
	}
	return a.Address
}

package endpoint

import (
	"net"
	"testing"
)

func TestListen(t *testing.T) {
	t.Parallel()
	connects := func(host, port string) bool {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	probe, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "[::1]:0")
	hasIPv6 := err == nil
	if hasIPv6 {
		probe.Close()
	}
	for _, tt := range []struct {
		addr, host       string
		ipv4, ipv6       bool
		loopback, needs6 bool
	}{
		{"0.0.0.0:0", "0.0.0.0", true, false, false, false},
		{"127.0.0.1:0", "127.0.0.1", true, false, true, false},
		{":0", "127.0.0.1", true, false, true, false},
		{"0", "127.0.0.1", true, false, true, false},
		{"１２７.0.0.1:0", "１２７.0.0.1", true, false, true, false},
		{"[::ffff:0.0.0.0]:0", "::ffff:0.0.0.0", true, false, false, false},
		{"[::]:0", "::", true, true, false, true},
		{"[::1]:0", "::1", false, true, true, true},
	} {
		if tt.needs6 && !hasIPv6 {
			continue
		}
		l, err := Listen(t.Context(), "--accept", tt.addr)
		if err != nil {
			t.Fatal(err)
		}
		host, port, err := net.SplitHostPort(Addr(l))
		if err != nil || host != tt.host || port == "0" || IsLoopback(l) != tt.loopback {
			t.Errorf("Listen(%s) listens at %s, loopback %v, want %s, %v", tt.addr, Addr(l), IsLoopback(l), tt.host, tt.loopback)
		}
		if ipv4 := connects("127.0.0.1", port); ipv4 != tt.ipv4 {
			t.Errorf("Listen(%s) accepts IPv4: %v, want %v", tt.addr, ipv4, tt.ipv4)
		}
		if ipv6 := connects("::1", port); ipv6 != tt.ipv6 {
			t.Errorf("Listen(%s) accepts IPv6: %v, want %v", tt.addr, ipv6, tt.ipv6)
		}
		l.Close()
	}
}

package outbound

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// ASCIIHost returns a host name as DNS, TLS and HTTP expect it: an internationalized one
// (RFC 5890) in Punycode, such as "xn--mnchen-3ya.example" for "München.example". A port
// may follow it. A name in ASCII and an IP address are returned unchanged.
func ASCIIHost(host string) (string, error) {
	if !strings.ContainsFunc(host, func(c rune) bool { return c >= utf8.RuneSelf }) {
		return host, nil // also names with an underscore, which are common in container networks
	}
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		name, port = host[:i], host[i:]
	}
	ascii, err := idna.Lookup.ToASCII(name)
	if err != nil {
		return "", fmt.Errorf("%q: not a host name: %s", host, strings.TrimPrefix(err.Error(), "idna: "))
	}
	return ascii + port, nil
}

// withBrackets returns hostPort, which may lack the port, with the brackets that its IPv6
// address lacks: "[::1]:80" for "::1:80". It returns "" for anything else.
func withBrackets(hostPort string) string {
	host, port := hostPort, ""
	if i := strings.LastIndexByte(hostPort, ':'); i >= 0 && isIPv6(hostPort[:i]) {
		host, port = hostPort[:i], hostPort[i:]
	}
	if !isIPv6(host) {
		return ""
	}
	return "[" + host + "]" + port
}

func isIPv6(text string) bool {
	ip, err := netip.ParseAddr(text)
	return err == nil && ip.Is6()
}

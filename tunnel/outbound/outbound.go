// Package outbound connects to servers, through a proxy if one is set, and parses
// the URLs and addresses that name them.
//
//	addr, err := outbound.ParseAddr("worker.example:443")
//	through, err := outbound.ProxyFor("", &url.URL{Scheme: "https", Host: addr.Address})
//	conn, err := outbound.Dial(ctx, addr, through, nil)
//
// The caller closes the connections. All functions may be called from any
// goroutine, and only [Dial] blocks, until its context ends at the latest. No
// error repeats a password, a query or an answer of a proxy, which may contain
// credentials.
package outbound

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
)

// Dial connects to addr through the proxy of [ProxyFor], or directly if that is
// nil. config may be nil: its RootCAs are trusted for an https proxy besides the
// system's authorities, and nothing else of it is used. Once Dial has returned,
// ctx has no influence on the connection. Through a proxy the error is a
// *[ProxyError], otherwise that of [net.Dialer].
func Dial(ctx context.Context, addr Addr, through *url.URL, config *tls.Config) (net.Conn, error) {
	if through != nil {
		return dialVia(ctx, through, addr.Address, config)
	}
	return new(net.Dialer).DialContext(ctx, addr.Network, addr.Address)
}
